"""I420 pictures: what the encoder takes, and what renderer and engines therefore hand about.

One array of uint8, (height * 3 / 2, width), for an even width and height: the luma rows, then both chroma planes at
half the size, U before V (ITU-T H.264, 4:2:0). BT.601 in limited range, each chroma sample at the upper left of its
four pixels, as OpenCV's conversion makes it.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.media import FrameSize

Plane = NDArray[np.uint8]


class Planes(NamedTuple):
    """Views of one picture."""

    y: Plane
    """(height, width)."""
    u: Plane
    """(height / 2, width / 2)."""
    v: Plane
    """(height / 2, width / 2)."""


def size_of(picture: Plane) -> FrameSize:
    """Raises ValueError for an array that is no I420 picture."""
    if picture.ndim != 2 or picture.dtype != np.uint8 or picture.shape[0] % 3 or picture.shape[1] % 2:
        raise ValueError(f"an I420 picture is (height * 3 / 2, width) uint8, not {picture.shape} {picture.dtype}")
    return FrameSize(picture.shape[1], picture.shape[0] // 3 * 2)


def planes_of(picture: Plane) -> Planes:
    """The three planes of a contiguous picture. Raises ValueError for an array of another form."""
    width, height = size_of(picture)
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    return Planes(picture[:height], chroma[0], chroma[1])


def from_bgr(pixels: NDArray[np.uint8]) -> Plane:
    """(h, w, 3) BGR, both sides even, as I420."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420), np.uint8)


def to_bgr(picture: Plane) -> NDArray[np.uint8]:
    """An I420 picture as (h, w, 3) BGR."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_YUV2BGR_I420), np.uint8)


def cut(picture: Plane, left: int, top: int, size: FrameSize) -> Plane:
    """A part of a picture; ``left`` and ``top`` even."""
    result = np.empty((size.height * 3 // 2, size.width), np.uint8)
    for source, target, step in zip(planes_of(picture), planes_of(result), (1, 2, 2), strict=True):
        x, y = left // step, top // step
        target[:] = source[y : y + target.shape[0], x : x + target.shape[1]]
    return result


def scaled(picture: Plane, size: FrameSize) -> Plane:
    """The picture in another size, each plane by itself."""
    result = np.empty((size.height * 3 // 2, size.width), np.uint8)
    for source, target in zip(planes_of(picture), planes_of(result), strict=True):
        cv2.resize(source, target.shape[::-1], dst=target, interpolation=cv2.INTER_AREA)
    return result
