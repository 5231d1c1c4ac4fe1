"""Videos of any rate and orientation come as upright frames at 25 a second, within limits."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.preparation.errors import NotMediaError, TooLargeError, TooLongError, TooShortError
from musetalk_service.preparation.video_file import VideoLimits, probe_video, read_frames
from support.films import write_film

LIMITS = VideoLimits()


def _grey(level: float) -> NDArray[np.uint8]:
    picture = np.full((64, 96, 3), 30, np.uint8)
    picture[:32] = round(level)
    return picture


def _levels(path: Path) -> list[int]:
    return [int(np.median(picture[:24])) for picture in read_frames(path, LIMITS)]


@pytest.mark.parametrize("fps", [15, 25, 30, 50])
def test_any_rate_becomes_25(tmp_path: Path, fps: int) -> None:
    film = write_film(tmp_path / "film.mp4", (_grey(40 + 60 * i / fps) for i in range(3 * fps)), fps)
    levels = _levels(film)
    assert len(levels) == pytest.approx(75, abs=2)
    expected = 40 + 60 * np.arange(len(levels)) / 25
    assert np.abs(np.array(levels) - expected).max() < 9


def test_a_variable_rate_keeps_time(tmp_path: Path) -> None:
    times = [*np.arange(0, 1, 1 / 10), *np.arange(1, 2, 1 / 50), *np.arange(2, 3, 1 / 25)]
    film = write_film(tmp_path / "film.mp4", (_grey(40 + 60 * time) for time in times), times=times)
    levels = _levels(film)
    assert len(levels) == pytest.approx(75, abs=1)
    assert np.abs(np.array(levels) - (40 + 60 * np.arange(len(levels)) / 25)).max() < 9


@pytest.mark.parametrize(("turn", "bright"), [(90, "right"), (180, "bottom"), (270, "left")])
def test_a_film_taken_on_its_side_is_turned(tmp_path: Path, turn: int, bright: str) -> None:
    film = write_film(tmp_path / "film.mp4", (_grey(200) for _ in range(60)), turn=turn)
    picture = next(read_frames(film, LIMITS))
    assert picture.shape == ((64, 96, 3) if turn == 180 else (96, 64, 3))
    height, width = picture.shape[:2]
    parts = {"left": picture[:, : width // 3], "right": picture[:, -width // 3 :], "bottom": picture[-height // 3 :]}
    assert np.median(parts[bright]) > 150


def test_limits_are_kept(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", (_grey(100) for _ in range(100)))
    assert probe_video(film, LIMITS).seconds == pytest.approx(4, abs=0.1)
    with pytest.raises(TooLongError, match="at most 2 are allowed"):
        probe_video(film, VideoLimits(max_seconds=2))
    with pytest.raises(TooLongError):
        list(read_frames(film, VideoLimits(max_seconds=3.5)))
    with pytest.raises(TooLargeError, match="96x64 pixels"):
        probe_video(film, VideoLimits(max_pixels=96 * 64 - 1))
    with pytest.raises(TooShortError):
        list(read_frames(write_film(tmp_path / "short.mp4", (_grey(9) for _ in range(20))), LIMITS))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_truncated_films_are_refused(tmp_path: Path, share: float) -> None:
    rng = np.random.default_rng(0)
    pictures = (rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(60))
    whole = write_film(tmp_path / "film.mp4", pictures).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(NotMediaError):
        list(read_frames(cut, LIMITS))


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    whole = write_film(tmp_path / "film.mp4", (_grey(40 + i) for i in range(60))).read_bytes()
    damaged = tmp_path / "damaged.mp4"
    before, _, after = whole.rpartition(b"avc1")
    damaged.write_bytes(before + b"zzzz" + after)
    with pytest.raises(NotMediaError, match="codec is not known"):
        list(read_frames(damaged, LIMITS))


def test_damage_inside_ends_in_frames_or_a_refusal(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    whole = write_film(tmp_path / "film.mp4", (_grey(40 + i) for i in range(80))).read_bytes()
    for _ in range(20):
        mutated = bytearray(whole)
        for place in rng.integers(0, len(mutated), 12):
            mutated[place] = rng.integers(256)
        (tmp_path / "mutated.mp4").write_bytes(mutated)
        try:
            assert 0 < len(list(read_frames(tmp_path / "mutated.mp4", LIMITS))) <= LIMITS.max_seconds * 25
        except (NotMediaError, TooShortError, TooLongError, TooLargeError) as error:
            assert error.advice
