"""The contours of the face: the one source of both the drawing and its landmarks.

"Left" and "right" are the viewer's. Half contours are given as (distance from the middle line, y).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from paths import CENTRE_X, Array, mirror, spline

# The contour of the face as landmarks know it, and of the skin, which goes on under the hair.
_CROWN = ((0, 145), (29, 147), (54, 154.5), (73, 169), (86, 191), (91.6, 216))
_SCALP = ((0, 128), (30, 129.5), (56, 138), (76, 157), (87.5, 185), (91.6, 216))
_JAW = (
    (92.6, 245), (90.4, 275), (85, 303), (76, 329), (62.5, 352), (45.5, 371.5), (28, 385), (13, 390.8), (0, 392),
)  # fmt: skip
# Inner to outer corner.
UPPER_LID = ((19.8, 241.4), (22.8, 237.6), (28.8, 232.8), (36.8, 229.9), (45.6, 229.8), (53.8, 232.8), (60.8, 238.0))
LOWER_LID = ((19.8, 241.4), (25.6, 243.2), (32.8, 245.0), (41.0, 245.7), (49.0, 244.6), (55.8, 241.7), (60.8, 238.0))
LID_CREASE = ((22.6, 232.6), (28.8, 227.0), (37.2, 224.0), (46.4, 224.0), (55.0, 227.4), (62.4, 233.6))
BROW_TOP = ((17.6, 210.6), (28.0, 207.0), (40.0, 203.6), (52.0, 202.6), (63.0, 206.2), (72.6, 213.6))
BROW_LOW = ((18.4, 217.4), (29.0, 214.4), (41.0, 211.2), (52.0, 209.4), (62.6, 210.6), (72.6, 213.8))
IRIS_CENTRE, IRIS_RADIUS = (40.2, 237.4), 8.3
# Corner (left) to corner (right); the seam is where the closed lips meet.
HALF_SEAM = ((0, 332.3), (5, 331.9), (10.5, 331.2), (18, 331.0), (26, 329.9), (32, 328.0), (36.5, 325.8))
HALF_UPPER_LIP = (
    (0, 323.1), (3.2, 322.2), (7.2, 320.6), (12.5, 321.2), (19, 322.7), (27, 324.2), (33, 325.3), (36.5, 325.8),
)  # fmt: skip
HALF_LOWER_LIP = ((0, 346.6), (9, 346.0), (17, 343.5), (24.5, 338.6), (31, 332.2), (34.8, 327.6), (36.5, 325.8))
NOSE_TIP_Y, NOSE_BASE_Y = 287.0, 303.0
NOSE_HALF_WIDTH = 17.6


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
    skin: Array
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
    return np.asarray(curve + np.stack([np.full(len(curve), dx), dy - lift * share], axis=1))


def _tilt(curve: Array) -> Array:
    rise = (curve[:, 0] - CENTRE_X) / 36.5 * 0.25
    return np.asarray(curve + np.stack([np.zeros(len(curve)), rise], axis=1))


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
    oval, skin = (half((*top, *_JAW), True, 200) for top in (_CROWN, _SCALP))
    return Face(
        oval=np.vstack([oval, mirror(oval)[::-1][1:-1]]),
        skin=np.vstack([skin, mirror(skin)[::-1][1:-1]]),
        eyes=(_eye(False), _eye(True)),
        seam=_tilt(whole(HALF_SEAM)),
        upper_lip=_tilt(whole(HALF_UPPER_LIP)),
        lower_lip=_tilt(whole(HALF_LOWER_LIP)),
    )
