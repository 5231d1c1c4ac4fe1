"""Interpolation as fixed matrices: what a frame costs is one small product, the rest is prepared.

With the source points fixed, a thin-plate spline (Bookstein 1989) and a cubic spline are linear in
the values at those points, so each is one basis matrix, made once for a portrait.
"""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.landmarks import FloatArray, Picture

Flow = NDArray[np.float32]


def smoothstep(low: float, high: float, x: FloatArray | float) -> FloatArray:
    """0 below `low`, 1 above `high`, with zero slope at both."""
    t = np.clip((np.asarray(x, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def thin_plate_basis(points: FloatArray, nodes: FloatArray, smoothing: float = 1e-3, unit: float = 100.0) -> FloatArray:
    """Matrix that takes values at `points` to the smoothest surface's values at `nodes`.

    Args:
        points: (n, 2) distinct positions in pixels.
        nodes: (m, 2) positions in pixels.
        smoothing: weight of smoothness against passing through the values exactly.
        unit: pixels that count as one, which keeps the kernel's values and the affine part of one size.

    Returns:
        (m, n); each row sums to 1.
    """
    source, target = points / unit, nodes / unit
    n = len(source)

    def kernel(a: FloatArray, b: FloatArray) -> FloatArray:
        square = (a[:, :1] - b[:, 0]) ** 2 + (a[:, 1:] - b[:, 1]) ** 2
        return square * np.log(square + 1e-6)

    affine = np.hstack([np.ones((n, 1)), source])
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = kernel(source, source) + smoothing * np.eye(n)
    system[:n, n:] = affine
    system[n:, :n] = affine.T
    solved = np.linalg.inv(system)[:, :n]
    reach = np.hstack([kernel(target, source), np.ones((len(target), 1)), target])
    basis: FloatArray = reach @ solved
    return basis


def spline_basis(knots: int, samples: int) -> FloatArray:
    """Matrix of the natural cubic spline through equally spaced knots.

    Args:
        knots: number of values the spline passes through, at least 3.
        samples: number of equally spaced values to take, both ends included.

    Returns:
        (samples, knots).
    """
    inner = np.arange(1, knots - 1)
    system = np.eye(knots)
    right = np.zeros((knots, knots))
    system[inner, inner - 1] = system[inner, inner + 1] = 1.0
    system[inner, inner] = 4.0
    right[inner, inner - 1] = right[inner, inner + 1] = 6.0
    right[inner, inner] = -12.0
    second = np.linalg.solve(system, right)  # second derivatives at the knots, from the values
    at = np.linspace(0.0, knots - 1.0, samples)
    left = np.minimum(at.astype(np.int64), knots - 2)
    b = (at - left)[:, None]
    a = 1.0 - b
    values = np.eye(knots)
    straight = a * values[left] + b * values[left + 1]
    bend = (a**3 - a) * second[left] + (b**3 - b) * second[left + 1]
    return cast(FloatArray, straight + bend / 6.0)


def sample(planes: Flow, column: Flow, row: Flow, relative: bool = False) -> Flow:
    """Values between the pixels of planes, by themselves: OpenCV reads one channel in half the time of two.

    Args:
        planes: (count, r, c) float32.
        column: (h, w) where each value is read.
        row: as above, another array: of one array for both, OpenCV reads relative places wrongly at the rim.
        relative: counted from the place in the result instead of from the corner.

    Returns:
        (count, h, w) float32.
    """
    found = np.empty((len(planes), *column.shape), np.float32)
    flags = cv2.INTER_LINEAR | (cv2.WARP_RELATIVE_MAP if relative else 0)
    for plane, target in zip(planes, found, strict=True):
        cv2.remap(plane, column, row, flags, dst=target, borderMode=cv2.BORDER_REPLICATE)
    return found


def double_size(picture: Picture) -> Picture:
    """The picture at twice its size, pixel (2x, 2y) equal to pixel (x, y) of the original.

    Read linearly it gives what a cubic kernel gives from the original, at a third of the cost.
    """
    height, width = picture.shape[:2]
    twice = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    double = cv2.warpAffine(
        picture, twice, (2 * width, 2 * height), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE
    )
    return cast(Picture, double)


class Lattice:
    """A coarse grid over a rectangle of the picture whose values are enlarged to every pixel.

    The nodes sit where `cv2.resize` expects the samples of an image `step` times smaller, with one
    more ring around, so that enlarging is exact for linear functions up to the edges. The cell of
    node (row, col), rings left out, begins at pixel ((row - 1) * step, (col - 1) * step).
    """

    def __init__(self, left: int, top: int, width: int, height: int, step: int) -> None:
        self.left, self.top, self.width, self.height, self.step = left, top, width, height, step
        self.cols = -(-width // step) + 2
        self.rows = -(-height // step) + 2
        x = left + (np.arange(self.cols) - 0.5) * step - 0.5
        y = top + (np.arange(self.rows) - 0.5) * step - 0.5
        first = [[[0.5 + (0.5 - left) / step]], [[0.5 + (0.5 - top) / step]]]
        self._first = np.array(first, np.float32)
        self.x, self.y = np.meshgrid(x, y)
        """(rows, cols) node positions in pixels."""

    def nodes(self) -> FloatArray:
        """(rows * cols, 2) node positions in pixels, row by row."""
        return np.stack([self.x.ravel(), self.y.ravel()], axis=1)

    def index(self, positions: Flow) -> Flow:
        """Columns and rows, with fractions, of x and y of positions in pixels: (2, h, w) of (2, h, w)."""
        found: Flow = positions * np.float32(1.0 / self.step)
        found += self._first
        return found

    def enlarge_to(self, planes: Flow, left: int, top: int, right: int, bottom: int) -> Flow:
        """Values at the pixels of a rectangle of the picture, from those of all nodes.

        Args:
            planes: (count, rows, cols) float32.
            left: of the rectangle, whose right and bottom are just outside.
            top: as above.
            right: as above.
            bottom: as above.

        Returns:
            (count, bottom - top, right - left) float32.
        """
        step = self.step
        left, top, right, bottom = left - self.left, top - self.top, right - self.left, bottom - self.top
        row, col = top // step, left // step
        full = self.enlarge(planes[:, row : (bottom - 1) // step + 3, col : (right - 1) // step + 3])
        return full[:, top - row * step : bottom - row * step, left - col * step : right - col * step]

    def enlarge(self, planes: Flow) -> Flow:
        """Values at every pixel of the cells of some nodes, the outermost ring of nodes left out.

        Args:
            planes: (count, r, c) float32, a block of the lattice or all of it.

        Returns:
            (count, (r - 2) * step, (c - 2) * step) float32.
        """
        count, rows, cols = planes.shape
        step = self.step
        # Stacked on top of each other: what leaks across a joint ends in the ring that is cut off.
        tall = cv2.resize(
            planes.reshape(count * rows, cols),
            (cols * step, count * rows * step),
            interpolation=cv2.INTER_LINEAR,
        ).reshape(count, rows * step, cols * step)
        return cast(Flow, tall[:, step:-step, step:-step])
