"""Eyes: the iris moves within the lids, and the lids close over whatever the iris does.

A closing lid is the skin between brow and lashes stretched down column by column, with the lashes
carried along unchanged. Its pictures are prepared for a set of closures; at run time a picture is
laid over the eyeball, which is the frame's own, so that a blink does not undo the gaze.
"""

from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.interpolation import Flow
from musetalk_service.engines.face.landmarks import EYES, EyeIndices, Face, FloatArray, Picture

_LEVELS: Final = 24
"""Prepared closures; with an eye 20 px high the lid moves less than a pixel from one to the next."""
_LASHES: Final = 0.10
"""Height in eye widths of the band of lashes that moves rigidly with the lid."""
_GAZE_LIMIT: Final = 0.35
"""Largest shift in iris radii: beyond it the white that was hidden would be missing."""


@dataclass(frozen=True)
class _Lids:
    """An eye at one closure."""

    lid: NDArray[np.float32]
    """(h, w, 3) upper lid with lashes, multiplied by its coverage."""
    open_share: NDArray[np.float32]
    """(h, w, 1) how much of the pixels below is seen."""
    below_x: Flow
    below_y: Flow
    """Where the pixels below come from: the lower lid comes up a little."""


@dataclass(frozen=True)
class _Iris:
    left: int
    top: int
    x: Flow
    y: Flow
    weight_x: Flow
    """(h, w) iris radius in pixels, fading to 0 away from the iris."""
    mask: NDArray[np.float32]
    """(h, w, 1) 1 between the lids."""


class Eyes:
    """Blink and gaze of one portrait."""

    def __init__(self, portrait: Picture, face: Face) -> None:
        self._boxes: list[Box] = []
        self._lids: list[list[_Lids]] = []
        self._irises: list[_Iris] = []
        for eye in EYES:
            box, lids = _prepare_lids(portrait, face, eye)
            self._boxes.append(box)
            self._lids.append(lids)
            self._irises.append(_prepare_iris(face, eye))

    def look(self, picture: Picture, gaze_x: float, gaze_y: float) -> list[Box]:
        """Shift the irises.

        Args:
            picture: (512, 512, 3) BGR with open eyes, changed in place.
            gaze_x: iris radii to the right, limited to +-0.35.
            gaze_y: iris radii down, limited to +-0.35.

        Returns:
            The rectangles that were changed.
        """
        changed: list[Box] = []
        gaze_x, gaze_y = (min(max(g, -_GAZE_LIMIT), _GAZE_LIMIT) for g in (gaze_x, gaze_y))
        for iris in self._irises:
            height, width = iris.x.shape
            area = picture[iris.top : iris.top + height, iris.left : iris.left + width]
            moved = cv2.remap(
                area,
                iris.x - np.float32(gaze_x) * iris.weight_x,
                iris.y - np.float32(gaze_y) * iris.weight_x,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            before = area.astype(np.float32)
            area[:] = (before + (moved - before) * iris.mask + 0.5).astype(np.uint8)
            changed.append(Box(iris.left, iris.top, iris.left + width, iris.top + height))
        return changed

    def close(self, picture: Picture, closure: float) -> list[Box]:
        """Close both eyes.

        Args:
            picture: (512, 512, 3) BGR, changed in place.
            closure: 0 open to 1 shut.

        Returns:
            The rectangles that were changed.
        """
        level = round(min(max(closure, 0.0), 1.0) * _LEVELS)
        if level == 0:
            return []
        for box, lids in zip(self._boxes, self._lids, strict=True):
            area = picture[box.pixels]
            lid = lids[level - 1]
            eyeball = cv2.remap(area, lid.below_x, lid.below_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            area[:] = (eyeball * lid.open_share + lid.lid + 0.5).astype(np.uint8)
        return self._boxes


def _contour(face: Face, indices: tuple[int, ...], columns: FloatArray) -> FloatArray:
    points = face.points[list(indices)]
    order = np.argsort(points[:, 0])
    return cast(FloatArray, np.interp(columns, points[order, 0], points[order, 1]))


def _prepare_lids(portrait: Picture, face: Face, eye: EyeIndices) -> tuple[Box, list[_Lids]]:
    points = face.points
    lid_x = points[list(eye.upper_lid), 0]
    start, end = float(lid_x.min()), float(lid_x.max())
    width = end - start
    left, right = max(0, int(start - 0.35 * width)), min(512, int(end + 0.35 * width))
    top = max(0, int(points[list(eye.brow_edge), 1].min() - 2))
    bottom = min(512, int(points[list(eye.lower_lid), 1].max() + 0.30 * width))
    columns = np.arange(left, right, dtype=np.float64)
    rows = np.arange(top, bottom, dtype=np.float64)[:, None]

    def smooth(curve: FloatArray) -> FloatArray:
        soft = cv2.GaussianBlur(curve[None], (0, 0), max(1.0, 0.03 * width))
        return cast(FloatArray, soft[0])

    upper = smooth(_contour(face, eye.upper_lid, columns))
    lower = smooth(_contour(face, eye.lower_lid, columns))
    brow = _contour(face, eye.brow_edge, columns)
    gap = np.maximum(lower - upper, 0.0)
    source = portrait[top:bottom, left:right].astype(np.float32)
    bare = _without_lashes(portrait[top:bottom, left:right], columns, rows, upper, brow, (start, end))
    across = np.repeat((columns - left)[None], len(rows), axis=0).astype(np.float32)
    stretch_from = brow + 0.15 * (upper - brow)
    lashes = _LASHES * width
    levels = []
    for level in range(1, _LEVELS + 1):
        closure = level / _LEVELS
        lower_to = lower - 0.07 * closure * gap
        travel = 0.93 + 0.04 * float(np.clip((closure - 0.9) / 0.1, 0.0, 1.0))
        upper_to = np.minimum(upper + travel * closure * gap, lower_to + 0.02 * width)
        before = np.maximum(upper - lashes - stretch_from, 1.0)
        after = np.maximum(upper_to - lashes - stretch_from, 1.0)
        stretched = stretch_from + (rows - stretch_from) * (before / after)
        come_from = np.where(
            rows >= upper_to - lashes,
            rows - (upper_to - upper),
            np.where(rows > stretch_from, stretched, rows),
        )
        cover = np.clip((upper_to - rows) / 1.2 + 0.5, 0.0, 1.0).astype(np.float32)[..., None]
        skin = source + (bare - source) * np.float32(np.clip(closure / 0.5, 0.0, 1.0))
        lid = cv2.remap(
            skin,
            across,
            (come_from - top).astype(np.float32),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        rise = (lower - lower_to) * np.clip(1.0 - (rows - lower_to) / (0.25 * width), 0.0, 1.0)
        below = np.where(rows > lower_to, rows + rise, rows) - top
        levels.append(_Lids(np.clip(lid, 0, 255) * cover, 1.0 - cover, across, below.astype(np.float32)))
    return Box(left, top, right, bottom), levels


def _without_lashes(
    area: Picture,
    columns: FloatArray,
    rows: FloatArray,
    upper: FloatArray,
    brow: FloatArray,
    corners: tuple[float, float],
) -> NDArray[np.float32]:
    """The lid with thin dark lashes above its edge removed: they would be stretched into streaks."""
    width = corners[1] - corners[0]
    size = int(0.16 * width) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    clean = cv2.morphologyEx(area, cv2.MORPH_CLOSE, kernel)
    clean = cv2.GaussianBlur(clean, (0, 0), 0.05 * width).astype(np.float32)
    above = (upper - rows) / width
    weight = np.clip((above - 0.035) / 0.03, 0.0, 1.0) * np.clip((0.42 - above) / 0.12, 0.0, 1.0)
    off_centre = np.abs(columns - sum(corners) / 2) / (0.5 * width)
    weight *= np.clip(1.0 - np.maximum(off_centre - 1.15, 0.0) / 0.25, 0.0, 1.0)
    # Never the brow.
    weight *= np.clip((rows - (brow + 0.35 * (upper - brow))) / (0.05 * width), 0.0, 1.0)
    share = weight.astype(np.float32)[..., None]
    return cast(NDArray[np.float32], area * (1.0 - share) + clean * share)


def _prepare_iris(face: Face, eye: EyeIndices) -> _Iris:
    centre = face.points[eye.iris]
    radius = float(np.hypot(*(face.points[eye.iris + 1] - centre)))
    reach = int(2.2 * radius)
    left, top = max(0, int(centre[0]) - reach), max(0, int(centre[1]) - reach)
    size = 2 * reach + 1
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    distance = np.hypot(x + left - centre[0], y + top - centre[1]) / radius
    weight = (radius * np.clip((2.0 - distance) / 0.9, 0.0, 1.0)).astype(np.float32)
    outline = face.points[[*eye.upper_lid, *eye.lower_lid[-2:0:-1]]] - [left, top]
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / 255.0
    return _Iris(left, top, x, y, weight, soft[..., None])
