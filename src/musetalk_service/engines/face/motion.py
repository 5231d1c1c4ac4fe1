"""Motion clips: how a face holds itself while it waits, speaks or makes a gesture.

A clip is a table of poses at 25 fps, one row per frame, columns in the order of `Pose`. Loops close
without a seam because everything in them is periodic in the loop: head motion and breathing are
harmonics of the loop's length, and what happens at a moment (a blink, a saccade, a nod) lies on a
circle of frames. All tables are fixed numbers: the same clip comes out on every run.

Gaze jumps in one or two frames and then rests, as saccades do; the head follows it slowly and a
little. A blink closes faster than it opens. Gestures move along minimum-jerk paths (Flash and Hogan,
1985), which start and stop with zero velocity and acceleration.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.face import Pose

FPS: Final = 25
"""Frames per second of every clip."""

CLIP_FRAMES: Final[Mapping[str, int]] = MappingProxyType(
    {"idle_0": 20 * FPS, "speaking_0": 20 * FPS, "action_1": 3 * FPS, "action_2": 3 * FPS}
)
"""Clip name to its number of frames."""

LOOPS: Final = frozenset({"idle_0", "speaking_0"})
"""The clips whose first row follows their last; the others are played once, from and to rest."""

BLINK: Final = (0.25, 0.80, 1.0, 0.95, 0.70, 0.40, 0.20, 0.08)
"""Eyelid closure per frame of one blink: about 80 ms to close and 200 ms to open."""

_UNIT: Final = frozenset({"brow", "blink", "smile"})
_Curve = NDArray[np.float64]
_Channels = dict[str, _Curve]


def make_clip(name: str) -> NDArray[np.float32]:
    """Compute a clip.

    Args:
        name: a key of `CLIP_FRAMES`.

    Returns:
        (CLIP_FRAMES[name], len(Pose)) float32, columns in the order of `Pose._fields`.

    Raises:
        KeyError: unknown name; the message lists the allowed ones.
    """
    if name not in CLIP_FRAMES:
        raise KeyError(f"unknown clip {name!r}, expected one of {', '.join(CLIP_FRAMES)}")
    frames = CLIP_FRAMES[name]
    channels = _BUILDERS[name](frames)
    rows = np.zeros((frames, len(Pose._fields)), dtype=np.float32)
    for column, field in enumerate(Pose._fields):
        if field in channels:
            curve = channels[field]
            rows[:, column] = np.clip(curve, 0.0, 1.0) if field in _UNIT else curve
    return rows


def _harmonics(frames: int, terms: Iterable[tuple[int, float, float]]) -> _Curve:
    """Sum of sines, each (cycles per loop, amplitude, phase in turns): closes exactly on itself."""
    turn = np.arange(frames) / frames
    total = np.zeros(frames)
    for cycles, amplitude, phase in terms:
        total += amplitude * np.sin(2.0 * math.pi * (cycles * turn + phase))
    return total


def _blinks(frames: int, starts: Iterable[int]) -> _Curve:
    lids = np.zeros(frames)
    for start in starts:
        where = (start + np.arange(len(BLINK))) % frames
        lids[where] = np.maximum(lids[where], BLINK)
    return lids


def _bumps(frames: int, events: Iterable[tuple[float, float, float]]) -> _Curve:
    """Sum of raised-cosine bumps on the circle, each (centre, full width, height) in frames."""
    index = np.arange(frames, dtype=np.float64)
    total = np.zeros(frames)
    for centre, width, height in events:
        distance = np.abs((index - centre + frames / 2) % frames - frames / 2)
        inside = np.clip(2.0 * distance / width, 0.0, 1.0)
        total += height * 0.5 * (1.0 + np.cos(math.pi * inside))
    return total


def _fixations(frames: int, table: Iterable[tuple[int, float, float]]) -> tuple[_Curve, _Curve]:
    """Gaze that rests at (x, y) from each start frame on and gets there in two frames."""
    rows = sorted(table)
    x, y = np.zeros(frames), np.zeros(frames)
    following = [start for start, _, _ in rows[1:]] + [rows[0][0] + frames]
    for (start, to_x, to_y), end in zip(rows, following, strict=True):
        where = np.arange(start, end) % frames
        x[where], y[where] = to_x, to_y
    # A frame on its way: a saccade of this size lasts 30 to 50 ms.
    return 0.6 * x + 0.4 * np.roll(x, 1), 0.6 * y + 0.4 * np.roll(y, 1)


def _follow(gaze: _Curve, seconds: float) -> _Curve:
    """Low-passed copy of a periodic curve: the head that follows the eyes."""
    frames = len(gaze)
    offset = np.minimum(np.arange(frames), frames - np.arange(frames)) / FPS
    kernel = np.exp(-0.5 * (offset / seconds) ** 2)
    spectrum = np.fft.rfft(gaze) * np.fft.rfft(kernel / kernel.sum())
    return np.asarray(np.roll(np.fft.irfft(spectrum, frames), round(seconds * FPS)), dtype=np.float64)


def _keyed(frames: int, *keys: tuple[int, float]) -> _Curve:
    """Minimum-jerk path through (frame, value); constant before the first and after the last."""
    curve = np.full(frames, keys[0][1], dtype=np.float64)
    index = np.arange(frames)
    for (start, here), (end, there) in itertools.pairwise(keys):
        t = np.clip((index - start) / (end - start), 0.0, 1.0)
        curve += (there - here) * t**3 * (10.0 - 15.0 * t + 6.0 * t**2)
    return curve


def _idle(frames: int) -> _Channels:
    """Waiting and attentive: mostly looks at the viewer, small slow head motion."""
    gaze_x, gaze_y = _fixations(
        frames,
        [
            (0, 0.00, 0.00), (34, 0.05, -0.03), (61, -0.02, 0.01), (93, -0.21, 0.05), (117, -0.17, 0.08),
            (136, 0.01, 0.00), (188, -0.04, -0.02), (214, 0.02, 0.02), (259, 0.19, -0.07), (281, 0.24, -0.04),
            (304, 0.00, 0.01), (351, 0.05, 0.02), (377, -0.03, -0.01), (408, 0.07, 0.13), (427, -0.01, 0.00),
            (466, 0.03, -0.02),
        ],
    )  # fmt: skip
    return {
        "yaw": _harmonics(frames, [(1, 0.62, 0.10), (2, 0.78, 0.37), (5, 0.30, 0.81), (9, 0.12, 0.24)])
        + 4.0 * _follow(gaze_x, 0.35),
        "pitch": _harmonics(frames, [(1, 0.35, 0.62), (3, 0.50, 0.05), (7, 0.22, 0.47), (10, 0.09, 0.90)])
        + 3.0 * _follow(gaze_y, 0.35),
        "roll": _harmonics(frames, [(1, 0.50, 0.33), (2, 0.35, 0.71), (4, 0.20, 0.12)]),
        "shift_x": _harmonics(frames, [(1, 0.9, 0.15), (2, 0.7, 0.42), (3, 0.4, 0.66)]),
        "shift_y": _harmonics(frames, [(2, 0.45, 0.20), (5, 0.35, 0.08)]),
        "scale": _harmonics(frames, [(1, 0.004, 0.55), (3, 0.002, 0.20)]),
        "breath": _harmonics(frames, [(5, 1.2, 0.0), (10, 0.15, 0.30)]),
        "brow": _bumps(frames, [(140, 34, 0.14), (306, 40, 0.10), (430, 30, 0.12)]),
        "blink": _blinks(frames, [28, 91, 186, 256, 303, 404, 464]),
        "gaze_x": gaze_x,
        "gaze_y": gaze_y,
        "smile": 0.03 + _bumps(frames, [(165, 110, 0.10), (350, 90, 0.07)]),
    }


def _speaking(frames: int) -> _Channels:
    """Speaking: looks at the viewer, nods and raises the brows on stressed words."""
    gaze_x, gaze_y = _fixations(
        frames,
        [
            (0, 0.00, 0.00), (47, 0.03, -0.02), (96, -0.02, 0.01), (139, -0.14, -0.06), (154, 0.01, 0.00),
            (221, 0.04, 0.02), (263, -0.03, 0.00), (317, 0.15, 0.05), (333, 0.00, 0.00), (389, -0.04, -0.01),
            (441, 0.03, 0.01),
        ],
    )  # fmt: skip
    # Phrases of 2 to 3 s: the head dips on the stressed word, and rises before the next phrase.
    stresses = [(22, 1.9), (61, 1.2), (98, 2.2), (131, 1.0), (176, 2.0), (212, 1.3), (248, 1.7), (291, 2.3),
                (326, 1.1), (364, 1.9), (402, 1.4), (437, 2.1), (473, 1.2)]  # fmt: skip
    nods = _bumps(frames, [(at, 17.0, height) for at, height in stresses])
    lifts = _bumps(frames, [(at + 17, 26.0, -0.45 * height) for at, height in stresses])
    return {
        "yaw": _harmonics(frames, [(1, 0.9, 0.40), (3, 1.15, 0.07), (7, 0.75, 0.55), (12, 0.30, 0.21)])
        + 4.5 * _follow(gaze_x, 0.25),
        "pitch": _harmonics(frames, [(2, 0.40, 0.30), (5, 0.35, 0.65), (23, 0.16, 0.10)]) - 0.2
        + nods + lifts,
        "roll": _harmonics(frames, [(2, 0.70, 0.12), (5, 0.50, 0.60), (9, 0.28, 0.35)]),
        "shift_x": _harmonics(frames, [(1, 1.0, 0.45), (3, 0.9, 0.12), (8, 0.3, 0.70)]),
        "shift_y": _harmonics(frames, [(3, 0.4, 0.30), (5, 0.3, 0.05)]) + 0.25 * nods,
        "scale": _harmonics(frames, [(1, 0.005, 0.15), (4, 0.003, 0.60)]) + 0.0012 * nods,
        "breath": _harmonics(frames, [(6, 1.0, 0.10), (11, 0.35, 0.40)]),
        "brow": _bumps(frames, [(20, 30, 0.35), (97, 36, 0.50), (174, 26, 0.30), (222, 44, 0.22),
                                (289, 34, 0.55), (362, 28, 0.30), (436, 34, 0.45)]),
        "blink": _blinks(frames, [44, 107, 152, 230, 299, 331, 410, 480]),
        "gaze_x": gaze_x,
        "gaze_y": gaze_y,
        "smile": 0.04 + _bumps(frames, [(70, 80, 0.10), (235, 90, 0.14), (385, 100, 0.12)]),
    }  # fmt: skip


def _nod(frames: int) -> _Channels:
    """Two nods, the second smaller, with a smile that stays a moment: "yes, of course"."""
    return {
        "pitch": _keyed(frames, (0, 0.0), (7, -1.3), (16, 4.8), (25, -0.7), (34, 3.2), (46, -0.3), (60, 0.0)),
        "shift_y": _keyed(frames, (0, 0.0), (7, -0.5), (17, 2.0), (26, -0.2), (35, 1.3), (50, 0.0)),
        "scale": _keyed(frames, (0, 0.0), (17, 0.010), (26, 0.004), (35, 0.008), (60, 0.0)),
        "roll": _keyed(frames, (2, 0.0), (28, 1.1), (68, 0.0)),
        "smile": _keyed(frames, (3, 0.0), (22, 0.75), (46, 0.65), (72, 0.0)),
        "brow": _keyed(frames, (0, 0.0), (8, 0.45), (22, 0.15), (40, 0.20), (62, 0.0)),
        "blink": _blinks(frames, [12]),
        "gaze_y": _keyed(frames, (6, 0.0), (15, -0.10), (26, 0.02), (36, -0.06), (48, 0.0)),
        "breath": _keyed(frames, (0, 0.0), (12, -0.8), (36, 0.4), (68, 0.0)),
    }


def _greet(frames: int) -> _Channels:
    """A friendly hello: brows flash, the head tilts and comes nearer, smile."""
    return {
        "roll": _keyed(frames, (2, 0.0), (20, 3.6), (44, 3.0), (70, 0.0)),
        "yaw": _keyed(frames, (2, 0.0), (22, 1.8), (46, 1.5), (70, 0.0)),
        "pitch": _keyed(frames, (0, 0.0), (9, -2.2), (22, 1.0), (48, 0.6), (70, 0.0)),
        "shift_x": _keyed(frames, (2, 0.0), (22, 2.0), (46, 1.6), (71, 0.0)),
        "shift_y": _keyed(frames, (0, 0.0), (9, -1.2), (22, 0.4), (66, 0.0)),
        "scale": _keyed(frames, (0, 0.0), (20, 0.014), (46, 0.011), (72, 0.0)),
        "brow": _keyed(frames, (0, 0.0), (8, 0.95), (16, 0.85), (28, 0.25), (48, 0.20), (66, 0.0)),
        "smile": _keyed(frames, (3, 0.0), (20, 0.90), (48, 0.75), (73, 0.0)),
        "blink": _blinks(frames, [26]),
        "gaze_x": _keyed(frames, (4, 0.0), (20, -0.07), (48, -0.05), (68, 0.0)),
        "breath": _keyed(frames, (0, 0.0), (16, -1.2), (42, 0.5), (70, 0.0)),
    }


_BUILDERS: Final[Mapping[str, Callable[[int], _Channels]]] = MappingProxyType(
    {"idle_0": _idle, "speaking_0": _speaking, "action_1": _nod, "action_2": _greet}
)
