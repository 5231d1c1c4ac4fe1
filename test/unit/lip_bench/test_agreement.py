"""Correlation, lag and closures on curves whose answers are known."""

import numpy as np
import pytest

from musetalk_service.lip_bench.agreement import CLOSED, STEP, closures, correlate, speech

TIMES = np.arange(250) / 25


def wander(seconds: float) -> np.ndarray:
    """A smooth curve that repeats nowhere, at `STEP`."""
    rng = np.random.default_rng(3)
    return np.convolve(rng.standard_normal(round(seconds / STEP)), np.hanning(9), "same")


@pytest.mark.parametrize("late_ms", [-80, 0, 40, 120])
def test_a_shifted_curve_is_found_at_its_lag(late_ms: int) -> None:
    real = wander(12)
    late = round(late_ms / 1000 / STEP)
    result = correlate(np.roll(real, late), TIMES + 1, real[50:550:2])
    for best in (result.within_120, result.within_200):
        assert best.r == pytest.approx(1.0) and best.lag_ms == pytest.approx(late_ms)
    assert (result.zero > 0.99) == (late_ms == 0)


def test_a_lag_beyond_120_ms_is_left_to_the_wider_search() -> None:
    real = wander(12)
    result = correlate(np.roll(real, 9), TIMES + 1, real[50:550:2])
    assert result.within_200.lag_ms == pytest.approx(180) and result.within_200.r == pytest.approx(1.0)
    assert result.within_120.r < 0.9


def test_what_does_not_move_does_not_correlate() -> None:
    assert correlate(np.ones(600), TIMES, wander(12)[:500:2]).within_200.r == 0


def test_scale_and_offset_do_not_matter() -> None:
    real = wander(12)
    assert correlate(7 + 0.1 * real, TIMES, real[:500:2]).zero == pytest.approx(1.0)


def test_speech_bridges_stops_and_leaves_out_pauses() -> None:
    loudness = np.full(60, -20.0)
    loudness[10:14] = -70  # 160 ms
    loudness[30:40] = -70  # 400 ms
    found = speech(loudness, 0.04)
    assert found[:30].all() and not found[30:40].any() and found[40:].all()


def test_closures_are_scored_with_a_frame_of_tolerance() -> None:
    real = np.full(100, 0.1)
    real[[20, 21, 50, 51, 80, 81]] = 0.0
    everywhere = np.ones(100, bool)
    assert closures(real, real, everywhere)[:2] == (1.0, 1.0)
    assert closures(np.roll(real, 1), real, everywhere)[:2] == (1.0, 1.0)
    far = closures(np.roll(real, 5), real, everywhere)
    assert far[:2] == (0.0, 0.0)
    assert far.chance == pytest.approx(0.12)


def test_half_the_closures_found_is_a_half() -> None:
    real = np.full(100, 0.1)
    real[[20, 60]] = 0.0
    predicted = np.full(100, 0.1)
    predicted[[20, 90]] = 0.0
    assert closures(predicted, real, np.ones(100, bool))[:2] == (0.5, 0.5)


def test_of_equally_shut_frames_the_middles_of_closures_come_first() -> None:
    real = np.full(100, 0.1)
    real[[49, 50, 51]] = 0.0
    predicted = np.full(100, 0.1)
    predicted[[10, 30, 48, 49, 50, 51, 52]] = 0.0
    assert closures(predicted, real, np.ones(100, bool))[:2] == (1.0, 1.0)


def test_outside_of_speech_nothing_counts() -> None:
    real = np.full(100, 0.1)
    real[[20, 80]] = CLOSED / 2
    predicted = np.roll(real, 30)
    in_speech = np.arange(100) < 40
    assert closures(real, real, in_speech)[:2] == (1.0, 1.0)
    assert closures(predicted, real, in_speech)[:2] == (0.0, 0.0)
    assert np.isnan(closures(real, np.ones(100), in_speech)).all()
