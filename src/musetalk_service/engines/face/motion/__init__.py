"""Motion clips: how a face holds itself while it waits, speaks or makes a gesture.

A clip is a table of poses at 25 fps, one row per frame, columns in the order of `Pose`. All tables
are fixed numbers: the same clip comes out on every run.

Every loop closes on itself without a seam. Idle clips also begin and end alike - the neutral pose,
the head at rest, the eyes open and on the viewer, breath at the same phase - so that any of them may
follow any other at its end. Speaking clips hold back with their own nods and brows: most stresses come
from the voice (`emphasis`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.motion.curves import BLINK, FPS
from musetalk_service.engines.face.motion.gestures import GESTURES
from musetalk_service.engines.face.motion.idle import IDLE
from musetalk_service.engines.face.motion.manner import perform
from musetalk_service.engines.face.motion.speaking import SPEAKING
from musetalk_service.models.face import Pose

__all__ = ["BLINK", "CLIP_FRAMES", "FPS", "LOOPS", "Stresses", "make_clip", "stresses_of"]

_MANNERS: Final = {**IDLE, **SPEAKING}

LOOPS: Final = frozenset(_MANNERS)
"""The clips whose first row follows their last; the others are played once, from and to rest."""

CLIP_FRAMES: Final[Mapping[str, int]] = MappingProxyType(
    {name: manner.frames for name, manner in _MANNERS.items()}
    | {name: gesture.frames for name, gesture in GESTURES.items()}
)
"""Clip name to its number of frames, multiples of 25."""

_UNIT: Final = frozenset({"brow", "blink", "smile"})
_OWN_STRESS: Final = 0.4
"""Share of a speaking clip's own nods and brows that plays whatever is said."""


class Stresses(NamedTuple):
    """How far the strongest stress of a voice moves a face that shows a clip."""

    nod: float
    """Degrees of pitch."""
    brow: float
    """Brow raise, 0 to 1."""


_QUIET_STRESSES: Final = Stresses(1.4, 0.35)
_NO_STRESSES: Final = Stresses(0.0, 0.0)


def stresses_of(name: str) -> Stresses:
    """The stresses that suit a clip: a speaking clip's by its manner, small ones while idle, none in gestures."""
    if name in SPEAKING:
        manner = SPEAKING[name]
        nod = max((degrees for _, degrees in manner.nods), default=0.0)
        return Stresses(nod, max((stroke[-1] for stroke in manner.strokes.get("brow", ())), default=0.0))
    return _QUIET_STRESSES if name in IDLE else _NO_STRESSES


def make_clip(name: str) -> NDArray[np.float32]:
    """Compute a clip.

    Args:
        name: a key of `CLIP_FRAMES`.

    Returns:
        (CLIP_FRAMES[name], len(Pose)) float32, columns in the order of `Pose._fields`.

    Raises:
        KeyError: unknown name; the message lists the allowed ones.
    """
    if name in _MANNERS:
        channels = perform(_MANNERS[name], _OWN_STRESS if name in SPEAKING else 1.0)
    elif name in GESTURES:
        channels = GESTURES[name].channels()
    else:
        raise KeyError(f"unknown clip {name!r}, expected one of {', '.join(CLIP_FRAMES)}")
    rows = np.zeros((CLIP_FRAMES[name], len(Pose._fields)), dtype=np.float32)
    for column, field in enumerate(Pose._fields):
        if field in channels:
            curve = channels[field]
            rows[:, column] = np.clip(curve, 0.0, 1.0) if field in _UNIT else curve
    return rows
