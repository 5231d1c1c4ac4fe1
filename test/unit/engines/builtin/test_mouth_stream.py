"""The stream: chunking, timing, look-ahead, interruption, and what it makes of sounds."""

import wave
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEADS, MouthStream, load_network, look_ahead_samples
from musetalk_service.models.face import REST, Mouth

FRAME = 640
RATE = 16_000


FIXTURES = Path(__file__).parents[4] / "fixtures"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Six seconds of synthesised speech with twelve p, b and m, some next to each other."""
    with wave.open(str(FIXTURES / "speech_6s.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def track(stream: MouthStream, start: int, stop: int) -> np.ndarray:
    return np.array([stream.mouth_at(position) for position in range(start, stop, FRAME)])


def test_the_mouth_moves(speech: np.ndarray) -> None:
    stream = MouthStream(load_network())
    stream.push(speech)
    mouths = track(stream, 0, speech.size)
    assert mouths.shape[1] == len(Mouth._fields)
    assert mouths.min() >= 0 and mouths.max() <= 1
    assert np.ptp(mouths[:, 0]) > 0.1


def test_lips_close_at_p_b_m_and_touch_the_teeth_at_f_v(speech: np.ndarray) -> None:
    stream = MouthStream(load_network())
    stream.push(speech)
    mouths = [Mouth(*row) for row in track(stream, 0, speech.size)]
    shut = np.array([mouth.press > 0.8 and mouth.jaw < 0.03 for mouth in mouths])
    assert np.count_nonzero(np.diff(shut.astype(int)) == 1) >= 7
    assert max(mouth.tuck for mouth in mouths) > 0.7
    assert max(mouth.jaw for mouth in mouths) > 0.5
    assert max(mouth.round for mouth in mouths) > 0.5


@pytest.mark.parametrize("look_ahead_ms", LOOK_AHEADS)
@pytest.mark.parametrize("cut", [37, 320, 640, 1601, 20_000])
def test_the_result_does_not_depend_on_the_cut(speech: np.ndarray, cut: int, look_ahead_ms: int) -> None:
    whole = MouthStream(load_network(), look_ahead_ms)
    whole.push(speech)
    parts = MouthStream(load_network(), look_ahead_ms)
    for start in range(0, speech.size, cut):
        parts.push(speech[start : start + cut])
    np.testing.assert_allclose(track(parts, 0, speech.size), track(whole, 0, speech.size), atol=1e-5)


@pytest.mark.parametrize("look_ahead_ms", LOOK_AHEADS)
def test_the_look_ahead_is_enough_and_needed(speech: np.ndarray, look_ahead_ms: int) -> None:
    whole, live, short = (MouthStream(load_network(), look_ahead_ms) for _ in range(3))
    whole.push(speech)
    enough, differs = [], 0.0
    for position in range(0, speech.size - 4 * FRAME, FRAME):
        exact = whole.mouth_at(position)
        live.push(speech[live.pushed : position + live.LOOK_AHEAD_SAMPLES])
        short.push(speech[short.pushed : position + short.LOOK_AHEAD_SAMPLES // 2])
        enough.append(np.subtract(live.mouth_at(position), exact))
        differs = max(differs, float(np.abs(np.subtract(short.mouth_at(position), exact)).max()))
    np.testing.assert_allclose(enough, 0.0, atol=1e-5)
    assert differs > 0.01


def test_missing_samples_are_silence_only_for_the_answer(speech: np.ndarray) -> None:
    whole = MouthStream(load_network())
    whole.push(speech)
    asked = MouthStream(load_network())
    half = speech.size // 2 // FRAME * FRAME
    asked.push(speech[:half])
    for position in range(0, half, FRAME):
        asked.mouth_at(position)
    asked.push(speech[half:])
    late = half + FRAME
    np.testing.assert_allclose(track(asked, late, speech.size), track(whole, late, speech.size), atol=1e-5)


def test_the_mouth_closes_after_the_last_sample(speech: np.ndarray) -> None:
    stream = MouthStream(load_network())
    stream.push(speech[: int(0.9 * speech.size)])
    after = track(stream, stream.pushed, stream.pushed + 2 * RATE)
    np.testing.assert_allclose(after[8:], 0.0, atol=1e-6)


def test_reset_forgets_what_was_queued(speech: np.ndarray) -> None:
    stream = MouthStream(load_network())
    stream.push(speech)
    stream.mouth_at(FRAME * 20)
    stream.reset(100 * FRAME)
    assert stream.pushed == 100 * FRAME
    assert stream.mouth_at(100 * FRAME) == REST
    stream.push(speech)
    assert stream.pushed == 100 * FRAME + speech.size
    again = track(stream, 100 * FRAME, stream.pushed)
    first = MouthStream(load_network())
    first.push(speech)
    fresh = track(first, 0, speech.size)
    # The voice's level is known from before: the same movement, if not to the last digit.
    assert np.corrcoef(again[:, 0], fresh[:, 0])[0, 1] > 0.9


def test_positions_before_the_stream_rest(speech: np.ndarray) -> None:
    stream = MouthStream(load_network())
    stream.reset(50 * FRAME)
    stream.push(speech)
    assert stream.mouth_at(10 * FRAME) == REST


def test_memory_is_bounded(speech: np.ndarray) -> None:
    stream = MouthStream(load_network())
    sizes = set()
    position = 0
    for _ in range(8):
        for start in range(0, speech.size // FRAME * FRAME, FRAME):
            stream.push(speech[start : start + FRAME])
            stream.mouth_at(max(0, position - stream.LOOK_AHEAD_SAMPLES))
            position += FRAME
        sizes.add((len(stream._queue), len(stream._state.posteriors), len(stream._state.levels)))
    assert len(sizes) <= 2
    assert max(max(size) for size in sizes) < 40
    assert stream.state_bytes < 64_000


@pytest.mark.parametrize("pcm", [np.zeros(10, np.float32), np.zeros((10, 1), np.int16)])
def test_only_mono_int16_is_taken(pcm: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int16"):
        MouthStream(load_network()).push(pcm)


def test_only_the_heads_that_there_are_are_taken() -> None:
    with pytest.raises(ValueError, match="60 ms ahead, only 0, 40, 80"):
        MouthStream(load_network(), 60)


def test_the_delay_follows_from_the_head() -> None:
    delays = [look_ahead_samples(ms) for ms in LOOK_AHEADS]
    assert np.diff(delays).tolist() == [40 * 16, 40 * 16]
    assert [MouthStream(load_network(), ms).LOOK_AHEAD_SAMPLES for ms in LOOK_AHEADS] == delays


def test_a_shorter_look_ahead_shows_much_the_same(speech: np.ndarray) -> None:
    longest, *shorter = (_opening(speech, ms) for ms in reversed(LOOK_AHEADS))
    agreement = [float(np.corrcoef(longest, opening)[0, 1]) for opening in shorter]
    assert agreement[0] > 0.9 and agreement[0] > agreement[1] > 0.7


def _opening(speech: np.ndarray, look_ahead_ms: int) -> np.ndarray:
    stream = MouthStream(load_network(), look_ahead_ms)
    stream.push(speech)
    return track(stream, 0, speech.size)[:, 0]
