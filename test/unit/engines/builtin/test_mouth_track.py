"""A recording's track is what a live stream of it shows."""

import wave
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.engines.builtin.mouth_stream import MouthStream, load_network
from musetalk_service.engines.builtin.mouth_table import BILABIAL, CLASSES, SILENCE
from musetalk_service.engines.builtin.mouth_track import track_mouth
from musetalk_service.models.face import Mouth

FRAME = 640


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    with wave.open(str(Path(__file__).parents[4] / "fixtures" / "speech_6s.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def test_the_track_is_what_the_stream_gives(speech: np.ndarray) -> None:
    stream = MouthStream(load_network())
    stream.push(speech)
    mouths = [stream.mouth_at(position) for position in range(0, speech.size, FRAME)]
    np.testing.assert_array_equal(track_mouth(speech).channels, mouths)


def test_a_live_stream_that_hears_only_the_look_ahead_shows_the_same(speech: np.ndarray) -> None:
    track = track_mouth(speech)
    live = MouthStream(load_network())
    for row, position in enumerate(range(0, speech.size, FRAME)):
        live.push(speech[live.pushed : position + live.LOOK_AHEAD_SAMPLES])
        np.testing.assert_allclose(live.mouth_at(position), track.channels[row], atol=1e-5)


def test_frames_are_40_ms_apart_and_cover_the_recording(speech: np.ndarray) -> None:
    track = track_mouth(speech[: 10 * FRAME + 1])
    np.testing.assert_allclose(track.t, np.arange(11) / 25)
    assert track.classes.shape == (11, len(CLASSES)) and track.channels.shape == (11, len(Mouth._fields))
    np.testing.assert_allclose(track.classes.sum(axis=1), 1.0, atol=1e-5)
    assert track_mouth(speech[:0]).aperture.shape == (0,)


def test_lips_are_shut_where_a_bilabial_is_heard_and_open_elsewhere(speech: np.ndarray) -> None:
    track = track_mouth(speech)
    closed = track.classes[:, BILABIAL] > 0.7
    open_ = track.classes[:, [BILABIAL, SILENCE]].sum(axis=1) < 0.05
    assert closed.sum() > 5 and track.aperture[closed].max() < 0.01
    assert np.median(track.aperture[open_]) > 0.02


def test_silence_rests() -> None:
    track = track_mouth(np.zeros(16_000, np.int16))
    assert not track.channels.any() and not track.aperture.any()
    assert track.classes[:, SILENCE].min() > 0.5
