import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.engines.musetalk.audio_stream import AudioStream
from musetalk_service.engines.musetalk.features import whole_file_frames, whole_file_states
from musetalk_service.engines.musetalk.networks import hear as hear_windows
from musetalk_service.engines.musetalk.options import FRAME_SAMPLES, Listening
from musetalk_service.engines.musetalk.weights import load_whisper

RNG = np.random.default_rng(8)
SPEECH = (3000 * RNG.standard_normal(16_000 * 4)).astype(np.int16)
SHORT = Listening(window_s=2.0)


@pytest.fixture(scope="module")
def encoder(model_path):
    return load_whisper(model_path)


def hear(encoder, stream, position, listening):
    window = stream.window(position)
    with torch.inference_mode():
        (rows,) = hear_windows(encoder, [window], listening, torch.device("cpu"))
    return rows[(position - window.start) // FRAME_SAMPLES]


def run(encoder, listening, pieces, start=0, frames=None):
    """Each frame as soon as its look-ahead has come, as a host would."""
    stream, heard, position = AudioStream(listening), [], start
    pushed = start
    for piece in pieces:
        stream.push(piece, pushed)
        pushed += len(piece)
        hop = listening.hop_frames * FRAME_SAMPLES
        while (position - start) // hop * hop + start + listening.look_ahead_samples <= pushed:
            heard.append(hear(encoder, stream, position, listening))
            position += FRAME_SAMPLES
    return torch.stack(heard[:frames])


@pytest.mark.parametrize("hop", [1, 3])
def test_pieces_make_no_difference(encoder, hop):
    listening = Listening(window_s=2.0, hop_frames=hop)
    whole = run(encoder, listening, [SPEECH])
    for size in (641, 16_000):
        parts = run(encoder, listening, np.split(SPEECH, range(size, len(SPEECH), size)))
        assert torch.equal(parts, whole)
    assert len(whole) >= (len(SPEECH) - listening.look_ahead_samples) // FRAME_SAMPLES


def test_first_state_is_that_of_the_whole_file(encoder):
    wave = SPEECH[:32_000].astype(np.float32) / 32768
    whole = whole_file_frames(whole_file_states(encoder, wave, "1.5"), len(wave), "1.5")
    streamed = run(encoder, Listening(), [SPEECH[: 4 * FRAME_SAMPLES + 2_120]])
    for frame, expected in zip(streamed, whole, strict=False):
        # The convolutions see 520 samples; attention sees less of what is to come than in the file.
        torch.testing.assert_close(frame[::5], expected[::5], atol=2e-4, rtol=0)


def test_a_frame_whose_look_ahead_ends_the_file_is_that_of_the_file(encoder):
    last = 20
    samples = last * FRAME_SAMPLES + Listening().look_ahead_samples
    wave = SPEECH[:samples].astype(np.float32) / 32768
    whole = whole_file_frames(whole_file_states(encoder, wave, "1.5"), len(wave), "1.5")
    stream = AudioStream(Listening())
    stream.push(SPEECH[:samples], 0)
    # At the end of speech what is missing of the look-ahead counts as the end of the file.
    for position in range(last, last + 3):
        frame = hear(encoder, stream, position * FRAME_SAMPLES, Listening())
        torch.testing.assert_close(frame, whole[position], atol=1e-5, rtol=1e-4)
    assert not hear(encoder, stream, (last + 3) * FRAME_SAMPLES, Listening())[-5:].any()


@pytest.mark.parametrize("version", ["1.5", "1.0"])
def test_a_full_window_rolls(encoder, version):
    listening = Listening(version=version, window_s=2.0)
    position = 60 * FRAME_SAMPLES
    stream = AudioStream(listening)
    stream.push(SPEECH, 0)
    window = stream.window(position)
    assert len(window.pcm) == window.centre * 320 + listening.look_ahead_samples <= 32_000
    left = position - window.centre * 320
    np.testing.assert_array_equal(window.pcm, SPEECH[left : left + len(window.pcm)])
    assert hear(encoder, stream, position, listening).shape == (50, 384)


def test_position_of_the_first_sample_does_not_matter(encoder):
    one = run(encoder, SHORT, [SPEECH[:20_000]], frames=5)
    other = run(encoder, SHORT, [SPEECH[:20_000]], start=123_457, frames=5)
    assert torch.equal(one, other)


def test_gap_forgets(encoder):
    stream = AudioStream(SHORT)
    stream.push(SPEECH[:20_000], 0)
    hear(encoder, stream, 0, SHORT)
    stream.push(SPEECH[:20_000], 50_000)
    fresh = run(encoder, SHORT, [SPEECH[:20_000]], frames=1)[0]
    assert torch.equal(hear(encoder, stream, 50_000, SHORT), fresh)


def test_frames_of_a_hop_have_one_window():
    listening = Listening(window_s=2.0, hop_frames=2)
    stream = AudioStream(listening)
    stream.push(SPEECH, 0)
    assert stream.window(FRAME_SAMPLES).start == 0
    assert stream.window(2 * FRAME_SAMPLES).start == 2 * FRAME_SAMPLES


def test_batch_is_each_alone(encoder):
    windows = []
    for samples in (5_000, 40_000, 64_000):
        stream = AudioStream(SHORT)
        stream.push(SPEECH[:samples], 0)
        windows.append(stream.window(samples // 640 * 640 - 4 * 640))
    with torch.inference_mode():
        together = hear_windows(encoder, windows, SHORT, torch.device("cpu"))
        alone = [hear_windows(encoder, [window], SHORT, torch.device("cpu"))[0] for window in windows]
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_silence_is_noticed_around_a_frame_and_its_look_ahead():
    stream = AudioStream(SHORT)
    audio = np.zeros(32_000, np.int16)
    audio[10_000:10_200] = 300
    stream.push(audio, 0)
    silent = [stream.is_silent(position) for position in range(0, 20_480, FRAME_SAMPLES)]
    assert silent == [not (p - 1_280 < 10_200 and p + 2_120 > 10_000) for p in range(0, 20_480, FRAME_SAMPLES)]
    stream.push(SPEECH[:100], 90_000)
    assert not stream.is_silent(90_000)
    assert AudioStream(SHORT).is_silent(0)
