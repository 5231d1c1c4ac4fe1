"""What clips are made of: movements laid on a circle of frames, so that whatever they add up to loops.

Voluntary movements follow minimum-jerk paths (Flash and Hogan, 1985), which start and stop with zero
velocity and acceleration. Gaze jumps in one or two frames and then rests, as saccades do. A blink
closes faster than it opens.
"""

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

FPS: Final = 25
"""Frames per second of every clip."""

BLINK: Final = (0.25, 0.80, 1.0, 0.95, 0.70, 0.40, 0.20, 0.08)
"""Eyelid closure per frame of one blink: about 80 ms to close and 200 ms to open."""

SLOW_BLINK: Final = (0.12, 0.38, 0.70, 0.93, 1.0, 0.98, 0.88, 0.72, 0.54, 0.37, 0.23, 0.12, 0.05)
"""Eyelid closure per frame of the blink of somebody lost in thought."""

Curve = NDArray[np.float64]
"""(frames,) one channel of a clip."""
Stroke = tuple[int, int, int, int, float]
"""(start, frames to get there, frames to stay, frames to come back, height)."""
Fixation = tuple[int, float, float]
"""(start, x, y): where the gaze rests from a frame on, in iris radii."""


def minimum_jerk(t: Curve) -> Curve:
    """From 0 to 1 while ``t`` goes from 0 to 1; constant outside."""
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t**3 * (10.0 - 15.0 * t + 6.0 * t**2), dtype=np.float64)


def strokes(frames: int, events: Iterable[Stroke]) -> Curve:
    """Sum of movements that go somewhere, stay - but not quite: a sixth is lost meanwhile - and come back."""
    index = np.arange(frames, dtype=np.float64)
    total = np.zeros(frames)
    for start, rise, hold, fall, height in events:
        since = (index - start) % frames
        slack = minimum_jerk((since - rise) / hold) / 6.0 if hold else 0.0
        back = minimum_jerk((since - rise - hold) / fall)
        total += height * (minimum_jerk(since / rise) - slack) * (1.0 - back)
    return total


def path(frames: int, *keys: tuple[int, float]) -> Curve:
    """Minimum-jerk path through (frame, value); constant before the first and after the last."""
    curve = np.full(frames, keys[0][1], dtype=np.float64)
    index = np.arange(frames, dtype=np.float64)
    for (start, here), (end, there) in itertools.pairwise(keys):
        curve += (there - here) * minimum_jerk((index - start) / (end - start))
    return curve


def harmonics(frames: int, terms: Iterable[tuple[int, float, float]]) -> Curve:
    """Sum of sines, each (cycles per loop, amplitude, phase in turns): closes exactly on itself."""
    turn = np.arange(frames) / frames
    total = np.zeros(frames)
    for cycles, amplitude, phase in terms:
        total += amplitude * np.sin(2.0 * math.pi * (cycles * turn + phase))
    return total


def sway(frames: int, rms: float, tempo: float, seed: int) -> Curve:
    """Irregular slow wandering, as of a head that nobody holds still on purpose.

    Args:
        frames: length of the loop.
        rms: root mean square of the curve.
        tempo: frequency in Hz up to which the spectrum is that of drift (1/f); steep beyond.
        seed: which of the possible curves; each always is the same.
    """
    # random.Random promises the same numbers on every platform and version, numpy's generators do not.
    chance = random.Random(seed)
    terms = []
    for cycles in range(1, frames // FPS * 2):
        hertz = cycles * FPS / frames
        amplitude = (0.6 + 0.8 * chance.random()) / max(hertz, 0.12) / (1.0 + (hertz / tempo) ** 4)
        terms.append((cycles, amplitude, chance.random()))
    curve = harmonics(frames, terms)
    return curve * (rms / float(np.sqrt(np.mean(curve**2))))


def pinned(curve: Curve, seconds: float = 1.6) -> Curve:
    """Bent within ``seconds`` around the first frame so that value and velocity are zero there."""
    frames = len(curve)
    offset = (np.arange(frames) + frames / 2) % frames - frames / 2
    near = 1.0 - minimum_jerk(np.abs(offset) / (seconds * FPS))
    velocity = 0.5 * (curve[1] - curve[-1])
    return np.asarray(curve - near * (curve[0] + velocity * offset), dtype=np.float64)


def blinks(frames: int, starts: Iterable[int], profile: Sequence[float]) -> Curve:
    """Eyelid closure, 0 to 1, of blinks that begin at the given frames."""
    lids = np.zeros(frames)
    for start in starts:
        where = (start + np.arange(len(profile))) % frames
        lids[where] = np.maximum(lids[where], profile)
    return lids


def fixations(frames: int, table: Iterable[Fixation]) -> tuple[Curve, Curve]:
    """Gaze x and y that rest where the table says and get there in two frames."""
    rows = sorted(table)
    x, y = np.zeros(frames), np.zeros(frames)
    following = [start for start, _, _ in rows[1:]] + [rows[0][0] + frames]
    for (start, to_x, to_y), end in zip(rows, following, strict=True):
        where = np.arange(start, end) % frames
        x[where], y[where] = to_x, to_y
    # A frame on its way: a saccade of this size lasts 30 to 50 ms.
    return 0.6 * x + 0.4 * np.roll(x, 1), 0.6 * y + 0.4 * np.roll(y, 1)


def follow(gaze: Curve, seconds: float) -> Curve:
    """Low-passed and delayed copy of a periodic curve: the head that follows the eyes."""
    frames = len(gaze)
    offset = np.minimum(np.arange(frames), frames - np.arange(frames)) / FPS
    kernel = np.exp(-0.5 * (offset / seconds) ** 2)
    spectrum = np.fft.rfft(gaze) * np.fft.rfft(kernel / kernel.sum())
    return np.asarray(np.roll(np.fft.irfft(spectrum, frames), round(seconds * FPS)), dtype=np.float64)
