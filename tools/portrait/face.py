"""The contours of the face: the one source of both the drawing and its landmarks.

"Left" and "right" are the viewer's. Half contours are given as (distance from the middle line, y).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from paths import CENTRE_X, Array, mirror, spline

HALF_OVAL = (
    (0, 130), (30, 131.5), (56, 140), (77, 158), (90, 185), (95.5, 215), (96.5, 245), (94.5, 275), (89.5, 303),
    (81.5, 329), (68.5, 353), (51, 372.5), (31, 385.5), (14, 390.6), (0, 391.6),
)  # fmt: skip
# Inner to outer corner.
UPPER_LID = ((20.6, 241.4), (23.6, 237.2), (29.5, 232.4), (37.5, 229.8), (46.0, 230.2), (53.4, 233.4), (59.8, 238.6))
LOWER_LID = ((20.6, 241.4), (26.0, 243.4), (33.0, 245.4), (41.0, 246.3), (48.6, 245.3), (55.0, 242.4), (59.8, 238.6))
LID_CREASE = ((23.0, 233.4), (29.2, 227.9), (37.6, 225.0), (46.2, 225.2), (54.4, 228.6), (61.4, 234.4))
BROW_TOP = ((16.6, 213.0), (27.0, 208.2), (40.0, 204.4), (52.0, 204.0), (63.0, 208.4), (71.6, 215.2))
BROW_LOW = ((17.4, 221.0), (28.0, 216.4), (40.0, 212.2), (51.0, 210.0), (62.0, 211.4), (71.6, 215.2))
IRIS_CENTRE, IRIS_RADIUS = (40.2, 237.6), 7.9
# Corner (left) to corner (right); the seam is where the closed lips meet.
HALF_SEAM = ((0, 331.9), (5, 331.5), (11, 330.5), (19, 331.0), (27, 330.8), (33, 329.7), (38, 328.2))
HALF_UPPER_LIP = ((0, 323.7), (3.2, 322.8), (7.4, 321.2), (13, 322.1), (20, 324.0), (28, 326.0), (34, 327.3), (38, 328.2))
HALF_LOWER_LIP = ((0, 344.9), (9, 344.5), (17, 342.5), (25, 338.4), (32, 333.0), (36, 329.6), (38, 328.2))
NOSE_BRIDGE_Y, NOSE_TIP_Y, NOSE_BASE_Y = 234.0, 287.0, 303.0
NOSE_HALF_WIDTH = 18.6


def half(points: npt.ArrayLike, right: bool, count: int = 120) -> Array:
    """Return the spline through a half contour, placed on the viewer's right or left side."""
    curve = spline(points, count)
    curve[:, 0] += CENTRE_X
    return curve if right else mirror(curve)


def whole(points: npt.ArrayLike, count: int = 121) -> Array:
    """Return the left-to-right spline of a contour given by its right half, starting on the middle line."""
    knots = np.asarray(points, dtype=np.float64)
    both = np.vstack([(knots * (-1, 1))[:0:-1], knots]) + (CENTRE_X, 0)
    return spline(both, count)


@dataclass(frozen=True)
class Eye:
    """One eye; every curve (120, 2) runs from the inner to the outer corner."""

    upper: Array
    lower: Array
    crease: Array
    brow_top: Array
    brow_low: Array
    iris: tuple[float, float]
    radius: float
    right: bool

    @property
    def outline(self) -> Array:
        """The closed contour of the opening."""
        return np.vstack([self.upper, self.lower[::-1][1:-1]])


@dataclass(frozen=True)
class Face:
    """All contours of the head in picture coordinates."""

    oval: Array
    eyes: tuple[Eye, Eye]
    seam: Array
    upper_lip: Array
    lower_lip: Array

    @property
    def lips(self) -> Array:
        """The closed outline of both lips."""
        return np.vstack([self.upper_lip, self.lower_lip[::-1][1:-1]])


def _skew(curve: Array, dx: float, dy: float, lift: float = 0.0) -> Array:
    """Shift a curve, and raise its outer end by ``lift``: no living face is its own mirror image."""
    share = np.abs(curve[:, 0] - curve[0, 0]) / max(float(np.ptp(curve[:, 0])), 1e-9)
    return curve + np.stack([np.full(len(curve), dx), dy - lift * share], axis=1)


def _eye(right: bool) -> Eye:
    dx, dy, lift = (0.3, -0.2, 0.2) if right else (0.1, 0.1, 0.0)
    brow_dx, brow_dy, brow_lift = (0.8, -0.9, 0.5) if right else (0.0, 0.3, -0.2)
    sign = 1 if right else -1
    return Eye(
        upper=_skew(half(UPPER_LID, right), dx, dy, lift),
        lower=_skew(half(LOWER_LID, right), dx, dy, lift),
        crease=_skew(half(LID_CREASE, right), dx, dy, lift),
        brow_top=_skew(half(BROW_TOP, right), brow_dx, brow_dy, brow_lift),
        brow_low=_skew(half(BROW_LOW, right), brow_dx, brow_dy, brow_lift),
        iris=(CENTRE_X + sign * IRIS_CENTRE[0] + 0.4, IRIS_CENTRE[1] + dy),
        radius=IRIS_RADIUS,
        right=right,
    )


def build_face() -> Face:
    """Lay out the face; the left mouth corner sits 0.5 px higher than the right one."""
    oval_right = half(HALF_OVAL, True, 200)
    tilt = lambda curve: curve + np.stack(  # noqa: E731
        [np.zeros(len(curve)), (curve[:, 0] - CENTRE_X) / 38 * 0.25], axis=1
    )
    return Face(
        oval=np.vstack([oval_right, mirror(oval_right)[::-1][1:-1]]),
        eyes=(_eye(False), _eye(True)),
        seam=tilt(whole(HALF_SEAM)),
        upper_lip=tilt(whole(HALF_UPPER_LIP)),
        lower_lip=tilt(whole(HALF_LOWER_LIP)),
    )
