"""Clips of a video: quiet ones to idle on, spoken ones to speak on, circles without a seam where there are any."""

import wave
from pathlib import Path

import numpy as np

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.preparation.base_clips import as_ranges, choose_clips, speaking_frames

FACE = load_default_avatar().landmarks


def _path(sway: np.ndarray) -> np.ndarray:
    """Landmarks of a face that is moved sideways, in pixels."""
    points = np.repeat(FACE[None], len(sway), axis=0)
    points[:, :, 0] += sway[:, None]
    return points.astype(np.float32)


def test_a_circle_is_found_where_the_head_comes_back() -> None:
    sway = 12.0 * np.sin(2 * np.pi * np.arange(230) / 100)
    clips = choose_clips(_path(sway), np.zeros(230, bool), 250)
    idle = clips[0]
    assert (idle.name, idle.frames, idle.ping_pong) == ("idle_0", 200, False)
    assert abs(sway[idle.first] - sway[idle.first + idle.frames]) < 0.5
    assert (clips[1].name, clips[1].first, clips[1].frames) == ("speaking_0", idle.first, idle.frames)


def test_to_and_fro_where_the_head_never_comes_back() -> None:
    idle = choose_clips(_path(np.linspace(0, 120, 160)), np.zeros(160, bool), 250)[0]
    assert idle.ping_pong and idle.frames == 150


def test_quiet_and_spoken_stretches_are_told_apart() -> None:
    speaking = np.zeros(300, bool)
    speaking[120:260] = True
    idle, spoken = choose_clips(_path(np.zeros(300)), speaking, 100)
    assert idle.first + idle.frames <= 120 and idle.frames == 100
    assert spoken.name == "speaking_0" and spoken.first >= 120 and spoken.first + spoken.frames <= 260
    kept, ranges = as_ranges((idle, spoken))
    assert len(kept) == idle.frames + spoken.frames
    assert kept[ranges["speaking_0"].first] == spoken.first


def test_short_stretches_are_no_clips() -> None:
    speaking = np.zeros(200, bool)
    speaking[50:80] = True
    idle, spoken = choose_clips(_path(np.zeros(200)), speaking, 250)
    assert (spoken.first, spoken.frames) == (idle.first, idle.frames)


def test_without_sound_the_mouth_tells(tmp_path: Path) -> None:
    silent = tmp_path / "none.mp4"
    silent.write_bytes(b"")
    aperture = np.full(200, 0.01, np.float32)
    aperture[100:] += 0.05 * (np.sin(np.arange(100)) > 0)
    speaks = speaking_frames(silent, aperture)
    assert not speaks[:90].any() and speaks[110:].all()


def test_sound_goes_before_the_mouth(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    rng = np.random.default_rng(1)
    pcm = np.concatenate([np.zeros(64_000), 6000 * rng.standard_normal(64_000)]).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    speaks = speaking_frames(path, np.zeros(200, np.float32))
    assert not speaks[:90].any() and speaks[110:].all()
