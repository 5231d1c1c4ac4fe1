"""A manner: what tells one idle or speaking clip from another, and how it becomes channels."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from musetalk_service.engines.face.motion.curves import (
    BLINK,
    FPS,
    SLOW_BLINK,
    Curve,
    Fixation,
    Stroke,
    blinks,
    fixations,
    follow,
    harmonics,
    pinned,
    strokes,
    sway,
)

_COUNTER_ROTATION: Final = 0.03
"""Iris radii that the eyes turn back per degree of the head (vestibulo-ocular reflex): a radius of
6 mm on an eyeball of 12 mm radius makes 0.035; a little less, since the portrait turns less than a head."""

_SWAY: Final = {"yaw": 1.0, "pitch": 0.55, "roll": 0.5, "shift_x": 0.9, "shift_y": 0.45, "scale": 0.0035}
"""Share of each channel in the sway, in its own unit per degree of yaw."""

_GAZE_LIMIT: Final = 0.35


@dataclass(frozen=True, kw_only=True)
class Manner:
    """A loop in the terms of a director: all times are frames, heights are in the unit of the channel."""

    seconds: int
    seed: int
    """Which sway."""
    sway: float
    """Slow wandering of the head, degrees of yaw (root mean square)."""
    tempo: float
    """How quickly it wanders, Hz."""
    gaze: tuple[Fixation, ...]
    """Where the eyes look, the head apart. They stay on the target while the head moves."""
    head_follows: float
    """Degrees of the head per iris radius of gaze."""
    blinks: tuple[int, ...]
    slow_blinks: tuple[int, ...] = ()
    nods: tuple[tuple[int, float], ...] = ()
    """(deepest frame, degrees); larger ones take longer."""
    nod: tuple[int, int] = (7, 11)
    """Frames down and frames up of a nod of two degrees."""
    strokes: Mapping[str, tuple[Stroke, ...]] = field(default_factory=dict)
    """What else channels do at moments."""
    smile: float = 0.03
    """Smile that is always there."""
    breaths: int
    """Breaths per loop."""
    breath: float = 1.2
    """Pixels of the shoulders."""
    pinned: bool = False
    """Whether the loop passes through the neutral pose, at rest, in its first frame."""

    @property
    def frames(self) -> int:
        """Length of the loop."""
        return self.seconds * FPS


def perform(manner: Manner, stress: float = 1.0) -> dict[str, Curve]:
    """The channels of a loop by the names of `Pose`; each closes on itself.

    `stress`: share of the nods and of the strokes of the brows that is played.
    """
    frames = manner.frames
    gaze_x, gaze_y = fixations(frames, manner.gaze)
    nods = stress * _nods(frames, manner.nods, manner.nod)
    extra = {channel: strokes(frames, events) for channel, events in manner.strokes.items()}
    if "brow" in extra:
        extra["brow"] *= stress
    head = {}
    for order, (channel, share) in enumerate(_SWAY.items()):
        curve = sway(frames, share * manner.sway, manner.tempo, 16 * manner.seed + order)
        head[channel] = curve + extra.pop(channel, 0.0)
    head["yaw"] += manner.head_follows * follow(gaze_x, 0.3)
    head["pitch"] += 0.75 * manner.head_follows * follow(gaze_y, 0.3) + nods
    head["shift_y"] += 0.25 * nods
    head["scale"] += 0.0012 * nods
    if manner.pinned:
        head = {channel: pinned(curve) for channel, curve in head.items()}
    n, depth = manner.breaths, manner.breath
    rest = {
        "breath": harmonics(frames, [(n, depth, 0.0), (2 * n, 0.125 * depth, 0.3)]),
        "brow": np.zeros(frames),
        "smile": np.full(frames, manner.smile),
        "blink": np.maximum(blinks(frames, manner.blinks, BLINK), blinks(frames, manner.slow_blinks, SLOW_BLINK)),
        "gaze_x": np.clip(gaze_x - _COUNTER_ROTATION * head["yaw"], -_GAZE_LIMIT, _GAZE_LIMIT),
        "gaze_y": np.clip(gaze_y - _COUNTER_ROTATION * head["pitch"], -_GAZE_LIMIT, _GAZE_LIMIT),
    }
    channels = head | {channel: curve + extra.pop(channel, 0.0) for channel, curve in rest.items()}
    if extra:
        raise ValueError(f"a manner has strokes of unknown channels: {', '.join(extra)}")
    return channels


def _nods(frames: int, at: Iterable[tuple[int, float]], shape: tuple[int, int]) -> Curve:
    """Dips of the head, each with a small lift after it as the head swings back."""
    events: list[Stroke] = []
    for deepest, degrees in at:
        slowness = math.sqrt(0.3 + 0.35 * degrees)
        down, up = (max(3, round(part * slowness)) for part in shape)
        events.append((deepest - down, down, 0, up, degrees))
        events.append((deepest + up // 2, up, 2, 2 * up, -0.3 * degrees))
    return strokes(frames, events)
