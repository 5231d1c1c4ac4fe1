"""Splines, masks and blurs shared by every part of the drawing.

Coordinates are pixels of the 512 x 512 picture, x right and y down, and a whole number is the *centre* of a
pixel (the convention of ``cv2.remap``), so that a contour drawn at y lands on landmark y. Larger pictures and
those that show more are drawn in the same coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Field: TypeAlias = npt.NDArray[np.float32]

SIZE = 512
CENTRE_X = 256.0
_MOST_REDUCED = 3


def spline(points: npt.ArrayLike, count: int, closed: bool = False) -> Array:
    """Sample a Catmull-Rom curve through ``points`` (n, 2) at ``count`` places of equal arc length."""
    knots = np.asarray(points, dtype=np.float64)
    if closed:
        ring = np.vstack([knots[-1:], knots, knots[:2]])
    else:
        ring = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    t = np.linspace(0, 1, 24, endpoint=False)[:, None]
    pieces = []
    for before, start, end, after in zip(ring[:-3], ring[1:-2], ring[2:-1], ring[3:], strict=True):
        slope_in, slope_out = (end - before) / 2, (after - start) / 2
        pieces.append(
            (2 * t**3 - 3 * t**2 + 1) * start
            + (t**3 - 2 * t**2 + t) * slope_in
            + (-2 * t**3 + 3 * t**2) * end
            + (t**3 - t**2) * slope_out
        )
    dense = np.vstack([*pieces, ring[-2:-1]])
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))]
    at = np.linspace(0, length[-1], count, endpoint=not closed)
    return np.stack([np.interp(at, length, dense[:, k]) for k in range(2)], axis=1)


def at_x(curve: Array, x: npt.ArrayLike) -> Array:
    """Return the points (n, 2) of a curve that is a function of x, at the abscissae ``x``."""
    order = np.argsort(curve[:, 0])
    xs = np.asarray(x, dtype=np.float64)
    return np.stack([xs, np.interp(xs, curve[order, 0], curve[order, 1])], axis=1)


def mirror(points: npt.ArrayLike) -> Array:
    """Reflect points (n, 2) in the vertical line through the middle of the picture, keeping their order."""
    flipped = np.array(points, dtype=np.float64)
    flipped[:, 0] = 2 * CENTRE_X - flipped[:, 0]
    return flipped


def beside(side: int, *points: tuple[float, float]) -> Array:
    """Place (distance from the middle line, y) points on the viewer's left (-1) or right (1) side."""
    return np.array([(CENTRE_X + side * distance, y) for distance, y in points])


@dataclass(frozen=True)
class Grid:
    """The supersampled raster: ``scale`` samples per unit of the drawing, over a part of its plane."""

    scale: int
    left: int = 0
    top: int = 0
    width: int = SIZE
    height: int = SIZE

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a field."""
        return self.height * self.scale, self.width * self.scale

    @property
    def is_long(self) -> bool:
        """Whether more of the body is seen than the square picture shows."""
        return self.top + self.height > SIZE

    @property
    def is_finer(self) -> bool:
        """Whether its picture has more pixels a unit than the square of 512."""
        return self.scale > 4 or self.is_long

    def ones(self) -> Field:
        """A field of ones."""
        return np.ones(self.shape, np.float32)

    def axes(self) -> tuple[Field, Field]:
        """Return x (1, columns) and y (rows, 1) in picture coordinates."""
        rows, columns = ((np.arange(count) + 0.5) / self.scale - 0.5 for count in self.shape)
        return (columns + self.left).astype(np.float32)[None, :], (rows + self.top).astype(np.float32)[:, None]

    def spread(self, field: Field) -> Field:
        """Enlarge noise that covers the square picture to the raster."""
        size = (self.shape[1], self.shape[0])
        if not self.is_long:
            return np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_CUBIC), np.float32)
        # As fine as on the square picture: repeated, mirrored at its edges.
        rows, columns = field.shape
        need = round(rows * self.height / SIZE), round(columns * self.width / SIZE)
        tiled = cv2.copyMakeBorder(
            field, 0, max(0, need[0] - rows), 0, max(0, need[1] - columns), cv2.BORDER_REFLECT_101
        )
        return np.asarray(cv2.resize(tiled[: need[0], : need[1]], size, interpolation=cv2.INTER_CUBIC), np.float32)

    def mask(self, polygon: npt.ArrayLike) -> Field:
        """Rasterise a closed polygon (n, 2) with soft edges to values in 0..1."""
        canvas: npt.NDArray[np.uint8] = np.zeros(self.shape, np.uint8)
        raster = (np.asarray(polygon, dtype=np.float64) - (self.left, self.top) + 0.5) * self.scale - 0.5
        cv2.fillPoly(canvas, [np.round(raster * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return np.asarray(canvas / np.float32(255), np.float32)

    def blur(self, field: Field, sigma: float) -> Field:
        """Gaussian blur with ``sigma`` in picture pixels; wide ones run on a reduced raster."""
        wide = sigma * self.scale
        # Much reduced ones show as a faint grid in the light once pictures are finer than the first square.
        reduce = max(1, min(int(wide / 6), _MOST_REDUCED if self.is_finer else 1 << 10))
        if reduce == 1:
            return np.asarray(cv2.GaussianBlur(field, (0, 0), wide), np.float32)
        rows, columns = self.shape
        small = cv2.resize(field, (columns // reduce, rows // reduce), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), wide * small.shape[0] / rows)
        return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)

    def blob(self, x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> Field:
        """Return a Gaussian spot of height 1 with radii (sigma) ``rx``, ``ry``, turned by ``angle`` degrees."""
        gx, gy = self.axes()
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        u, v = (gx - x) * cos + (gy - y) * sin, (gy - y) * cos - (gx - x) * sin
        return np.asarray(np.exp(-0.5 * ((u / rx) ** 2 + (v / ry) ** 2)), np.float32)

    def soft(self, polygon: npt.ArrayLike, sigma: float) -> Field:
        """Return the mask of ``polygon`` blurred by ``sigma`` pixels."""
        return self.blur(self.mask(polygon), sigma)

    def line(self, points: npt.ArrayLike, width: float, sigma: float) -> Field:
        """Return a soft stroke of ``width`` pixels along a spline, tapering to its ends, peak about 1."""
        curve = spline(points, 60)
        tangent = np.gradient(curve, axis=0)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        half = width / 2 * np.sin(np.linspace(0.02, np.pi - 0.02, 60))[:, None] ** 0.6
        return self.soft(np.vstack([curve + normal * half, (curve - normal * half)[::-1]]), sigma)


def smoothstep(low: float, high: float, value: Field) -> Field:
    """Hermite ramp from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
