"""Rows of teeth as sprites: painted ones for a closed portrait, the photographed ones for a grin."""

import math
from dataclasses import dataclass
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.interpolation import smoothstep
from musetalk_service.engines.face.landmarks import LOWER_INNER, UPPER_INNER, Face, FloatArray, Picture
from musetalk_service.engines.face.photo_look import median_colour

Canvas = NDArray[np.float32]

_OVERSAMPLING: Final = 4
_LUMA: Final = np.array([0.114, 0.587, 0.299], np.float32)
# From the middle outwards, in fiftieths of the mouth's width. Narrower than anatomy: the picture is
# flat, and incisors of true width look like a rabbit's.
_UPPER_WIDTHS: Final = (6.5, 5.1, 5.2, 4.4, 3.8, 3.2)
_UPPER_LENGTHS: Final = (1.0, 0.95, 0.98, 0.93, 0.90, 0.86)
_LOWER_WIDTHS: Final = (3.7, 3.95, 4.25, 3.85, 3.1, 2.4)
_LOWER_LENGTHS: Final = (0.92, 0.95, 0.97, 0.9, 0.82, 0.75)


def thrice(plane: NDArray[Any]) -> Canvas:
    """(h, w, 3) a plane for each colour: numpy takes several times as long for three numbers at a time."""
    return cast(Canvas, cv2.merge((plane, plane, plane)))


def coloured(plane: NDArray[Any], colour: NDArray[np.float32]) -> Canvas:
    """(h, w, 3) a plane times a colour of three."""
    return cast(Canvas, cv2.merge([plane * value for value in colour]))


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
        placed = self._place(self.image, canvas, x, y, angle)
        if opacity < 1.0:
            placed = placed * np.float32(opacity)
        canvas *= 1.0 - thrice(cv2.extractChannel(placed, 3))
        canvas += cv2.cvtColor(placed, cv2.COLOR_BGRA2BGR)

    def shade(self, canvas: Canvas, x: float, y: float, angle: float, strength: float) -> None:
        """Darken a canvas where the sprite would lie, by a share of 0..1: its shadow."""
        cover = self._place(self.image[..., 3], canvas, x, y, angle)
        canvas *= 1.0 - np.float32(strength) * thrice(cover)

    def _place(self, image: Canvas, canvas: Canvas, x: float, y: float, angle: float) -> Canvas:
        cos, sin = math.cos(angle), math.sin(angle)
        from_x, from_y = self.origin
        matrix = np.array([[cos, -sin, x - cos * from_x + sin * from_y], [sin, cos, y - sin * from_x - cos * from_y]])
        return cast(Canvas, cv2.warpAffine(image, matrix, (canvas.shape[1], canvas.shape[0])))


@dataclass(frozen=True)
class OwnTeeth:
    """The upper teeth of a portrait that shows them."""

    sprite: Sprite
    """Its origin is the middle of their lower edge."""
    edge: float
    """How far below the middle of the shut lips that edge was photographed, in pixels."""
    tone: FloatArray
    """(3,) BGR of a well lit tooth."""


def paint_row(mouth_width: float, tone: FloatArray, blur: float, upper: bool) -> Sprite:
    """Paint a row of teeth.

    Args:
        mouth_width: corner to corner in pixels.
        tone: (3,) BGR of a fully lit tooth.
        blur: standard deviation in pixels of the portrait's blur.
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
    # Light that got far into the mouth is reddish.
    warm = shade[..., None] ** np.array([1.2, 1.08, 0.9], np.float32)
    rgb = warm * tone.astype(np.float32) * alpha[..., None]
    image = np.dstack([rgb, alpha])
    edge = tallest * lengths[0] + 0.25 * height
    if not upper:
        image, edge = image[::-1], height - edge
    small = cv2.resize(image, (width // scale, height // scale), interpolation=cv2.INTER_AREA)
    if blur > 0.1:
        small = cv2.GaussianBlur(small, (0, 0), blur)
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


def photographed_row(portrait: Picture, face: Face, centre: tuple[float, float]) -> OwnTeeth | None:
    """Upper teeth of a portrait that shows them, extended upwards behind the lip.

    Args:
        portrait: (height, width, 3) BGR with parted lips.
        face: its landmarks.
        centre: middle of the shut lips.

    Returns:
        The teeth, or None when no bright teeth are seen.
    """
    points, width = face.points, face.mouth_width
    upper, lower = points[list(UPPER_INNER)], points[list(LOWER_INNER)]
    inset = 0.012 * width
    x = np.arange(portrait.shape[1])
    top = np.interp(x, upper[:, 0], upper[:, 1]) + inset
    bottom = np.interp(x, lower[:, 0], lower[:, 1]) - inset
    first, last = np.ceil(top).astype(np.int64), np.floor(bottom).astype(np.int64)
    seen = (x > points[78, 0] + 1) & (x < points[308, 0] - 1) & (last > first)
    rows = np.arange(portrait.shape[0])[:, None]
    between = seen & (rows >= first) & (rows <= last)
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    skin = float(median_colour(portrait, points[[205, 425]], max(2, round(0.06 * width))) @ _LUMA)
    if between.sum() < 0.004 * width**2 or float(np.median(grey[between])) < 0.6 * skin:
        return None
    rise = int(0.18 * width)
    behind = seen & (rows >= first - rise) & (rows <= last)
    source_row = np.clip(rows, first + 1, np.maximum(last, first + 1))
    layer = portrait[np.clip(source_row, 0, len(portrait) - 1), x[None]].astype(np.float32)
    fade = np.clip(1.0 - 0.15 * (first - rows) / max(rise, 1), 0.85, 1.0)
    layer *= fade[..., None].astype(np.float32)
    alpha = cv2.morphologyEx(behind.astype(np.float32), cv2.MORPH_CLOSE, np.ones((3, 3)))
    spread = cv2.GaussianBlur(layer * behind[..., None].astype(np.float32), (0, 0), 3.0)
    weight = cv2.GaussianBlur(behind.astype(np.float32), (0, 0), 3.0)[..., None] + 1e-3
    layer = np.where(behind[..., None], layer, spread / weight)
    lit = portrait[between & (grey >= np.quantile(grey[between], 0.7))]
    tone = np.median(lit, axis=0).astype(np.float64)
    # The dark beside the teeth is not of the row: it would be carried along as specks.
    luma = (layer @ _LUMA).astype(np.float64) / max(float(tone @ _LUMA), 1.0)
    alpha = alpha * cv2.GaussianBlur(smoothstep(0.30, 0.55, luma).astype(np.float32), (0, 0), 0.8)
    soft = cv2.GaussianBlur(alpha, (0, 0), 0.8)[..., None]
    ys, xs = np.nonzero(soft[..., 0] > 0.004)
    y0, y1, x0, x1 = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    image = np.dstack([layer * soft, soft])[y0:y1, x0:x1]
    edge = float(lower[len(lower) // 2, 1]) - inset
    sprite = Sprite(np.ascontiguousarray(image, dtype=np.float32), (centre[0] - x0, edge - y0))
    return OwnTeeth(sprite, edge - centre[1], tone)
