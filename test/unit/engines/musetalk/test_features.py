import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")
import torch

from musetalk_service.engines.musetalk.features import (
    AFTER,
    positional_encoding,
    take_window,
    whole_file_frames,
    whole_file_states,
)
from musetalk_service.engines.musetalk.options import LOOK_AHEAD_SAMPLES, POSITION_SAMPLES
from musetalk_service.engines.musetalk.weights import load_whisper
from musetalk_service.engines.musetalk.whisper import REACH_SAMPLES, log_mel

RNG = np.random.default_rng(6)


def sound(samples: int) -> np.ndarray:
    return (0.1 * RNG.standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(model_path):
    return load_whisper(model_path)


def test_look_ahead_is_132_ms_and_a_half():
    assert LOOK_AHEAD_SAMPLES == (AFTER - 1) * POSITION_SAMPLES + REACH_SAMPLES == 132.5 * 16


def test_window_is_cut_from_the_padded_array_as_published():
    states = torch.randn(20, 5, 8)
    padded = torch.cat([torch.zeros(4, 5, 8), states, torch.zeros(12, 5, 8)])
    for frame in range(10):
        window = take_window(states, 2 * frame, 20, "1.5")
        assert torch.equal(window, padded[2 * frame : 2 * frame + 10].reshape(50, 8))
        assert torch.equal(window[5 * 7 + 3], padded[2 * frame + 7, 3])


def test_first_and_last_rows_are_zero_in_1_5_and_repeated_in_1_0():
    states = 1 + torch.rand(20, 5, 8)
    new, old = take_window(states, 0, 20, "1.5"), take_window(states, 0, 20, "1.0")
    assert not new[:20].any() and new[20:].all()
    assert torch.equal(old.unflatten(0, (10, 5))[:5], states[:1].expand(5, 5, 8))
    new, old = take_window(states, 18, 20, "1.5"), take_window(states, 18, 20, "1.0")
    assert new[:30].all() and not new[30:].any()
    assert torch.equal(old.unflatten(0, (10, 5))[5:], states[19:].expand(5, 5, 8))


def test_what_has_not_been_heard_counts_as_the_end():
    states = 1 + torch.rand(20, 5, 8)
    assert torch.equal(take_window(states, 8, 11, "1.5"), take_window(states[:11], 8, 11, "1.5"))
    assert not take_window(states, 8, 0, "1.5").any()


def test_positions_are_sines_and_cosines():
    table = positional_encoding(384)
    assert table.shape == (1, 50, 384)
    for place, column in ((0, 0), (1, 0), (49, 382), (7, 100)):
        angle = place / 10000 ** (column / 384)
        assert float(table[0, place, column]) == pytest.approx(np.sin(angle), abs=2e-6)
        assert float(table[0, place, column + 1]) == pytest.approx(np.cos(angle), abs=2e-6)


@pytest.mark.parametrize(("seconds", "fps"), [(7.99, 25), (7.99, 30), (31.3, 25)])
def test_whole_files_of_1_5(encoder, seconds, fps):
    samples = int(seconds * 16_000)
    wave = sound(samples)
    states = whole_file_states(encoder, wave, "1.5")
    assert len(states) == samples * 50 // 16_000
    frames = whole_file_frames(states, samples, "1.5", fps)
    assert frames.shape == (int(samples / 16_000 * fps), 50, 384)
    if seconds > 30:  # a second segment knows nothing of the first
        alone = whole_file_states(encoder, wave[480_000:], "1.5")
        assert torch.equal(states[1500:], alone)


def test_whole_files_of_1_0_fill_up_the_spectrogram_with_zeros(encoder):
    wave = sound(16_000)
    states = whole_file_states(encoder, wave, "1.0")
    mel = torch.zeros(1, 80, 3000)
    mel[..., :100] = log_mel(torch.from_numpy(wave)[None])
    with torch.inference_mode():
        expected = encoder(mel, normalise_last=False)[0, :50]
    torch.testing.assert_close(states, expected)
    assert len(whole_file_frames(states, 16_000, "1.0")) == 27  # one begins at the end and one behind it
