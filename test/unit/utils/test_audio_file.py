"""Any file's sound, and what is said of files that have none."""

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from musetalk_service.errors import MediaFileMissingError, NoAudioTrackError, UndecodableMediaError
from musetalk_service.utils.audio_file import read_audio_file

FIXTURES = Path(__file__).parents[3] / "fixtures"


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    return np.round(8000 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(np.int16)


def write_audio(path: Path, codec: str, rate: int, layout: str, pcm: np.ndarray, start: float = 0.0) -> None:
    """A file with one audio track, and a picture at time 0 where `start` is later."""
    with av.open(str(path), "w") as container:
        video = None
        if start:
            video = container.add_stream("mpeg4", 25)
            video.width = video.height = 64
        audio = container.add_stream(codec, rate, layout=layout)
        if video is not None:
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")
            for _ in range(25):
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
        frame = av.AudioFrame.from_ndarray(np.repeat(pcm, channels)[None], format="s16", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(start * rate)
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def test_a_16_khz_recording_is_read_as_it_is() -> None:
    path = FIXTURES / "speech_like_2s.wav"
    with wave.open(str(path)) as file:
        expected = np.frombuffer(file.readframes(-1), np.int16)
    np.testing.assert_array_equal(read_audio_file(path), expected)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.wav", "pcm_s16le", 44_100, "stereo"),
        ("a.wav", "pcm_s16le", 8_000, "mono"),
        ("a.flac", "flac", 48_000, "5.1"),
        ("a.mkv", "pcm_s16le", 48_000, "mono"),
    ],
)
def test_rates_layouts_and_containers(tmp_path: Path, name: str, codec: str, rate: int, layout: str) -> None:
    write_audio(tmp_path / name, codec, rate, layout, tone(rate))
    pcm = read_audio_file(tmp_path / name)
    assert pcm.dtype == np.int16 and abs(pcm.size - 16_000) <= 2
    inner = slice(1000, 15_000)
    assert np.corrcoef(pcm[inner], tone(16_000)[inner])[0, 1] > 0.999


def test_sound_that_begins_after_the_picture_keeps_its_place(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.mkv", "pcm_s16le", 16_000, "mono", tone(16_000), start=0.48)
    pcm = read_audio_file(tmp_path / "a.mkv")
    assert np.flatnonzero(np.abs(pcm) > 1000)[0] == pytest.approx(0.48 * 16_000, abs=20)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MediaFileMissingError, match=r"nothing\.wav: there is no such file"):
        read_audio_file(tmp_path / "nothing.wav")
    with pytest.raises(MediaFileMissingError, match="not a file"):
        read_audio_file(tmp_path)


def test_what_cannot_be_heard(tmp_path: Path) -> None:
    picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")
    with av.open(str(tmp_path / "mute.mkv"), "w") as container:
        video = container.add_stream("mpeg4", 25)
        video.width = video.height = 64
        container.mux([*video.encode(picture), *video.encode(None)])
    with pytest.raises(NoAudioTrackError, match="has no audio track"):
        read_audio_file(tmp_path / "mute.mkv")
    with wave.open(str(tmp_path / "empty.wav"), "w") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    with pytest.raises(NoAudioTrackError, match="empty"):
        read_audio_file(tmp_path / "empty.wav")


def test_what_is_no_media(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_text("These are words. " * 100)
    with pytest.raises(UndecodableMediaError, match="cannot be decoded"):
        read_audio_file(tmp_path / "a.mp3")


def test_what_is_missing_is_silence_and_the_rest_keeps_its_place(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        audio = container.add_stream("pcm_s16le", 48_000, layout="mono")
        for start in (0, 96_000):
            frame = av.AudioFrame.from_ndarray(tone(48_000)[None], format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), start
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    pcm = read_audio_file(tmp_path / "a.mkv")
    assert abs(pcm.size - 48_000) <= 2
    loud = [np.abs(pcm[start + 100 : start + 1500]).max() > 1000 for start in range(0, 47_000, 1600)]
    assert loud == [True] * 10 + [False] * 10 + [True] * 10


def test_a_damaged_stretch_does_not_spoil_the_rest(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.mp3", "libmp3lame", 48_000, "mono", tone(48_000, 4.0))
    whole = read_audio_file(tmp_path / "a.mp3")
    data = bytearray((tmp_path / "a.mp3").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(1).integers(0, 256, 3000, dtype=np.uint8).tobytes()
    (tmp_path / "b.mp3").write_bytes(data)
    pcm = read_audio_file(tmp_path / "b.mp3")
    assert np.corrcoef(pcm[:24_000], whole[:24_000])[0, 1] > 0.99
    assert pcm.size > 48_000 and np.abs(pcm[-8000:]).max() > 4000


def test_another_rate_can_be_asked_for(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", "pcm_s16le", 44_100, "mono", tone(44_100))
    np.testing.assert_array_equal(read_audio_file(tmp_path / "a.wav", 44_100), tone(44_100))
    pcm = read_audio_file(tmp_path / "a.wav", 48_000)
    assert abs(pcm.size - 48_000) <= 4
    assert np.corrcoef(pcm[1000:47_000], tone(48_000)[1000:47_000])[0, 1] > 0.999
