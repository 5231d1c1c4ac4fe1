"""Decode what the service sends, and hear every complaint of the decoder."""

from collections.abc import Sequence

import av
import av.logging
import numpy as np
from numpy.typing import NDArray


def decode(access_units: Sequence[bytes]) -> list[NDArray[np.uint8]]:
    """Luma planes, (height, width); fails at the first complaint of the decoder."""
    pictures: list[NDArray[np.uint8]] = []
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=True) as complaints:
            context = av.CodecContext.create("h264", "r")
            context.thread_count = 1
            for unit in access_units:
                pictures += [_luma(frame) for frame in context.decode(av.Packet(unit))]
            pictures += [_luma(frame) for frame in context.decode(None)]
    finally:
        av.logging.set_level(level)
    assert not complaints, complaints
    return pictures


def greys(access_units: Sequence[bytes]) -> list[int]:
    """Of each picture, the grey of its middle as the flat test engines drew it."""
    # Luma is in limited range: 16 + 219 / 255 * grey.
    return [round((float(luma[96:160, 96:160].mean()) - 16) * 255 / 219) for luma in decode(access_units)]


def _luma(frame: av.VideoFrame) -> NDArray[np.uint8]:
    planes = frame.to_ndarray(format="yuv420p")
    return np.asarray(planes[: frame.height], np.uint8)
