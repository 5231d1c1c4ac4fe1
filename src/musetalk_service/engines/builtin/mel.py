"""Streaming causal log-mel front end, and the running normalisation that makes it level independent.

Frames are 25 ms long, 10 ms apart; frame k is centred on sample 160 k + 80. Training uses these very
functions, so that what the network learned from is what it hears. All state is in immutable tuples:
to try something out without committing it, call a function and drop the state that it returns.
"""

import functools
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
HOP = 160
WINDOW = 400
BANDS = 40
LEFT_PAD = WINDOW // 2 - HOP // 2
"""Samples of a frame that lie before its own 10 ms."""
REACH = WINDOW - LEFT_PAD
"""Samples after 160 k that frame k needs."""

_FFT_SIZE = 512
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 7600.0
_POWER_FLOOR = 2e-7  # about -98 dBFS of white noise, which is that of 16-bit rounding
LOWEST = float(np.log(_POWER_FLOOR))
"""Log power of a band in digital silence."""
_PRE_EMPHASIS = np.float32(0.97)

QUIETEST_PEAK = -9.6  # mean log power; speech of about -64 dBFS RMS
PEAK_DECAY = 0.00345  # nepers of power a frame: 1.5 dB a second
ACTIVE_RANGE = 2.53  # 11 dB: frames this near to the peak count as speech for the mean
JUMP = 1.4  # 6 dB above the peak: a new source, so learn its spectrum anew
FAST, SLOW = 20.0, 300.0  # frames that the running mean spans at first, and in the long run
SCALE = 2.5
LEAST, MOST = -2.0, 3.0  # noise fills what lies 22 dB below the voice's mean anyway


@functools.cache
def mel_matrix() -> NDArray[np.float32]:
    """Triangular filters on the HTK mel scale, shape (257, 40), peak 1 (O'Shaughnessy, 1987)."""

    def mel(hz: float) -> float:
        return float(2595.0 * np.log10(1.0 + hz / 700.0))

    edges = 700.0 * (10.0 ** (np.linspace(mel(_LOWEST_HZ), mel(_HIGHEST_HZ), BANDS + 2) / 2595.0) - 1.0)
    bins = np.arange(_FFT_SIZE // 2 + 1) * (SAMPLE_RATE / _FFT_SIZE)
    rising = (bins[:, None] - edges[None, :-2]) / np.diff(edges)[None, :-1]
    falling = (edges[None, 2:] - bins[:, None]) / np.diff(edges)[None, 1:]
    # A low band is narrower than one FFT bin; a small floor of width keeps every band alive.
    matrix: NDArray[np.float32] = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    for band in np.flatnonzero(matrix.sum(axis=0) < 0.5):
        centre = edges[band + 1] * _FFT_SIZE / SAMPLE_RATE
        low = int(centre)
        matrix[low, band], matrix[low + 1, band] = low + 1 - centre, centre - low
    return matrix


@functools.cache
def _packed_mel_matrix() -> NDArray[np.float32]:
    """The same for the squares of what `cv2.dft` makes of a real signal, (512, 40).

    That is the first bin, then real and imaginary part of each, then the last bin.
    """
    matrix = np.repeat(mel_matrix(), 2, axis=0)[1:-1]
    matrix.flags.writeable = False
    return matrix


@functools.cache
def _hann() -> NDArray[np.float32]:
    window: NDArray[np.float32] = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    return window


class MelState(NamedTuple):
    """Samples that the next frames still need."""

    tail: NDArray[np.float32]
    """Pre-emphasised samples from the next frame's start to the last one pushed, shape (n,)."""
    last: np.float32
    """The last raw sample, for the pre-emphasis."""


def initial_mel() -> MelState:
    """The state before the first sample: silence."""
    return MelState(np.zeros(LEFT_PAD, np.float32), np.float32(0.0))


def log_mel(state: MelState, samples: NDArray[np.float32]) -> tuple[MelState, NDArray[np.float32]]:
    """Take `samples` (n,), in -1..1 at 16 kHz; return the state and the new frames (m, 40), natural log."""
    if samples.size == 0:
        return state, np.zeros((0, BANDS), np.float32)
    old = state.tail.size
    tail = np.empty(old + samples.size, np.float32)
    tail[:old] = state.tail
    tail[old] = samples[0] - _PRE_EMPHASIS * state.last
    tail[old + 1 :] = samples[1:] - _PRE_EMPHASIS * samples[:-1]
    count = max(0, (tail.size - WINDOW) // HOP + 1)
    if count == 0:
        return MelState(tail, samples[-1]), np.zeros((0, BANDS), np.float32)
    frames = np.zeros((count, _FFT_SIZE), np.float32)
    overlapping = np.ndarray((count, WINDOW), np.float32, tail, strides=(HOP * tail.itemsize, tail.itemsize))
    np.multiply(overlapping, _hann(), out=frames[:, :WINDOW])
    # A quarter of the time of numpy's for the few frames of a call.
    spectrum = np.asarray(cv2.dft(frames, flags=cv2.DFT_ROWS), np.float32)
    mel: NDArray[np.float32] = np.log(np.square(spectrum) @ _packed_mel_matrix() + np.float32(_POWER_FLOOR))
    return MelState(tail[count * HOP :].copy(), samples[-1]), mel


class LevelState(NamedTuple):
    """What the normalisation knows of the voice."""

    mean: NDArray[np.float32]
    """Running mean of the active frames, shape (40,)."""
    span: float
    """Frames that the mean spans; 0 before the first active frame."""
    peak: float
    """Slowly decaying peak of the frames' mean log power."""


@functools.cache
def _speech_shape() -> NDArray[np.float32]:
    """A typical voice's pre-emphasised log spectrum about its mean: the guess before anything is heard."""
    x = np.linspace(-1.0, 1.0, BANDS)
    shape = 1.0 - 1.5 * x * x - 0.6 * x
    result: NDArray[np.float32] = (shape - shape.mean()).astype(np.float32)
    return result


def mean_level(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of each frame of (t, 40): `numpy.mean` takes several times as long for a few."""
    return np.asarray(np.add.reduce(frames, axis=1) / BANDS, np.float32)


def initial_level() -> LevelState:
    """The state before anything is heard."""
    return LevelState(_speech_shape() + np.float32(QUIETEST_PEAK), 0.0, QUIETEST_PEAK)


def normalise(state: LevelState, frames: NDArray[np.float32]) -> tuple[LevelState, NDArray[np.float32]]:
    """Subtract the running mean of the active frames so far from `frames` (t, 40); values in -2..3.

    Frame by frame, so that a voice's level and a microphone's colour drop out within half a second.
    """
    mean, span, peak = state
    result = np.empty_like(frames)
    levels: list[float] = mean_level(frames).tolist()
    for index, level in enumerate(levels):
        peak = max(peak - PEAK_DECAY, QUIETEST_PEAK)
        if level > max(peak - ACTIVE_RANGE, QUIETEST_PEAK):
            if span == 0.0 or level > peak + JUMP:
                mean, span = _speech_shape() + np.float32(level), 0.0
            span = min(max(span + 1.0, FAST), SLOW)
            mean = mean + (frames[index] - mean) * np.float32(1.0 / span)
            peak = max(peak, level)
        np.subtract(frames[index], mean, out=result[index])
    result *= np.float32(1.0 / SCALE)
    np.maximum(result, LEAST, out=result)
    np.minimum(result, MOST, out=result)
    return LevelState(mean, span, peak), result
