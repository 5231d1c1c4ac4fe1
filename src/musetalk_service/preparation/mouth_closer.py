"""Shuts the mouth of every frame of a video: jaw and skin go to where they rest, the lips are the portrait's.

All frames get the same lips, so that nothing of the words that were spoken in the video is left, and nothing
flickers. What lies around them is the frame's own: its jaw closes by a thin-plate warp of the skin, and its light
falls on the lips too.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.interpolation import Lattice, smoothstep, thin_plate_basis
from musetalk_service.engines.face.landmarks import (
    CHEEKS,
    CHIN,
    CHIN_TIP,
    EYE_LEVEL,
    JAW_LINE,
    LOWER_OUTER,
    NOSE,
    UPPER_FACE,
    UPPER_OUTER,
    FloatArray,
)
from musetalk_service.preparation.geometry import Matrix, Picture, invert

_STEP: Final = 4
_STEADY: Final = tuple(sorted({*NOSE, *UPPER_FACE, 234, 454, 93, 323, 132, 361, 10, 109, 338, 117, 346, 205, 425}))
"""Landmarks that speech does not move."""
_LIPS: Final = (*UPPER_OUTER, *LOWER_OUTER[1:-1])
_FLOW_LIMIT: Final = 0.5
"""Largest displacement in mouth widths: more is no mouth but an error of the landmarks."""
_GAIN: Final = (0.5, 2.0)
_LIGHT: Final = 0.22
"""Blur, in mouth widths, of the light that is measured around the lips."""

Plane = NDArray[np.float32]


class MouthCloser:
    """Made for one portrait; shuts the mouth of frames that show the same face."""

    def __init__(self, portrait: Picture, rest: FloatArray, open_: FloatArray, reference: FloatArray) -> None:
        """Prepare.

        Args:
            portrait: (h, w, 3) BGR with shut lips.
            rest: (478, 2) its landmarks.
            open_: (478, 2) its landmarks before its mouth was shut; equal to `rest` if it was.
            reference: (478, 2) landmarks, found as those of the frames are, of the frame that it was made of.
        """
        self._portrait = portrait
        self._rest, self._reference = rest, reference
        self._opened = open_ - rest
        height, width = portrait.shape[:2]
        self._mouth_width = mouth = float(np.hypot(*(rest[61] - rest[291])))
        jaw, chin = rest[list(JAW_LINE)], rest[CHIN_TIP]
        lower = float(chin[1] - rest[2, 1])
        left, right = max(0, int(jaw[:, 0].min()) - 8), min(width, int(jaw[:, 0].max()) + 8)
        top, bottom = max(0, int(rest[EYE_LEVEL, 1])), min(height, int(chin[1] + 0.75 * lower))
        self._lattice = lattice = Lattice(left, top, right - left, bottom - top, _STEP)
        skin = sorted({*CHIN, *JAW_LINE, *CHEEKS} - set(_LIPS))
        self._moving = [*_LIPS, *skin]
        self._weights = np.concatenate([np.ones(len(_LIPS)), self._follow(rest[skin], lower)])
        still = sorted({*NOSE, *UPPER_FACE} - set(self._moving))
        ring = [(left + t * (right - left), y) for t in np.linspace(0, 1, 7) for y in (top, bottom)] + [
            (x, top + t * (bottom - top)) for t in np.linspace(0, 1, 7)[1:-1] for x in (left, right)
        ]
        points = np.vstack([rest[self._moving], rest[still], np.array(ring, np.float64)])
        basis = thin_plate_basis(points, lattice.nodes())[:, : len(self._moving)]
        inside = np.minimum.reduce([lattice.x - left, right - 1 - lattice.x, lattice.y - top, bottom - 1 - lattice.y])
        basis *= np.clip(inside / (4.0 * _STEP), 0.0, 1.0).ravel()[:, None]
        self._basis = basis.astype(np.float32)
        self._box = (left, top, right, bottom)
        lips = np.zeros((height, width), np.uint8)
        outline = rest[[*UPPER_OUTER, *LOWER_OUTER[-2:0:-1]]]
        cv2.fillPoly(lips, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        self._cover = _blur(_dilate(lips, 0.10 * mouth), 0.035 * mouth) / np.float32(255)
        around = _dilate(lips, 0.40 * mouth).astype(np.float32) - _dilate(lips, 0.12 * mouth)
        self._around = np.clip(around, 0, 255) / np.float32(255)

    def _follow(self, points: FloatArray, lower: float) -> FloatArray:
        """How much skin follows jaw and lips, 0 to 1, of points (n, 2)."""
        lips = self._rest[list(_LIPS)]
        off = np.hypot(*(points[:, None] - lips).transpose(2, 0, 1)).min(axis=1) / (0.35 * self._mouth_width)
        seam, chin = self._rest[[61, 291], 1].mean(), self._rest[CHIN_TIP]
        half = 0.5 * float(np.hypot(*(self._rest[234] - self._rest[454])))
        jaw = smoothstep(-0.1, 0.5, (points[:, 1] - seam) / (chin[1] - seam))
        jaw = jaw * (1.0 - smoothstep(0.45, 0.98, np.abs(points[:, 0] - chin[0]) / half))
        return np.asarray(np.maximum(jaw, np.exp(-(off**2))), np.float64)

    def transform(self, landmarks: FloatArray) -> Matrix:
        """(2, 3) from the portrait to a frame with these landmarks (478, 2), by what speech does not move."""
        source = np.column_stack([self._reference[list(_STEADY)], np.ones(len(_STEADY))])
        solved = np.linalg.lstsq(source, landmarks[list(_STEADY)], rcond=None)[0]
        return np.asarray(solved.T, np.float64)

    def close(self, frame: Picture, landmarks: FloatArray, matrix: Matrix) -> Picture:
        """The frame with its mouth shut.

        Args:
            frame: (h, w, 3) BGR.
            landmarks: (478, 2) of the frame.
            matrix: its transform.
        """
        back = invert(matrix)
        aligned = landmarks @ back[:, :2].T + back[:, 2]
        # Where, on the portrait's face, the frame has what belongs to each point at rest.
        moving = self._moving
        away = (aligned - self._reference + self._opened)[moving]
        limit = _FLOW_LIMIT * self._mouth_width
        away = np.clip(away * self._weights[:, None], -limit, limit)
        lattice = self._lattice
        flow = (self._basis @ away.astype(np.float32)).reshape(lattice.rows, lattice.cols, 2)
        left, top, right, bottom = _around(self._box, matrix, frame.shape)
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        (a, b, c), (d, e, f) = back.astype(np.float32)
        column, row = lattice.index(np.stack([a * x + b * y + c, d * x + e * y + f]))
        move = cv2.remap(flow, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        (a, b, _), (d, e, _) = matrix.astype(np.float32)
        from_x = x + a * move[..., 0] + b * move[..., 1]
        from_y = y + d * move[..., 0] + e * move[..., 1]
        shut = np.asarray(cv2.remap(frame, from_x, from_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        shift = matrix - np.array([[0, 0, left], [0, 0, top]])
        size = (right - left, bottom - top)
        moved = cv2.warpAffine(self._portrait, shift, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        lips = np.asarray(moved, np.uint8)
        cover = cv2.warpAffine(self._cover, shift, size)[..., None]
        around = np.asarray(cv2.warpAffine(self._around, shift, size), np.float32)
        lit = lips * _light(shut, lips, around, _LIGHT * self._mouth_width)
        result: Picture = frame.copy()
        result[top:bottom, left:right] = np.clip(np.rint(shut + (lit - shut) * cover), 0, 255).astype(np.uint8)
        return result


def _light(shown: Picture, lips: Picture, around: Plane, sigma: float) -> Plane:
    """How much brighter the frame is around the lips than the portrait, per pixel and channel, (h, w, 3)."""
    small = (max(1, shown.shape[1] // 4), max(1, shown.shape[0] // 4))
    weight = cv2.resize(around, small, interpolation=cv2.INTER_AREA)[..., None]
    there, here = (
        _blur(cv2.resize(p, small, interpolation=cv2.INTER_AREA).astype(np.float32) * weight, sigma / 4) + 1e-3
        for p in (shown, lips)
    )
    ratio = np.clip(there / here, *_GAIN).astype(np.float32)
    return np.asarray(cv2.resize(ratio, shown.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _around(box: tuple[int, int, int, int], matrix: Matrix, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The rectangle of the frame into which a rectangle of the portrait falls."""
    left, top, right, bottom = box
    corners = np.array([(x, y) for x in (left, right) for y in (top, bottom)], np.float64)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    (x0, y0), (x1, y1) = np.floor(moved.min(axis=0)), np.ceil(moved.max(axis=0))
    return max(0, int(x0)), max(0, int(y0)), min(shape[1], int(x1)), min(shape[0], int(y1))


def _dilate(mask: Picture, reach: float) -> Picture:
    size = 2 * max(1, round(reach)) + 1
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)


def _blur(plane: Picture | Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), max(0.5, sigma)), np.float32)
