"""Mouth channels as ARKit blend shapes, for faces that are driven by those.

Names and meanings: Apple, "ARFaceAnchor.BlendShapeLocation"; each runs from 0 (neutral) to 1 (furthest). Only the
shapes that speech moves are given: smiles, brows, eyes and the rest of the 52 are left to whatever else drives the
face, and the teeth channels have no counterpart, since a rig shows its teeth as the lips uncover them.

==========================  ======================================================================================
jawOpen                     0.6 jaw: ARKit's 1 is a yawn, a channel's 1 the widest vowel of clear speech
mouthClose                  press x jawOpen: ARKit's shape shuts lips over a jaw that stays open
mouthFunnel, mouthPucker    round, shared out by the opening: open and rounded ("oh") is the funnel, narrow ("oo", "w")
                            the pucker
mouthPress, mouthRollUpper  press; pressed lips are also rolled in a little
mouthRollLower              tuck, the lower lip under the upper teeth ("f", "v"); a little press
mouthStretch                0.6 wide
mouthUpperUp                0.7 upper_raise, not while the lips are pressed
mouthLowerDown              0.7 lower_drop, not while the lips are pressed or tucked
tongueOut                   the part of tongue above 0.75, which only "th" reaches: elsewhere it stays behind the teeth
==========================  ======================================================================================
"""

import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.face import Mouth

ARKIT_NAMES: tuple[str, ...] = (
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthRollUpper",
    "mouthRollLower",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "tongueOut",
)
"""The blend shapes that `to_arkit` gives, in its order."""

_JAW, _WIDE, _RAISE = 0.6, 0.6, 0.7
_ROLL = 0.25
_FUNNEL_FROM_JAW = 0.30
_TONGUE_OUT_FROM = 0.75


def to_arkit(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blend shape coefficients (n, 15) in the order of `ARKIT_NAMES`, 0 to 1, of mouth channels (n, 10)."""
    mouth = Mouth(*channels.T)
    jaw, press, tuck, rounded = (np.asarray(channel) for channel in (mouth.jaw, mouth.press, mouth.tuck, mouth.round))
    apart = 1.0 - press
    funnel = np.minimum(1.0, jaw / _FUNNEL_FROM_JAW)
    stretch = _WIDE * np.asarray(mouth.wide)
    raised = _RAISE * np.asarray(mouth.upper_raise) * apart
    dropped = _RAISE * np.asarray(mouth.lower_drop) * apart * (1.0 - tuck)
    tongue = np.maximum(0.0, (np.asarray(mouth.tongue) - _TONGUE_OUT_FROM) / (1.0 - _TONGUE_OUT_FROM))
    shapes = {
        "jawOpen": _JAW * jaw,
        "mouthClose": press * _JAW * jaw,
        "mouthFunnel": rounded * funnel,
        "mouthPucker": rounded * (1.0 - funnel),
        "mouthStretchLeft": stretch,
        "mouthStretchRight": stretch,
        "mouthPressLeft": press,
        "mouthPressRight": press,
        "mouthRollUpper": _ROLL * press,
        "mouthRollLower": np.maximum(tuck, _ROLL * press),
        "mouthUpperUpLeft": raised,
        "mouthUpperUpRight": raised,
        "mouthLowerDownLeft": dropped,
        "mouthLowerDownRight": dropped,
        "tongueOut": tongue * apart,
    }
    coefficients = np.stack([shapes[name] for name in ARKIT_NAMES], axis=1)
    return np.asarray(np.clip(coefficients, 0.0, 1.0), np.float64)
