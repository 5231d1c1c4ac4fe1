"""Pictures as files for browsers."""

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 256
_QUALITY = 88


def thumbnail(picture: NDArray[np.uint8]) -> bytes:
    """A JPEG file of a square (n, n, 3) BGR picture, 256x256."""
    small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return jpeg(np.asarray(small, np.uint8))


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """A JPEG file of an (h, w, 3) BGR picture."""
    encoded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not encoded:
        raise ValueError("the picture cannot be encoded")
    return data.tobytes()
