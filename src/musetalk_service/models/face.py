"""How a face is posed: the two vectors that a renderer turns into one picture.

Both are named tuples of floats, so that a clip is an array with one row per frame and a row
reads as names in code. All coordinates refer to the upright 512x512 picture, x right, y down.
"""

from typing import NamedTuple


class Pose(NamedTuple):
    """Head, eyes and body of one frame; everything but the speaking mouth. Neutral is all zero."""

    yaw: float = 0.0
    """Degrees, positive turns the face to the right of the picture; clean to about +-6."""
    pitch: float = 0.0
    """Degrees, positive looks down; clean to about +-6."""
    roll: float = 0.0
    """Degrees, positive is clockwise in the picture."""
    shift_x: float = 0.0
    """Head translation in pixels."""
    shift_y: float = 0.0
    """Head translation in pixels."""
    scale: float = 0.0
    """Relative head size change, 0.01 is one per cent nearer."""
    breath: float = 0.0
    """Vertical movement of the shoulders in pixels."""
    brow: float = 0.0
    """Brow raise, 0 to 1."""
    blink: float = 0.0
    """Eyelid closure, 0 open to 1 shut."""
    gaze_x: float = 0.0
    """Iris shift in iris radii, about +-0.35."""
    gaze_y: float = 0.0
    """Iris shift in iris radii, about +-0.35."""
    smile: float = 0.0
    """Smile of the closed or speaking mouth, 0 to 1."""


class Mouth(NamedTuple):
    """The speaking mouth of one frame. Every channel runs from 0 to 1; rest (lips shut) is all zero."""

    jaw: float = 0.0
    """Jaw opening; 1 is the widest vowel of clear speech."""
    wide: float = 0.0
    """Lip corners pulled apart, as in "ee"."""
    round: float = 0.0
    """Lips rounded and narrowed, as in "oo"."""
    press: float = 0.0
    """Lips pressed together: 1 at p, b, m."""
    upper_raise: float = 0.0
    """Upper lip raised, as in "s" and "f"."""
    lower_drop: float = 0.0
    """Lower lip drawn down beyond the jaw's movement."""
    tuck: float = 0.0
    """Lower lip under the upper teeth: 1 at f, v."""
    teeth_upper: float = 0.0
    """How much of the upper teeth shows when the lips are apart."""
    teeth_lower: float = 0.0
    """How much of the lower teeth shows when the lips are apart."""
    tongue: float = 0.0
    """Tongue height and forwardness, as in "th", "l", "n"."""


REST = Mouth()
NEUTRAL = Pose()
