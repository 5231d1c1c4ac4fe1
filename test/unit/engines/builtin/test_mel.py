"""The front end: any cut of the samples gives the same frames, and level drops out."""

import numpy as np
import pytest

from musetalk_service.engines.builtin import mel


def _noise(size: int, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(size) * 0.1).astype(np.float32)


@pytest.mark.parametrize("cut", [1, 7, 160, 399, 1000])
def test_frames_do_not_depend_on_the_cut(cut: int) -> None:
    samples = _noise(4000)
    _, whole = mel.log_mel(mel.initial_mel(), samples)
    state, parts = mel.initial_mel(), []
    for start in range(0, samples.size, cut):
        state, frames = mel.log_mel(state, samples[start : start + cut])
        parts.append(frames)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_frame_k_needs_exactly_its_reach() -> None:
    for count in (1, 2, 25):
        size = mel.HOP * (count - 1) + mel.REACH
        assert len(mel.log_mel(mel.initial_mel(), _noise(size))[1]) == count
        assert len(mel.log_mel(mel.initial_mel(), _noise(size - 1))[1]) == count - 1


def test_a_click_is_strongest_in_the_frame_centred_on_it() -> None:
    samples = np.zeros(16_000, np.float32)
    samples[160 * 50 + 80] = 1.0
    _, frames = mel.log_mel(mel.initial_mel(), samples)
    assert int(frames.mean(axis=1).argmax()) == 50


def test_a_tone_is_strongest_in_its_band() -> None:
    centres = (np.arange(257) * 31.25) @ mel.mel_matrix() / mel.mel_matrix().sum(axis=0)
    for band in (5, 20, 35):
        tone = np.sin(2 * np.pi * centres[band] * np.arange(8000) / mel.SAMPLE_RATE).astype(np.float32)
        _, frames = mel.log_mel(mel.initial_mel(), tone)
        assert abs(int(frames[20].argmax()) - band) <= 1


def test_every_band_hears_something() -> None:
    assert (mel.mel_matrix().sum(axis=0) > 0.5).all()


def test_normalised_frames_do_not_depend_on_the_level() -> None:
    voice = _noise(32_000)
    results = []
    for gain in (1.0, 0.1):
        _, frames = mel.log_mel(mel.initial_mel(), voice * np.float32(gain))
        results.append(mel.normalise(mel.initial_level(), frames)[1])
    # A band that is all but empty in one frame nears the floor of the power, so not to the last digit.
    assert np.abs(results[0] - results[1]).mean() < 0.01


def test_normalising_in_pieces_equals_normalising_at_once() -> None:
    frames = np.random.default_rng(3).standard_normal((60, mel.BANDS)).astype(np.float32) * 3
    _, whole = mel.normalise(mel.initial_level(), frames)
    state, parts = mel.initial_level(), []
    for start in range(0, 60, 7):
        state, part = mel.normalise(state, frames[start : start + 7])
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_silence_teaches_the_normalisation_nothing() -> None:
    _, frames = mel.log_mel(mel.initial_mel(), np.zeros(16_000, np.float32))
    state, normalised = mel.normalise(mel.initial_level(), frames)
    assert state.span == 0
    assert normalised.max() < -1
