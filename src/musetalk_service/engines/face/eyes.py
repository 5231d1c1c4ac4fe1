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
from musetalk_service.engines.face.head import HeadShift
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
    """(h, w, 1) how much of the pixels below is seen, and in what light."""
    below_x: Flow
    below_y: Flow
    """Where the pixels below come from: the lower lid comes up a little."""


@dataclass(frozen=True)
class _Eye:
    """What is prepared for one eye; positions are those of its picture."""

    box: Box
    picture: Picture
    """(h, w, 3) the still eye from brow to cheek."""
    rim: NDArray[np.float32]
    """(h, w) 1, fading to 0 at the rim."""
    lids: list[_Lids]
    iris: Box
    """Where the gaze moves pixels."""
    iris_x: Flow
    iris_y: Flow
    """Positions of those pixels in the iris's box."""
    radius: Flow
    """Iris radius in pixels, fading to 0 away from the iris."""
    opening: NDArray[np.float32]
    """(h, w) 1 between the lids, of the iris's box."""

    @property
    def opening_box(self) -> Box:
        """The iris's box in the portrait."""
        left, top = self.box.left, self.box.top
        return Box(left + self.iris.left, top + self.iris.top, left + self.iris.right, top + self.iris.bottom)

    def look(self, gaze_x: float, gaze_y: float) -> Picture:
        """The iris's box with the iris shifted, lids ignored."""
        moved = cv2.remap(
            self.picture[self.iris.pixels],
            self.iris_x - np.float32(gaze_x) * self.radius,
            self.iris_y - np.float32(gaze_y) * self.radius,
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return cast(Picture, moved)

    def close(self, gaze_x: float, gaze_y: float, level: int) -> Picture:
        """The eye with its lids closed over a shifted iris."""
        picture = self.picture
        if gaze_x or gaze_y:
            picture = picture.copy()
            area = picture[self.iris.pixels]
            area[:] = _mix(area, self.look(gaze_x, gaze_y), self.opening)
        lids = self.lids[level - 1]
        ball = cv2.remap(picture, lids.below_x, lids.below_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cast(Picture, (ball * lids.open_share + lids.lid + 0.5).astype(np.uint8))


class Eyes:
    """Blink and gaze of one portrait."""

    def __init__(self, portrait: Picture, face: Face) -> None:
        self._eyes = [_prepare(portrait, face, eye) for eye in EYES]

    def draw(self, picture: Picture, gaze_x: float, gaze_y: float, closure: float, shift: HeadShift | None) -> None:
        """Draw both eyes.

        Args:
            picture: (512, 512, 3) BGR with open eyes that look ahead, changed in place.
            gaze_x: iris radii to the right, limited to +-0.35.
            gaze_y: iris radii down, limited to +-0.35.
            closure: 0 open to 1 shut.
            shift: how the head moves.
        """
        gaze_x, gaze_y = (min(max(g, -_GAZE_LIMIT), _GAZE_LIMIT) for g in (gaze_x, gaze_y))
        level = round(min(max(closure, 0.0), 1.0) * _LEVELS)
        if not (gaze_x or gaze_y or level):
            return
        # Only what lies between the lids changes while they are open.
        boxes = [eye.box if level else eye.opening_box for eye in self._eyes]
        targets = boxes if shift is None else _destinations(boxes, shift)
        for eye, box, target in zip(self._eyes, boxes, targets, strict=True):
            patch = eye.close(gaze_x, gaze_y, level) if level else eye.look(gaze_x, gaze_y)
            cover = eye.rim if level else eye.opening
            if shift is not None:
                x = 0.5 * shift.x[target.pixels] - np.float32(box.left)
                y = 0.5 * shift.y[target.pixels] - np.float32(box.top)
                patch = cast(Picture, cv2.remap(patch, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))
                cover = cast(NDArray[np.float32], cv2.remap(cover, x, y, cv2.INTER_LINEAR))
            area = picture[target.pixels]
            area[:] = _mix(area, patch, cover)


def _destinations(boxes: list[Box], shift: HeadShift) -> list[Box]:
    """Boxes around where the head takes boxes."""
    corners = shift.move(np.vstack([box.corners() for box in boxes])).reshape(len(boxes), 4, 2)
    low = np.floor(corners.min(axis=1)).astype(int).tolist()
    high = np.ceil(corners.max(axis=1)).astype(int).tolist()
    return [
        Box(left, top, right + 1, bottom + 1).clipped() for (left, top), (right, bottom) in zip(low, high, strict=True)
    ]


def _mix(below: Picture, above: Picture, cover: NDArray[np.float32]) -> Picture:
    """`above` laid over `below` with a coverage of 0 to 1 per pixel."""
    under = below.astype(np.float32)
    return cast(Picture, (under + (above - under) * cover[..., None] + 0.5).astype(np.uint8))


def _contour(face: Face, indices: tuple[int, ...], columns: FloatArray) -> FloatArray:
    points = face.points[list(indices)]
    order = np.argsort(points[:, 0])
    return cast(FloatArray, np.interp(columns, points[order, 0], points[order, 1]))


def _prepare(portrait: Picture, face: Face, eye: EyeIndices) -> _Eye:
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
        # The lid's shadow on the eyeball, deeper as it comes down.
        depth = np.clip(1.0 - (rows - upper_to) / (0.14 * width), 0.0, 1.0)
        depth *= np.clip((lower_to - rows) / (0.04 * width), 0.0, 1.0) * np.clip(gap / (0.2 * gap.max()), 0.0, 1.0)
        light = 1.0 - 0.35 * min(closure / 0.4, 1.0) * depth
        seen = (1.0 - cover) * light.astype(np.float32)[..., None]
        levels.append(_Lids(np.clip(lid, 0, 255) * cover, seen, across, below.astype(np.float32)))
    box = Box(left, top, right, bottom)
    height = bottom - top
    edge_x = np.minimum(columns - left + 1, right - columns)
    edge_y = np.minimum(rows - top + 1, bottom - rows)
    rim = np.clip(np.minimum(edge_x, edge_y) / 5.0, 0.0, 1.0).astype(np.float32)

    centre = points[eye.iris] - (left, top)
    radius = float(np.hypot(*(points[eye.iris + 1] - points[eye.iris])))
    reach = int(2.2 * radius)
    iris = Box(
        max(0, int(centre[0]) - reach),
        max(0, int(centre[1]) - reach),
        min(right - left, int(centre[0]) + reach + 1),
        min(height, int(centre[1]) + reach + 1),
    )
    y, x = np.mgrid[0 : iris.bottom - iris.top, 0 : iris.right - iris.left].astype(np.float32)
    distance = np.hypot(x + iris.left - centre[0], y + iris.top - centre[1]) / radius
    outline = points[[*eye.upper_lid, *eye.lower_lid[-2:0:-1]]] - (left + iris.left, top + iris.top)
    mask = np.zeros(x.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return _Eye(
        box=box,
        picture=portrait[box.pixels].copy(),
        rim=rim,
        lids=levels,
        iris=iris,
        iris_x=x,
        iris_y=y,
        radius=(radius * np.clip((2.0 - distance) / 0.9, 0.0, 1.0)).astype(np.float32),
        opening=cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / np.float32(255.0),
    )


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
