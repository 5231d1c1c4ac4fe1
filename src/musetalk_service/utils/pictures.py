"""Pictures as files: for browsers, and how large one is before it is decoded."""

import struct
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.media import FrameSize

PNG_HEAD: Final = 24
"""Bytes of a PNG file up to the end of its size."""
_PNG_BEGINS: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
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


def png_size(head: bytes) -> FrameSize | None:
    """What a PNG file says of its size in its first 24 bytes (W3C PNG, 11.2.2); None for what is no PNG file."""
    if len(head) < PNG_HEAD or not head.startswith(_PNG_BEGINS):
        return None
    return FrameSize(*struct.unpack_from(">II", head, len(_PNG_BEGINS)))
