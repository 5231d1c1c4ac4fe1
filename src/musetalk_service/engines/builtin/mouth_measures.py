"""From mouth channels to what a ruler finds: how far the lips are open and how wide the mouth is.

The weights per channel are the portrait renderer's geometry (`engines/face/mouth_shape.py`), and so are the lengths:
distances between MediaPipe Face Mesh landmarks of the default portrait, over its inter-ocular distance, which is that
of the outer corners of the eyes (landmarks 33 and 263). In people that is some 90 mm.
"""

import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.face import Mouth

APERTURE: NDArray[np.float32] = np.array([1, 0, 0, 0, 0.21, 0.20, 0, 0, 0, 0], np.float32)
"""Inner-lip opening per channel, in jaw units, as the portrait renderer draws it (before closures)."""
WIDTH: NDArray[np.float32] = np.array([-0.05, 0.13, -0.26, 0, 0, 0, 0, 0, 0, 0], np.float32)
"""Change of mouth width per channel, in mouth widths, as the portrait renderer draws it."""
APERTURE.flags.writeable = WIDTH.flags.writeable = False

JAW_UNIT = 0.177
"""Distance of the inner lips (landmarks 13-14, 82-87, 312-317, mean) at jaw 1, in inter-ocular distances."""
REST_WIDTH = 0.599
"""Distance of the mouth's corners (landmarks 61-291) at rest, in inter-ocular distances."""

_PRESS, _TUCK = Mouth._fields.index("press"), Mouth._fields.index("tuck")

Array = NDArray[np.float64]


def opening(channels: Array) -> Array:
    """Inner-lip opening in jaw units of channels (n, 10): 0 shut, 1 the widest vowel of clear speech, at most 1.41."""
    free = (1.0 - channels[:, _PRESS]) * (1.0 - channels[:, _TUCK])
    return np.asarray((channels @ APERTURE) * free, np.float64)


def aperture(channels: Array) -> Array:
    """Inner-lip opening in inter-ocular distances of channels (n, 10): 0 to 0.25, clear speech to about 0.18."""
    return JAW_UNIT * opening(channels)


def width(channels: Array) -> Array:
    """Distance of the mouth's corners in inter-ocular distances of channels (n, 10): 0.41 to 0.68."""
    return np.asarray(REST_WIDTH * (1.0 + channels @ WIDTH), np.float64)
