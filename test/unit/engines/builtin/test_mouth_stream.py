"""The stream: chunking, timing, look-ahead, interruption, and what it makes of sounds."""

import wave
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.engines.builtin.mouth_stream import MouthStream, load_network, relax
from musetalk_service.engines.builtin.mouth_table import BILABIAL, CLASSES, SILENCE
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
    assert max(mouth.tuck for mouth in mouths) > 0.8
    assert max(mouth.jaw for mouth in mouths) > 0.5
    assert max(mouth.round for mouth in mouths) > 0.5


@pytest.mark.parametrize("cut", [37, 320, 640, 1601, 20_000])
def test_the_result_does_not_depend_on_the_cut(speech: np.ndarray, cut: int) -> None:
    whole = MouthStream(load_network())
    whole.push(speech)
    parts = MouthStream(load_network())
    for start in range(0, speech.size, cut):
        parts.push(speech[start : start + cut])
    np.testing.assert_allclose(track(parts, 0, speech.size), track(whole, 0, speech.size), atol=1e-5)


def test_the_look_ahead_is_enough_and_needed(speech: np.ndarray) -> None:
    whole = MouthStream(load_network())
    whole.push(speech)
    live = MouthStream(load_network())
    short = MouthStream(load_network())
    enough, differs = [], 0.0
    for position in range(0, speech.size - 4 * FRAME, FRAME):
        exact = whole.mouth_at(position)
        live.push(speech[live.pushed : position + MouthStream.LOOK_AHEAD_SAMPLES])
        short.push(speech[short.pushed : position + MouthStream.LOOK_AHEAD_SAMPLES // 2])
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
    np.testing.assert_allclose(after[6:], 0.0, atol=1e-6)


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
            stream.mouth_at(max(0, position - MouthStream.LOOK_AHEAD_SAMPLES))
            position += FRAME
        sizes.add((len(stream._queue), len(stream._state.posteriors), len(stream._state.levels)))
    assert len(sizes) <= 2
    assert max(max(size) for size in sizes) < 40


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(3 * RATE),
        np.random.default_rng(1).standard_normal(3 * RATE) * 100,
        np.random.default_rng(2).standard_normal(3 * RATE) * 2000,
        3000 * np.sin(2 * np.pi * 50 * np.arange(3 * RATE) / RATE),
        3000 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE),
    ],
    ids=["silence", "noise floor", "loud noise", "hum", "tone"],
)
def test_the_mouth_rests_on_what_is_not_speech(sound: np.ndarray) -> None:
    stream = MouthStream(load_network())
    stream.push(sound.astype(np.int16))
    assert track(stream, 0, sound.size)[:, 0].mean() < 0.03


@pytest.mark.parametrize("pcm", [np.zeros(10, np.float32), np.zeros((10, 1), np.int16)])
def test_only_mono_int16_is_taken(pcm: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int16"):
        MouthStream(load_network()).push(pcm)


def test_a_network_with_another_look_ahead_is_refused() -> None:
    network = load_network()
    other = object.__new__(type(network))
    other.__dict__.update(network.__dict__)
    other.look_ahead += 1
    with pytest.raises(ValueError, match="ahead"):
        MouthStream(other)


def test_a_sound_fades_into_silence_within_a_quarter_second() -> None:
    sounds = np.zeros((40, len(CLASSES)), np.float32)
    sounds[:, SILENCE] = 1.0
    sounds[:5] = 0.0
    sounds[:5, CLASSES.index("ae")] = 1.0
    relaxed = relax(sounds, sounds[-1])
    opening = relaxed[:, CLASSES.index("ae")]
    np.testing.assert_allclose(relaxed.sum(axis=1), 1.0, atol=1e-5)
    assert (np.diff(opening[4:]) <= 0).all()
    assert opening[4] == 1 and 0.4 < opening[9] < 0.6 and opening[30] < 0.02


def test_a_steady_doubt_does_not_build_up() -> None:
    doubt = np.zeros((200, len(CLASSES)), np.float32)
    doubt[:, SILENCE], doubt[:, CLASSES.index("aa")] = 0.96, 0.04
    np.testing.assert_allclose(relax(doubt, doubt[0]), doubt, atol=1e-6)


def test_a_new_sound_is_not_held_back() -> None:
    change = np.zeros((10, len(CLASSES)), np.float32)
    change[:5, CLASSES.index("aa")] = 1.0
    change[5:, BILABIAL] = 1.0
    np.testing.assert_array_equal(relax(change, change[0]), change)
