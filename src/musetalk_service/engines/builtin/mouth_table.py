"""From the probabilities of mouth classes to the channels of a mouth.

The classes are the sounds that lips tell apart. Inner-lip aperture and mouth width follow what lips were
measured to do in clear speech: rounded vowels, "r" and "w" nearly close the lips, while "k", "sh" and "h"
stay open. The rest is phonetics (Ladefoged and Johnson, "A Course in Phonetics"): which sounds show teeth,
tongue, a raised lip.
"""

import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.face import Mouth

# Columns: jaw, wide, round, press, upper_raise, lower_drop, tuck, teeth_upper, teeth_lower, tongue.
_ROWS: dict[str, tuple[float, ...]] = {
    "sil": (0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    "aa": (0.95, 0.15, 0.00, 0.00, 0.20, 0.10, 0.00, 0.60, 0.00, 0.10),
    "ae": (0.80, 0.65, 0.00, 0.00, 0.30, 0.25, 0.00, 0.80, 0.10, 0.20),
    "eh": (0.60, 0.45, 0.00, 0.00, 0.30, 0.20, 0.00, 0.80, 0.10, 0.30),
    "ey": (0.40, 0.50, 0.00, 0.00, 0.30, 0.20, 0.00, 0.80, 0.30, 0.30),
    "ih": (0.40, 0.55, 0.00, 0.00, 0.35, 0.25, 0.00, 0.85, 0.40, 0.30),
    "iy": (0.30, 0.80, 0.00, 0.00, 0.35, 0.30, 0.00, 0.90, 0.70, 0.30),
    "ax": (0.26, 0.00, 0.05, 0.00, 0.15, 0.10, 0.00, 0.50, 0.10, 0.20),
    "ah": (0.34, 0.05, 0.00, 0.00, 0.15, 0.10, 0.00, 0.60, 0.00, 0.15),
    "er": (0.24, 0.00, 0.25, 0.00, 0.10, 0.10, 0.00, 0.50, 0.10, 0.30),
    "ao": (0.26, 0.00, 0.80, 0.00, 0.00, 0.00, 0.00, 0.20, 0.00, 0.10),
    "oh": (0.32, 0.00, 0.60, 0.00, 0.00, 0.00, 0.00, 0.30, 0.00, 0.10),
    "uh": (0.22, 0.00, 0.50, 0.00, 0.05, 0.05, 0.00, 0.30, 0.00, 0.10),
    "uw": (0.14, 0.00, 0.85, 0.00, 0.00, 0.00, 0.00, 0.10, 0.00, 0.10),
    "oe": (0.30, 0.00, 0.50, 0.00, 0.05, 0.05, 0.00, 0.30, 0.00, 0.20),
    "pbm": (0.00, 0.00, 0.12, 1.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    "fv": (0.10, 0.00, 0.00, 0.00, 0.50, 0.00, 1.00, 1.00, 0.00, 0.00),
    "w": (0.04, 0.00, 1.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    "r": (0.14, 0.00, 0.55, 0.00, 0.05, 0.10, 0.00, 0.40, 0.10, 0.30),
    "sh": (0.24, 0.00, 0.45, 0.00, 0.50, 0.50, 0.00, 0.80, 0.90, 0.10),
    "s": (0.12, 0.45, 0.00, 0.00, 0.40, 0.55, 0.00, 0.80, 1.00, 0.10),
    "th": (0.24, 0.12, 0.00, 0.00, 0.15, 0.10, 0.00, 0.90, 0.10, 0.90),
    "tdn": (0.24, 0.35, 0.00, 0.00, 0.15, 0.25, 0.00, 0.70, 0.20, 0.55),
    "l": (0.26, 0.05, 0.00, 0.00, 0.10, 0.10, 0.00, 0.60, 0.10, 0.75),
    "kg": (0.40, 0.20, 0.00, 0.00, 0.15, 0.20, 0.00, 0.50, 0.20, 0.10),
    "y": (0.30, 0.45, 0.00, 0.00, 0.25, 0.25, 0.00, 0.80, 0.50, 0.30),
    "h": (0.50, 0.10, 0.00, 0.00, 0.20, 0.15, 0.00, 0.60, 0.10, 0.10),
}

CLASSES: tuple[str, ...] = tuple(_ROWS)
"""The mouth classes, in the order of the network's outputs."""
SILENCE, BILABIAL, LABIODENTAL = (CLASSES.index(name) for name in ("sil", "pbm", "fv"))

TABLE: NDArray[np.float32] = np.array(list(_ROWS.values()), dtype=np.float32)
"""Channels of a class held for long, shape (classes, 10), in the order of `Mouth`."""
TABLE.flags.writeable = False

_JAW = Mouth._fields.index("jaw")
_ROUND = Mouth._fields.index("round")
_PRESS = Mouth._fields.index("press")
_UPPER_RAISE = Mouth._fields.index("upper_raise")
_TUCK = Mouth._fields.index("tuck")
_OPENING = [Mouth._fields.index(name) for name in ("jaw", "upper_raise", "lower_drop")]
_SPEECH_FROM, _SPEECH_FULL = 0.06, 0.30
_CONTACT_FROM, _CONTACT_FULL = 0.25, 0.50
_EFFORT_SLOPE, _EFFORT_LEAST, _EFFORT_MOST = 0.10, 0.80, 1.12


def _ramp(value: float, start: float, full: float) -> float:
    """Smooth step from 0 at `start` to 1 at `full`."""
    x = min(1.0, max(0.0, (value - start) / (full - start)))
    return x * x * (3.0 - 2.0 * x)


def to_mouth(posteriors: NDArray[np.float32], nearby: NDArray[np.float32], level: float) -> Mouth:
    """Turn class probabilities into a mouth.

    `posteriors` (classes,) are smoothed, at the instant; `nearby` (n, classes) are the unsmoothed ones of
    the video frame around it, so that a closure shorter than a frame is still seen; `level` is the frame's
    loudness against the voice's own mean, in units of 11 dB.
    """
    sounding = 1.0 - float(posteriors[SILENCE])
    speech = _ramp(sounding, _SPEECH_FROM, _SPEECH_FULL)
    if speech == 0.0:
        return Mouth()
    # The shape of the sounds alone: a doubt whether it is speech at all must not half shut the mouth.
    channels = posteriors @ TABLE / np.float32(sounding)
    effort = min(_EFFORT_MOST, max(_EFFORT_LEAST, 1.0 + _EFFORT_SLOPE * level))
    lips = float(nearby[:, BILABIAL].max())
    teeth = float(nearby[:, LABIODENTAL].max())
    press = _ramp(lips, _CONTACT_FROM, _CONTACT_FULL)
    tuck = (1.0 - press) * _ramp(teeth, _CONTACT_FROM, _CONTACT_FULL)
    gate = max(0.0, 1.0 - lips - 0.3 * teeth) ** 2 * (1.0 - press)
    channels[_OPENING] *= effort * gate
    channels *= 1.0 - tuck
    channels += tuck * TABLE[LABIODENTAL]
    channels[_PRESS], channels[_TUCK] = press, tuck
    channels *= speech
    return Mouth(*np.clip(channels, 0.0, 1.0).tolist())
