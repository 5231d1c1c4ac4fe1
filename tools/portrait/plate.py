"""Thin-plate spline interpolation (Bookstein 1989) of scattered values in the plane."""

from __future__ import annotations

import numpy as np
from paths import Array


def _kernel(a: Array, b: Array) -> Array:
    squared = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1)
    return np.asarray(squared * np.log(squared + 1e-12))


class ThinPlate:
    """Map points (n, 2) to values (n, k); ``smoothing`` = 0 interpolates exactly."""

    def __init__(self, points: Array, values: Array, smoothing: float = 0.0) -> None:
        self._centre, self._unit = points.mean(axis=0), float(np.ptp(points))
        self._points = (points - self._centre) / self._unit
        count = len(points)
        affine = np.hstack([np.ones((count, 1)), self._points])
        system = np.zeros((count + 3, count + 3))
        system[:count, :count] = _kernel(self._points, self._points) + smoothing * np.eye(count)
        system[:count, count:], system[count:, :count] = affine, affine.T
        self._weights = np.linalg.solve(system, np.vstack([values, np.zeros((3, values.shape[1]))]))

    def __call__(self, at: Array) -> Array:
        """Evaluate at points (m, 2); returns (m, k)."""
        at = (at - self._centre) / self._unit
        basis = np.hstack([_kernel(at, self._points), np.ones((len(at), 1)), at])
        return np.asarray(basis @ self._weights)
