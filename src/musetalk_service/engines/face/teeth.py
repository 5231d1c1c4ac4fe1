"""Rows of teeth as sprites: painted ones for a closed portrait, the photographed ones for a grin."""

import math
from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.landmarks import LOWER_INNER, UPPER_INNER, Face, FloatArray, Picture

Canvas = NDArray[np.float32]

_OVERSAMPLING: Final = 4
# From the middle outwards, in fiftieths of the mouth's width. Narrower than anatomy: the picture is
# flat, and incisors of true width look like a rabbit's.
_UPPER_WIDTHS: Final = (6.5, 5.1, 5.2, 4.4, 3.8, 3.2)
_UPPER_LENGTHS: Final = (1.0, 0.95, 0.98, 0.93, 0.90, 0.86)
_LOWER_WIDTHS: Final = (3.7, 3.95, 4.25, 3.85, 3.1, 2.4)
_LOWER_LENGTHS: Final = (0.92, 0.95, 0.97, 0.9, 0.82, 0.75)


@dataclass(frozen=True)
class Sprite:
    """A small picture that can be laid over a canvas at a fraction of a pixel."""

    image: Canvas
    """(h, w, 4) float32, BGR premultiplied by the alpha in 0..1."""
    origin: tuple[float, float]
    """The point of the sprite that is placed, in its own pixels."""

    def draw(self, canvas: Canvas, x: float, y: float, angle: float, opacity: float = 1.0) -> None:
        """Lay the sprite over a canvas, its origin at (x, y) in canvas pixels.

        Args:
            canvas: (h, w, 3) float32 BGR in 0..255, changed in place.
            x: pixels, may be fractional.
            y: pixels, may be fractional.
            angle: radians, clockwise.
            opacity: 0..1.
        """
        cos, sin = math.cos(angle), math.sin(angle)
        from_x, from_y = self.origin
        matrix = np.array([[cos, -sin, x - cos * from_x + sin * from_y], [sin, cos, y - sin * from_x - cos * from_y]])
        placed = cv2.warpAffine(self.image, matrix, (canvas.shape[1], canvas.shape[0]))
        if opacity < 1.0:
            placed = placed * np.float32(opacity)
        np.multiply(canvas, 1.0 - placed[..., 3:], out=canvas)
        np.add(canvas, placed[..., :3], out=canvas)


def paint_row(mouth_width: float, tone: FloatArray, upper: bool) -> Sprite:
    """Paint a row of teeth.

    Args:
        mouth_width: corner to corner in pixels.
        tone: (3,) BGR of a fully lit tooth.
        upper: the upper row hangs down, the lower one stands up.

    Returns:
        A sprite whose origin is the middle of the front teeth's edges.
    """
    scale = _OVERSAMPLING
    width, height = int(1.1 * mouth_width * scale), int(0.30 * mouth_width * scale)
    unit = mouth_width * scale / 50.0
    widths, lengths = (_UPPER_WIDTHS, _UPPER_LENGTHS) if upper else (_LOWER_WIDTHS, _LOWER_LENGTHS)
    tallest = (7.6 if upper else 6.6) * unit
    rounding = 0.38 if upper else 0.30
    alpha = np.zeros((height, width), np.float32)
    shade = np.full((height, width), 0.3, np.float32)
    columns = np.arange(width)
    for side in (-1, 1):
        inner = 0.0
        for tooth, length in zip(widths, lengths, strict=True):
            a, b = sorted((width / 2 + side * inner * unit, width / 2 + side * (inner + tooth) * unit))
            half = (b - a) / 2
            middle = inner + tooth / 2
            arch = middle**2 * 0.0022 * unit  # the row bends away from the viewer
            edge = tallest * length + 0.25 * height - arch
            mask = np.zeros((height, width), np.uint8)
            cv2.fillPoly(mask, [_rounded(a, b, edge, half * rounding)], 255, cv2.LINE_AA, 4)
            alpha = np.maximum(alpha, mask / np.float32(255.0))
            across = 1.0 - 0.17 * np.clip(np.abs(columns - (a + b) / 2) / half, 0.0, 1.0) ** 3
            depth = 0.30 + 0.70 * np.exp(-0.75 * (middle / 16.0) ** 2)  # darker towards the corners
            inside = (columns >= a) & (columns < b)
            shade[:, inside] = (across * depth)[inside]
            inner += tooth
    down = np.arange(height)[:, None] / height
    shade *= (0.82 + 0.18 * np.clip(down / 0.4, 0.0, 1.0)).astype(np.float32)
    shade = cv2.GaussianBlur(shade, (0, 0), 0.18 * scale).astype(np.float32)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.15 * scale).astype(np.float32)
    rgb = shade[..., None] * tone.astype(np.float32) * alpha[..., None]
    image = np.dstack([rgb, alpha])
    edge = tallest * lengths[0] + 0.25 * height
    if not upper:
        image, edge = image[::-1], height - edge
    small = cv2.resize(image, (width // scale, height // scale), interpolation=cv2.INTER_AREA)
    return Sprite(
        image=np.ascontiguousarray(small, dtype=np.float32),
        origin=(width / 2 / scale - 0.5, edge / scale - 0.5),
    )


def _rounded(a: float, b: float, edge: float, radius: float) -> NDArray[np.int32]:
    """Outline of a tooth from above the sprite down to `edge`, its two corners rounded."""
    quarter = np.linspace(0.0, np.pi / 2, 6)
    right = np.stack([b - radius + radius * np.cos(quarter), edge - radius + radius * np.sin(quarter)], 1)
    left = np.stack([a + radius - radius * np.sin(quarter), edge - radius + radius * np.cos(quarter)], 1)
    outline = np.vstack([[(a, -50.0), (b, -50.0)], right, left])
    return np.round(outline * 16).astype(np.int32)


def photographed_row(portrait: Picture, face: Face, centre: tuple[float, float]) -> Sprite | None:
    """Upper teeth of a portrait that shows them, extended upwards behind the lip.

    Args:
        portrait: (512, 512, 3) BGR with parted lips.
        face: its landmarks.
        centre: middle of the shut lips, the sprite's origin.

    Returns:
        The sprite, or None when no bright teeth are seen.
    """
    points = face.points
    upper, lower = points[list(UPPER_INNER)], points[list(LOWER_INNER)]
    x = np.arange(512)
    top = np.interp(x, upper[:, 0], upper[:, 1]) + 1.2
    bottom = np.interp(x, lower[:, 0], lower[:, 1]) - 1.2
    first, last = np.ceil(top).astype(np.int64), np.floor(bottom).astype(np.int64)
    seen = (x > points[78, 0] + 1) & (x < points[308, 0] - 1) & (last > first)
    rows = np.arange(512)[:, None]
    between = seen & (rows >= first) & (rows <= last)
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    skin = float(np.median(grey[_disc(points[[205, 425]])]))
    if between.sum() < 30 or float(np.median(grey[between])) < 0.6 * skin:
        return None
    rise = int(0.12 * face.mouth_width)
    behind = seen & (rows >= first - rise) & (rows <= last)
    source_row = np.clip(rows, first + 1, np.maximum(last, first + 1))
    layer = portrait[np.clip(source_row, 0, 511), x[None]].astype(np.float32)
    fade = np.clip(1.0 - 0.15 * (first - rows) / max(rise, 1), 0.85, 1.0)
    layer *= fade[..., None].astype(np.float32)
    alpha = cv2.morphologyEx(behind.astype(np.float32), cv2.MORPH_CLOSE, np.ones((3, 3)))
    spread = cv2.GaussianBlur(layer * behind[..., None].astype(np.float32), (0, 0), 3.0)
    weight = cv2.GaussianBlur(behind.astype(np.float32), (0, 0), 3.0)[..., None] + 1e-3
    layer = np.where(behind[..., None], layer, spread / weight)
    soft = cv2.GaussianBlur(alpha, (0, 0), 0.8)[..., None]
    ys, xs = np.nonzero(soft[..., 0] > 0.004)
    y0, y1, x0, x1 = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    image = np.dstack([layer * soft, soft])[y0:y1, x0:x1]
    return Sprite(np.ascontiguousarray(image, dtype=np.float32), (centre[0] - x0, centre[1] - y0))


def _disc(centres: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of small squares around points."""
    offset = np.arange(-5, 6)
    dy, dx = (cast(NDArray[np.int64], o.ravel()) for o in np.meshgrid(offset, offset))
    at = np.round(centres).astype(np.int64)
    ys = np.clip(at[:, 1:] + dy, 0, 511).ravel()
    xs = np.clip(at[:, :1] + dx, 0, 511).ravel()
    return ys, xs
