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
    "sh": (0.24, 0.00, 0.45, 0.00, 0.50, 0.50, 0.00, 0.75, 0.90, 0.10),
    "s": (0.12, 0.45, 0.00, 0.00, 0.40, 0.55, 0.00, 0.55, 1.00, 0.10),
    "th": (0.24, 0.12, 0.00, 0.00, 0.15, 0.30, 0.00, 0.10, 0.10, 0.90),
    "tdn": (0.24, 0.35, 0.00, 0.00, 0.15, 0.25, 0.00, 0.45, 0.20, 0.55),
    "l": (0.26, 0.05, 0.00, 0.00, 0.10, 0.20, 0.00, 0.10, 0.10, 0.75),
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

# How much a sound insists on its opening, and on its width and rounding, against its neighbours' (the dominance of
# Cohen and Massaro, 1993). The order is that of coarticulation studies: the jaw is held high for "s" and "sh" and is
# free in "h", "k" and "l" (Keating, Lindblom, Lubker and Kreiman, 1994); tongue consonants and "h" take the lips of
# the vowels around them, rounded sounds give theirs (Perkell and Matthies, 1992). Silence has no shape of its own.
_DOMINANCE: dict[str, tuple[float, float]] = {
    "sil": (0.0, 0.0), "aa": (1.0, 0.7), "ae": (1.0, 0.8), "eh": (1.0, 0.7), "ey": (1.0, 0.9), "ih": (0.8, 0.7),
    "iy": (1.0, 1.0), "ax": (0.5, 0.3), "ah": (0.8, 0.5), "er": (0.8, 0.8), "ao": (1.0, 1.2), "oh": (1.0, 1.2),
    "uh": (0.8, 1.0), "uw": (1.0, 1.4), "oe": (1.0, 1.2), "pbm": (1.5, 0.4), "fv": (1.2, 0.5), "w": (1.2, 1.5),
    "r": (0.8, 0.8), "sh": (1.2, 0.9), "s": (1.2, 0.4), "th": (0.8, 0.4), "tdn": (0.6, 0.25), "l": (0.5, 0.3),
    "kg": (0.4, 0.2), "y": (0.6, 0.7), "h": (0.2, 0.1),
}  # fmt: skip

_PRESS = Mouth._fields.index("press")
_TUCK = Mouth._fields.index("tuck")
_OPENING = [Mouth._fields.index(name) for name in ("jaw", "upper_raise", "lower_drop")]
_SHAPE = [Mouth._fields.index(name) for name in ("wide", "round")]
_TONGUE = Mouth._fields.index("tongue")
_TONGUE_TIP = [CLASSES.index(name) for name in ("th", "tdn", "l")]
_TIP_DOMINANCE = 2.0
"""How much the sounds that the tongue's tip makes insist on it, against all others, which leave it free."""
_SPEECH_FROM, _SHAPE_FULL, _OPENING_FULL = 0.06, 0.40, 0.80
_CONTACT_FULL = 0.80
_TEETH_GAIN = 1.2  # the network is less sure of "f" and "v" than of "p", "b" and "m"
_EFFORT_SLOPE, _EFFORT_LEAST, _EFFORT_MOST = 0.10, 0.80, 1.12


def _dominance() -> NDArray[np.float32]:
    """Weight of each class in each channel, shape (classes, 10)."""
    weights = np.ones_like(TABLE)
    weights[SILENCE] = 0.0
    for row, name in enumerate(CLASSES):
        weights[row, _OPENING], weights[row, _SHAPE] = _DOMINANCE[name]
    weights[_TONGUE_TIP, _TONGUE] = _TIP_DOMINANCE
    return weights


_WEIGHTS = _dominance()
_WEIGHTED = np.concatenate((_WEIGHTS * TABLE, _WEIGHTS), axis=1)
"""For one product: the weighted channels, and the weights' sums, shape (classes, 20)."""
_WEIGHTED.flags.writeable = False


def to_mouth(posteriors: NDArray[np.float32], nearby: NDArray[np.float32], level: float) -> Mouth:
    """Turn class probabilities into a mouth.

    `posteriors` (classes,) are those of the time in which lips move from one shape to another; `nearby`
    (n, classes) are the unsmoothed ones of the video frame's own time, so that a closure shorter than a frame
    is still seen in full; `level` is the loudness against the voice's own mean, in units of 11 dB: louder
    sounds are made with more effort.
    """
    heard = 1.0 - float(posteriors[SILENCE])
    if heard <= _SPEECH_FROM:
        return Mouth()
    speech = min(1.0, (heard - _SPEECH_FROM) / (_SHAPE_FULL - _SPEECH_FROM))
    # A doubt whether it is speech at all changes no shape, but how far it opens: more steeply, and each pause
    # that noise blurs would flutter.
    wide = min(1.0, (heard - _SPEECH_FROM) / (_OPENING_FULL - _SPEECH_FROM))
    weighted = posteriors @ _WEIGHTED
    channels = weighted[: TABLE.shape[1]] / weighted[TABLE.shape[1] :]
    # Both contacts shut the lips, and it is mostly each other that they are mistaken for in noise: so how far the lips
    # shut goes by their sum, and linearly, since a steep step would turn small doubts into a flutter. How firmly they
    # lie on each other or on the teeth, which is seen less, is sure earlier.
    sums = np.add.reduce(nearby, axis=0)
    lips, teeth = float(sums[BILABIAL]) / len(nearby), _TEETH_GAIN * float(sums[LABIODENTAL]) / len(nearby)
    shut, firm = min(1.0, lips + teeth), min(1.0, (lips + teeth) / _CONTACT_FULL)
    of_teeth = teeth * teeth / max(lips * lips + teeth * teeth, 1e-9)
    effort = min(_EFFORT_MOST, max(_EFFORT_LEAST, 1.0 + _EFFORT_SLOPE * level))
    channels[_OPENING] *= effort * (1.0 - shut * (1.0 - of_teeth))
    channels *= 1.0 - shut * of_teeth
    channels += shut * of_teeth * TABLE[LABIODENTAL]
    channels[_PRESS], channels[_TUCK] = firm * (1.0 - of_teeth), firm * of_teeth
    channels *= speech
    channels[_OPENING] *= wide / speech
    return Mouth(*(min(max(channel, 0.0), 1.0) for channel in channels.tolist()))
