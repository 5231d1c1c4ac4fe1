"""What a session hears of its own speech: the mouth of the mouth stream, loudness, and how it ends."""

import wave
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.engines.builtin.mouth_stream import MouthStream, load_network
from musetalk_service.engines.voice import Heard, Voice
from musetalk_service.models.face import REST

SPEECH = Path(__file__).parents[3] / "fixtures" / "speech_6s.wav"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    with wave.open(str(SPEECH)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def _hear(pcm: np.ndarray, start: int = 0) -> list[Heard]:
    voice = Voice(load_network())
    voice.push(pcm, start)
    return [voice.hear(position) for position in range(start, start + len(pcm), 640)]


def test_the_mouth_is_the_mouth_streams(speech: np.ndarray) -> None:
    stream = MouthStream(load_network())
    stream.push(speech)
    assert [heard.mouth for heard in _hear(speech)] == [stream.mouth_at(p) for p in range(0, len(speech), 640)]


def test_loudness_is_there_while_somebody_speaks_and_only_then(speech: np.ndarray) -> None:
    heard = _hear(speech)
    voiced = [one.loudness is not None for one in heard]
    assert 0.5 < np.mean(voiced) < 1.0
    assert np.mean([one.loudness is not None for one in heard if one.mouth.jaw > 0.3]) > 0.95
    assert {one.loudness for one in _hear(np.zeros(16_000, np.int16))} == {None}


def test_without_a_position_the_mouth_is_shut_in_two_frames(speech: np.ndarray) -> None:
    voice = Voice(load_network())
    voice.push(speech, 0)
    open_mouth = next(h.mouth for h in map(voice.hear, range(0, len(speech), 640)) if h.mouth.jaw > 0.4)
    first, second = voice.hear(None), voice.hear(None)
    assert 0.0 < first.mouth.jaw < 0.5 * open_mouth.jaw
    assert second == Heard(REST, None)


def test_audio_after_a_gap_begins_anew(speech: np.ndarray) -> None:
    voice = Voice(load_network())
    voice.push(speech[:32_000], 0)
    voice.hear(0)
    voice.push(speech, 64_000)
    assert voice.hear(63_000) == Heard(REST, None)
    again = [voice.hear(position).mouth for position in range(64_000, 64_000 + 16_000, 640)]
    assert max(mouth.jaw for mouth in again) > 0.3
