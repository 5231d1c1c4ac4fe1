"""Gestures: clips that are played once, from the neutral pose back to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from musetalk_service.engines.face.motion.curves import BLINK, FPS, Curve, blinks, path


@dataclass(frozen=True)
class Gesture:
    """A clip of a few seconds."""

    frames: int
    build: Callable[[int], dict[str, Curve]]

    def channels(self) -> dict[str, Curve]:
        """The channels by the names of `Pose`; those that are missing stay at zero."""
        return self.build(self.frames)


def _nod(frames: int) -> dict[str, Curve]:
    """Two nods, the second smaller, with a smile that stays a moment: "yes, of course"."""
    return {
        "pitch": path(frames, (0, 0.0), (7, -1.3), (16, 4.8), (25, -0.7), (34, 3.2), (46, -0.3), (60, 0.0)),
        "shift_y": path(frames, (0, 0.0), (7, -0.5), (17, 2.0), (26, -0.2), (35, 1.3), (50, 0.0)),
        "scale": path(frames, (0, 0.0), (17, 0.010), (26, 0.004), (35, 0.008), (60, 0.0)),
        "roll": path(frames, (2, 0.0), (28, 1.1), (68, 0.0)),
        "smile": path(frames, (3, 0.0), (22, 0.75), (46, 0.65), (72, 0.0)),
        "brow": path(frames, (0, 0.0), (8, 0.45), (22, 0.15), (40, 0.20), (62, 0.0)),
        "blink": blinks(frames, [12], BLINK),
        "gaze_y": path(frames, (6, 0.0), (15, -0.10), (26, 0.02), (36, -0.06), (48, 0.0)),
        "breath": path(frames, (0, 0.0), (12, -0.8), (36, 0.4), (68, 0.0)),
    }


def _greet(frames: int) -> dict[str, Curve]:
    """A friendly hello: brows flash, the head tilts and comes nearer, smile."""
    return {
        "roll": path(frames, (2, 0.0), (20, 3.6), (44, 3.0), (70, 0.0)),
        "yaw": path(frames, (2, 0.0), (22, 1.8), (46, 1.5), (70, 0.0)),
        "pitch": path(frames, (0, 0.0), (9, -2.2), (22, 1.0), (48, 0.6), (70, 0.0)),
        "shift_x": path(frames, (2, 0.0), (22, 2.0), (46, 1.6), (71, 0.0)),
        "shift_y": path(frames, (0, 0.0), (9, -1.2), (22, 0.4), (66, 0.0)),
        "scale": path(frames, (0, 0.0), (20, 0.014), (46, 0.011), (72, 0.0)),
        "brow": path(frames, (0, 0.0), (8, 0.95), (16, 0.85), (28, 0.25), (48, 0.20), (66, 0.0)),
        "smile": path(frames, (3, 0.0), (20, 0.90), (48, 0.75), (73, 0.0)),
        "blink": blinks(frames, [26], BLINK),
        "gaze_x": path(frames, (4, 0.0), (20, -0.07), (48, -0.05), (68, 0.0)),
        "breath": path(frames, (0, 0.0), (16, -1.2), (42, 0.5), (70, 0.0)),
    }


GESTURES: Final[Mapping[str, Gesture]] = MappingProxyType(
    {"action_1": Gesture(3 * FPS, _nod), "action_2": Gesture(3 * FPS, _greet)}
)
"""By the names of clips."""
