"""The 478 face-mesh points of the drawing, taken from its own contours.

Points that lie on a drawn contour are put exactly there; the others follow from a canonical layout
(``template.json``, symmetric, in units of the face height) by a thin-plate warp through the exact ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from face import NOSE_BASE_Y, NOSE_HALF_WIDTH, NOSE_TIP_Y, Eye, Face
from paths import CENTRE_X, SIZE, Array, at_x
from plate import ThinPlate

CONVENTION = "mediapipe-face-mesh-478"
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
# Per side (viewer's left, right): the lids from the outer to the inner corner.
UPPER_LID = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
LOWER_LID = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))
BROW_TOP = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
BROW_LOW = ((46, 53, 52, 65, 55), (276, 283, 282, 295, 285))
# Centre, then right, top, left and bottom of the iris as seen.
IRIS = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))
_LIP_SHARE = np.array((0.0, 0.17, 0.36, 0.56, 0.79, 1.0))  # of the half mouth width, from the corner inwards
_BROW_SHARE = (0.04, 0.17, 0.37, 0.66, 0.97)  # from the tail inwards
_SEAM_INSET = 1.6


def _lip_points(face: Face) -> dict[int, Array]:
    left, right = float(face.seam[0, 0]), float(face.seam[-1, 0])
    share = np.r_[_LIP_SHARE, 2 - _LIP_SHARE[-2::-1]] / 2
    outer = left + (right - left) * share
    inner = left + _SEAM_INSET + (right - left - 2 * _SEAM_INSET) * share
    found: dict[int, Array] = {}
    for ids, curve, xs in (
        (OUTER_UPPER, face.upper_lip, outer),
        (OUTER_LOWER, face.lower_lip, outer),
        (INNER_UPPER, face.seam, inner),
        (INNER_LOWER, face.seam, inner),
    ):
        found.update(zip(ids, at_x(curve, xs), strict=True))
    return found


def _eye_points(eye: Eye, side: int) -> dict[int, Array]:
    found: dict[int, Array] = {}
    for ids, curve in ((UPPER_LID[side], eye.upper), (LOWER_LID[side], eye.lower)):
        found.update(zip(ids, curve[::-1][np.linspace(0, len(curve) - 1, 9).round().astype(int)], strict=True))
    for brow_ids, curve in ((BROW_TOP[side], eye.brow_top), (BROW_LOW[side], eye.brow_low)):
        places = np.array(_BROW_SHARE) * (len(curve) - 1)
        found.update(zip(brow_ids, curve[::-1][places.round().astype(int)], strict=True))
    x, y = eye.iris
    r = eye.radius
    ring = ((x, y), (x + r, y), (x, y - r), (x - r, y), (x, y + r))
    found.update(zip(IRIS[side], np.array(ring), strict=True))
    return found


def _nose_points() -> dict[int, Array]:
    """The ridge, the tip, the base and the wings, on the middle line or symmetric about it."""
    ridge = {168: 232.0, 6: 244.5, 197: 256.5, 195: 267.0, 5: 277.0}
    ridge |= {4: NOSE_TIP_Y + 1, 1: NOSE_TIP_Y + 8, 2: NOSE_BASE_Y + 1}
    found = {index: np.array((CENTRE_X, y)) for index, y in ridge.items()}
    wings = {
        (48, 278): (NOSE_HALF_WIDTH + 1.6, 294.0),
        (64, 294): (NOSE_HALF_WIDTH + 1.4, 297.5),
        (98, 327): (NOSE_HALF_WIDTH - 1.6, 302.0),
    }
    for (left, right), (dx, y) in wings.items():
        found[left], found[right] = np.array((CENTRE_X - dx, y)), np.array((CENTRE_X + dx, y))
    return found


def _oval_points(face: Face, template: Array) -> dict[int, Array]:
    """Each oval point goes to the arc-length share that it has in the template."""
    found: dict[int, Array] = {}
    middle = len(OVAL) // 2
    curve = face.oval[: len(face.oval) // 2 + 1]
    chain = template[list(OVAL[: middle + 1])]
    share = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(chain, axis=0), axis=1))]
    places = np.interp(share / share[-1], np.linspace(0, 1, len(curve)), np.arange(len(curve)))
    for k, place in enumerate(places):
        point = curve[round(float(place))]
        found[OVAL[k]] = point
        if 0 < k < middle:
            found[OVAL[-k]] = np.array((2 * CENTRE_X - point[0], point[1]))
    return found


def build_landmarks(face: Face, template_path: Path) -> Array:
    """Return the points (478, 3) in picture pixels, z negative toward the viewer.

    Raises:
        ValueError: the warp of the canonical layout folds over.
    """
    layout = np.asarray(json.loads(template_path.read_text())["points"], dtype=np.float64)
    closed = (layout[list(INNER_UPPER)] + layout[list(INNER_LOWER)]) / 2
    layout[list(INNER_UPPER)] = layout[list(INNER_LOWER)] = closed
    exact = _oval_points(face, layout[:, :2]) | _lip_points(face) | _nose_points()
    for side, eye in enumerate(face.eyes):
        exact |= _eye_points(eye, side)
    ids = [index for index in exact if index not in INNER_LOWER[1:-1] and index < 468]
    warp = ThinPlate(layout[ids, :2], np.array([exact[index] for index in ids]))
    height = float(np.ptp(face.oval[:, 1]))
    points = np.hstack([warp(layout[:, :2]), layout[:, 2:] * height])
    for index, point in exact.items():
        points[index, :2] = point
    _reject_folds(warp, layout)
    return points


def _reject_folds(warp: ThinPlate, layout: Array) -> None:
    """Check the sign of the warp's Jacobian at every point of the layout."""
    step = 1e-4
    at = layout[:468, :2]
    across = (warp(at + (step, 0)) - warp(at - (step, 0))) / (2 * step)
    down = (warp(at + (0, step)) - warp(at - (0, step))) / (2 * step)
    area = (across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]) / SIZE**2
    if area.min() <= 0:
        raise ValueError(f"the landmark warp folds over at points {np.where(area <= 0)[0].tolist()}")


def write_landmarks(points: Array, path: Path) -> None:
    """Write the points (478, 3) as JSON, to a hundredth of a pixel."""
    rows = ",\n".join(json.dumps([round(float(v), 2) for v in row]) for row in points)
    head = f'{{"convention": "{CONVENTION}", "size": [{SIZE}, {SIZE}], "points": [\n'
    path.write_text(f"{head}{rows}\n]}}\n")
