"""`musetalk-service render`: the film, the sound in it, and what is said where there can be none."""

import os
import re
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.config import Settings, default_settings
from musetalk_service.engines.builtin.mouth_track import track_mouth
from musetalk_service.render import main
from musetalk_service.utils import h264
from musetalk_service.utils.audio_file import read_audio_file
from musetalk_service.utils.remux import SOUND_RATE
from support.avatars import publish
from support.official_avatars import write_official

FIXTURES = Path(__file__).parents[3] / "fixtures"
SPEECH = FIXTURES / "speech_like_2s.wav"
SILENCE = np.zeros(16_000, np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("render")


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    changes = {"model_path": folder / "models", "cache_dir": folder / "cache", "avatars_dir": folder / "avatars"}
    return default_settings().model_copy(update=changes | {"device": "cpu"})


def write_sound(path: Path, pcm: NDArray[np.int16]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", 16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def render(
    settings: Settings,
    file: Path,
    out: Path,
    avatar_id: str | None = None,
    *,
    engine: str | None = None,
    size: str | None = None,
) -> int:
    return main(settings, file, out=out, avatar_id=avatar_id, engine=engine, size=size)


def lumas(path: Path) -> NDArray[np.float32]:
    """(frames, height, width); their times are checked."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(len(frames)) / 25)
    return np.stack([frame.to_ndarray(format="gray").astype(np.float32) for frame in frames])


@pytest.fixture(scope="module")
def recording(folder: Path) -> Path:
    """One second of silence, two of speech, one of silence."""
    return write_sound(folder / "said.wav", np.concatenate([SILENCE, read_audio_file(SPEECH), SILENCE]))


@pytest.fixture(scope="module")
def film(folder: Path, settings: Settings, recording: Path) -> Path:
    assert render(settings, recording, folder / "a.mp4", engine="builtin", size="256x256") == 0
    return folder / "a.mp4"


def test_a_film_has_a_frame_for_each_40_ms_and_half_a_second_of_rest(film: Path) -> None:
    with av.open(str(film)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height, video.average_rate) == ("h264", 256, 256, 25)
        assert (audio.codec_context.name, audio.rate) == ("aac", SOUND_RATE)
        assert video.frames == 100 + 12 and video.start_time == 0
        assert audio.duration * audio.time_base == 4 and audio.start_time == 0
    assert lumas(film).shape == (112, 256, 256)


def test_every_key_frame_says_that_it_is_synthetic(film: Path) -> None:
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        units = [bytes(unit) for packet in container.demux(stream) for unit in annex_b.filter(packet)]
    keys = [index for index, unit in enumerate(units) if h264.is_idr(unit)]
    assert keys == list(range(0, 112, 25))
    for index in keys:
        label = h264.read_user_data(units[index], h264.SYNTHETIC_UUID)
        assert label is not None and label.startswith("synthetic;") and "engine=builtin" in label


def test_the_sound_is_that_of_the_recording_at_its_place(film: Path, recording: Path) -> None:
    kept, said = read_audio_file(film).astype(float), read_audio_file(recording).astype(float)
    assert 0 <= len(kept) - len(said) < 1024  # the codec's last block is whole
    speech = slice(16_000, 48_000)
    assert np.corrcoef(kept[speech], said[speech])[0, 1] > 0.98
    assert np.corrcoef(kept[16_080:48_080], said[speech])[0, 1] < 0.9  # 5 ms later


def test_the_mouth_moves_with_the_sound(film: Path, folder: Path, settings: Settings, recording: Path) -> None:
    """Against the same film without a mouth: what differs is the mouth alone."""
    still = folder / "still.mp4"
    assert render(settings, recording, still, engine="static", size="256x256") == 0
    moved = np.abs(lumas(film) - lumas(still)).mean(axis=(1, 2))[:100]
    opened = track_mouth(read_audio_file(recording)).aperture
    speech, silence = slice(26, 73), np.r_[3:22, 80:100]
    assert moved[speech].mean() > 5 * moved[silence].mean()
    agreement = {lag: np.corrcoef(moved[25 + lag : 75 + lag], opened[25:75])[0, 1] for lag in range(-3, 4)}
    assert max(agreement, key=lambda lag: agreement[lag]) == 0 and agreement[0] > 0.8, agreement


def test_a_prepared_avatar_speaks_a_video_s_sound(
    film: Path, folder: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(settings.avatars_dir, "alice")
    out = folder / "b.mp4"
    out.write_bytes(b"an older one")
    assert render(settings, film, out, "alice", engine="auto", size="160x200") == 0
    assert lumas(out).shape[1:] == (200, 160)
    said = capsys.readouterr()
    assert "frames at 25 fps of alice by builtin, 160x200" in said.out
    assert re.search(r"100 %  \d+ frames of \d+ frames", said.err)
    assert os.stat(out).st_mode == os.stat(film).st_mode
    assert not list(folder.glob(".*.part"))


def refuse(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """What was said, in one line."""
    assert status == 1
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and line.startswith("musetalk-service render: ")
    return line.removeprefix("musetalk-service render: ")


def test_what_cannot_be_is_said_in_a_line(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], film: Path
) -> None:
    capsys.readouterr()
    picture = tmp_path / "mute.mp4"
    with av.open(str(picture), "w") as container:
        stream = container.add_stream("mpeg4", 25)
        stream.width = stream.height = 64
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    (tmp_path / "text.wav").write_text("no sound")
    write_official(settings.avatars_dir / "olga")
    strict = settings.model_copy(update={"require_consent": True})
    closed = settings.model_copy(update={"default_avatar_enabled": False})
    out = tmp_path / "a.mp4"
    assert "there is no such file" in refuse(capsys, render(settings, tmp_path / "none.wav", out))
    assert "no audio track" in refuse(capsys, render(settings, picture, out))
    assert "cannot be decoded" in refuse(capsys, render(settings, tmp_path / "text.wav", out))
    assert "there is no avatar 'nobody'" in refuse(capsys, render(settings, SPEECH, out, "nobody"))
    assert "avatar import" in refuse(capsys, render(settings, SPEECH, out, "olga"))
    assert "who agreed to the use of this face" in refuse(capsys, render(strict, SPEECH, out, "olga"))
    assert "switched off" in refuse(capsys, render(closed, SPEECH, out))
    assert "MuseTalk cannot be had" in refuse(capsys, render(settings, SPEECH, out, engine="musetalk"))
    assert "musetalk, builtin, static" in refuse(capsys, render(settings, SPEECH, out, engine="wav2lip"))
    assert "128x160 does not do: the face is too small" in refuse(capsys, render(settings, SPEECH, out, size="128x160"))
    assert "no picture size" in refuse(capsys, render(settings, SPEECH, out, size="511x512"))
    assert "must end in .mp4" in refuse(capsys, render(settings, SPEECH, tmp_path / "a.mkv"))
    assert "there is no folder" in refuse(capsys, render(settings, SPEECH, tmp_path / "x" / "a.mp4"))
    assert "the recording itself" in refuse(capsys, render(settings, picture, picture))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mute.mp4", "text.wav"]
