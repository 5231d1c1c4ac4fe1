"""How well a predicted curve agrees with lips that were measured: correlation, lag, and closures."""

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

STEP = 0.02
"""Seconds between the values of a predicted curve, and between the lags that are tried."""
SYNC_LAG, WIDEST_LAG = 0.12, 0.20
"""Seconds: how far a web clip's own sync may be off, and the farthest that is looked."""

CLOSED = 0.04
"""Real lips count as closed below this aperture, in inter-ocular distances: some 3.5 mm."""
_SPEECH_RANGE = 25.0  # dB below the clip's 95th percentile
_LONGEST_PAUSE = 0.2  # seconds within speech; the silence of a p, t or k is shorter


class Best(NamedTuple):
    """The largest correlation over lags."""

    r: float
    lag_ms: float
    """By how much the prediction is late there; its correlation is largest when it is moved ahead by this."""


class Agreement(NamedTuple):
    """Pearson correlation of one curve in one clip."""

    zero: float
    """As the stream shows it."""
    within_120: Best
    within_200: Best


class Closures(NamedTuple):
    """Closed lips in speech, frame by frame, where as many frames are predicted closed as really are.

    NaN where no frame of the clip's speech is closed.
    """

    precision: float
    """Share of the frames predicted closed with a really closed frame at most one frame away."""
    recall: float
    """Share of the really closed frames with one predicted closed at most one frame away."""
    chance: float
    """The precision of frames picked at random."""


def at(curve: Array, times: Array, lag: float = 0.0) -> Array:
    """Values of a curve (n,), `STEP` apart from 0 on, at times (m,) seconds, moved ahead by `lag` seconds."""
    return np.interp(times + lag, np.arange(len(curve)) * STEP, curve)


def correlate(curve: Array, times: Array, real: Array) -> Agreement:
    """Compare a predicted curve (n,), `STEP` apart, with the values `real` (m,) measured at `times` seconds."""
    steps = round(WIDEST_LAG / STEP)
    lags = np.arange(-steps, steps + 1)
    values = np.array([_pearson(at(curve, times, lag * STEP), real) for lag in lags])

    def best(within: float) -> Best:
        allowed = np.abs(lags) <= round(within / STEP)
        index = int(np.argmax(np.where(allowed, values, -np.inf)))
        return Best(float(values[index]), float(lags[index]) * STEP * 1000)

    return Agreement(float(values[steps]), best(SYNC_LAG), best(WIDEST_LAG))


def _pearson(a: Array, b: Array) -> float:
    """Pearson's r; 0 where one of them does not move."""
    return float(np.corrcoef(a, b)[0, 1]) if min(np.std(a), np.std(b)) > 1e-9 else 0.0


def speech(loudness: Array, frame_seconds: float) -> Flags:
    """Which frames are speech, given their loudness (n,) in dB: pauses of up to 0.2 s within it count."""
    active: Flags = loudness > np.percentile(loudness, 95) - _SPEECH_RANGE
    sounding = np.flatnonzero(active)
    longest = round(_LONGEST_PAUSE / frame_seconds) + 1
    for before, after in itertools.pairwise(sounding):
        if after - before <= longest:
            active[before:after] = True
    return active


def closures(predicted: Array, real: Array, in_speech: Flags) -> Closures:
    """Compare closures, given the apertures (n,) of the same frames; only the order of the predicted ones matters."""
    closed = (real < CLOSED) & in_speech
    count = int(closed.sum())
    if count == 0:
        return Closures(np.nan, np.nan, np.nan)
    # Many predictions are exactly shut: the surest are those whose neighbours are nearly shut, too.
    around = np.convolve(np.pad(predicted, 1, mode="edge"), np.ones(3) / 3, "valid")
    order = np.lexsort((around, np.where(in_speech, predicted, np.inf)))
    shut = np.zeros(len(real), np.bool_)
    shut[order[:count]] = True
    precision = _near(closed)[shut].mean()
    recall = _near(shut)[closed].mean()
    return Closures(float(precision), float(recall), float(_near(closed)[in_speech].mean()))


def _near(flags: Flags) -> Flags:
    """Frames at most one away from a set one."""
    padded = np.pad(flags, 1)
    return np.asarray(padded[:-2] | padded[1:-1] | padded[2:], np.bool_)
