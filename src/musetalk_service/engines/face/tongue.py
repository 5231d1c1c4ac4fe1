"""The tongue as two sprites: its body on the mouth's floor, and the blade that comes up to the upper teeth.

As a speaker's mouth is seen from the front: in open vowels the body lies behind the lower teeth and fades into
the dark at its back; at "l", "n", "t", "d" the blade stands behind the upper teeth, at "th" its tip is below them.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.interpolation import smoothstep
from musetalk_service.engines.face.landmarks import FloatArray
from musetalk_service.engines.face.teeth import Sprite

_HEIGHT: Final = 0.50
"""Of both sprites, in mouth widths: enough to reach the lower lip of the widest opening."""
_ABOVE: Final = 0.04
"""Of that, above the middle of the tongue's upper edge."""
# Half of a tongue's breadth in mouth widths, and how far its edge falls towards the sides.
_BODY: Final = (0.35, 0.15)
_BLADE: Final = (0.30, 0.08)
_WARMTH: Final = np.array([1.20, 1.15, 0.85])
"""Flesh in the shade loses blue and green first."""


class Tongue(NamedTuple):
    """Sprites whose origin is the middle of the upper edge."""

    body: Sprite
    blade: Sprite


def paint_tongue(mouth_width: float, colour: FloatArray, blur: float) -> Tongue:
    """Paint both sprites.

    Args:
        mouth_width: corner to corner in pixels.
        colour: (3,) BGR of a well lit tongue.
        blur: standard deviation in pixels of the portrait's blur.
    """
    return Tongue(_body(mouth_width, colour, blur), _blade(mouth_width, colour, blur))


def _body(width: float, colour: FloatArray, blur: float) -> Sprite:
    x, depth, across = _grid(width, *_BODY)
    light = 0.42 + 0.46 * smoothstep(0.0, 0.11, depth)  # its back is deep in the mouth
    light *= 1.0 - 0.40 * np.minimum(across, 1.0) ** 2
    light *= 1.0 - 0.16 * np.exp(-((x / 0.022) ** 2)) * smoothstep(0.03, 0.10, depth)  # the furrow
    wet = np.exp(-(((np.abs(x) - 0.10) / 0.045) ** 2) - ((depth - 0.115) / 0.022) ** 2)
    cover = smoothstep(-0.01, 0.035, depth) * (1.0 - smoothstep(0.75, 1.0, across))
    return _sprite(width, colour, blur, light, 0.10 * wet, cover)


def _blade(width: float, colour: FloatArray, blur: float) -> Sprite:
    x, depth, across = _grid(width, *_BLADE)
    light = 0.78 + 0.34 * smoothstep(0.0, 0.05, depth)  # the teeth's shade lies on its edge
    light *= 1.0 - 0.30 * smoothstep(0.08, 0.25, depth)
    light *= 1.0 - 0.30 * np.minimum(across, 1.0) ** 2
    light *= 1.0 - 0.10 * np.exp(-((x / 0.018) ** 2)) * smoothstep(0.04, 0.09, depth)
    wet = np.exp(-(((np.abs(x) - 0.06) / 0.05) ** 2) - ((depth - 0.055) / 0.014) ** 2)
    cover = smoothstep(-0.01, 0.02, depth) * (1.0 - smoothstep(0.80, 1.0, across))
    return _sprite(width, colour, blur, light, 0.12 * wet, cover)


def _grid(width: float, half: float, fall: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each pixel, in mouth widths: x from the middle, depth below the tongue's edge; and x in half breadths."""
    columns, rows = 2 * round(half * width) + 3, round(_HEIGHT * width)
    x = (np.arange(columns) - columns // 2)[None] / width
    y = np.arange(rows)[:, None] / width - _ABOVE
    across = np.abs(x) / half
    depth = y - fall * (1.0 - np.sqrt(np.maximum(1.0 - across**2, 0.0)))
    return x, depth, np.broadcast_to(across, depth.shape)


def _sprite(
    width: float, colour: FloatArray, blur: float, light: FloatArray, wet: FloatArray, cover: FloatArray
) -> Sprite:
    """Premultiplied picture of a tongue: its light 0..1, the white of its wetness 0..1, and where it is."""
    flesh: NDArray[np.float64] = colour * light[..., None] ** _WARMTH
    flesh += wet[..., None] * (colour.max() - flesh)
    image = np.dstack([flesh * cover[..., None], cover]).astype(np.float32)
    if blur > 0.1:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.float32)
    return Sprite(np.ascontiguousarray(image), (float(image.shape[1] // 2), _ABOVE * width))
