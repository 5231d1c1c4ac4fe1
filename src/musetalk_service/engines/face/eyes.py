"""Eyes: the iris moves within the lids, and the lids close over whatever the iris does.

The lids' pictures are prepared for a set of closures; at run time one is laid over the eyeball, which is
the frame's own, so that a blink does not undo the gaze.
"""

from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.eyelids import LEVELS, Lids, eye_box, prepare_lids
from musetalk_service.engines.face.frame import Frame, WarpMaps
from musetalk_service.engines.face.head import HeadShift
from musetalk_service.engines.face.interpolation import Flow
from musetalk_service.engines.face.landmarks import EYES, EyeIndices, Face, Picture
from musetalk_service.models.media import FrameSize

_GAZE_LIMIT: Final = 0.35
"""Largest shift in iris radii: beyond it the white that was hidden would be missing."""


@dataclass(frozen=True)
class _Eye:
    """What is prepared for one eye; positions are those of its picture."""

    box: Box
    picture: Picture
    """(h, w, 3) the still eye from brow to cheek."""
    rim: NDArray[np.float32]
    """(h, w) 1, fading to 0 at the rim."""
    lids: list[Lids]
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
        # Both irises' boxes in one: between them nothing moves.
        boxes = [eye.opening_box for eye in self._eyes]
        self._between = around = Box(
            min(box.left for box in boxes),
            min(box.top for box in boxes),
            max(box.right for box in boxes),
            max(box.bottom for box in boxes),
        ).even_around()
        self._radius: Flow = np.zeros((around.bottom - around.top, around.right - around.left), np.float32)
        self._opening = np.zeros_like(self._radius)
        for eye, box in zip(self._eyes, boxes, strict=True):
            part = box.within(around).pixels
            self._radius[part] = np.maximum(self._radius[part], eye.radius)
            self._opening[part] = np.maximum(self._opening[part], eye.opening)
        rows, columns = np.mgrid[around.top : around.bottom, around.left : around.right].astype(np.float32)
        self._between_x, self._between_y = 2.0 * columns, 2.0 * rows

    def draw(self, frame: Frame, gaze_x: float, gaze_y: float, closure: float, shift: HeadShift | None) -> None:
        """Draw both eyes.

        Args:
            frame: the picture, with open eyes that look ahead.
            gaze_x: iris radii to the right, limited to +-0.35.
            gaze_y: iris radii down, limited to +-0.35.
            closure: 0 open to 1 shut.
            shift: how the head moves.
        """
        gaze_x, gaze_y = (min(max(g, -_GAZE_LIMIT), _GAZE_LIMIT) for g in (gaze_x, gaze_y))
        level = round(min(max(closure, 0.0), 1.0) * LEVELS)
        if not (gaze_x or gaze_y or level):
            return
        if not level:
            self._look(frame, gaze_x, gaze_y, shift)
            return
        boxes = [eye.box for eye in self._eyes]
        targets = boxes if shift is None else _destinations(boxes, shift, frame.size)
        for eye, box, target in zip(self._eyes, boxes, targets, strict=True):
            if target.is_empty:
                continue
            patch, cover = eye.close(gaze_x, gaze_y, level), eye.rim
            if shift is not None:
                here = shift.part(target)
                x, y = 0.5 * here.x - np.float32(box.left), 0.5 * here.y - np.float32(box.top)
                patch = cast(Picture, cv2.remap(patch, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))
                cover = cast(NDArray[np.float32], cv2.remap(cover, x, y, cv2.INTER_LINEAR))
            area = frame.bgr(target)
            area[:] = _mix(area, patch, cover)

    def _look(self, frame: Frame, gaze_x: float, gaze_y: float, shift: HeadShift | None) -> None:
        """Shift both irises at once while the lids are open; only what lies between the lids changes."""
        box, radius, opening = self._between, self._radius, self._opening
        target = box if shift is None else _destinations([box], shift, frame.size)[0]
        if target.is_empty:
            return
        target = target.even_around()
        if shift is None:
            x, y = self._between_x, self._between_y
        else:
            here = shift.part(target)
            x, y = here.x, here.y
            still_x, still_y = 0.5 * x - np.float32(box.left), 0.5 * y - np.float32(box.top)
            radius = cast(Flow, cv2.remap(radius, still_x, still_y, cv2.INTER_LINEAR))
            opening = cast(Flow, cv2.remap(opening, still_x, still_y, cv2.INTER_LINEAR))
        maps = WarpMaps(target, x - np.float32(2.0 * gaze_x) * radius, y - np.float32(2.0 * gaze_y) * radius)
        frame.lay(maps, opening)


def _destinations(boxes: list[Box], shift: HeadShift, size: FrameSize) -> list[Box]:
    """Boxes around where the head takes boxes."""
    corners = shift.move(np.vstack([box.corners() for box in boxes])).reshape(len(boxes), 4, 2)
    low = np.floor(corners.min(axis=1)).astype(int).tolist()
    high = np.ceil(corners.max(axis=1)).astype(int).tolist()
    return [
        Box(left, top, right + 1, bottom + 1).clipped(size)
        for (left, top), (right, bottom) in zip(low, high, strict=True)
    ]


def _mix(below: Picture, above: Picture, cover: NDArray[np.float32]) -> Picture:
    """`above` laid over `below` with a coverage of 0 to 1 per pixel."""
    under = below.astype(np.float32)
    return cast(Picture, (under + (above - under) * cover[..., None] + 0.5).astype(np.uint8))


def _prepare(portrait: Picture, face: Face, eye: EyeIndices) -> _Eye:
    points = face.points
    box = eye_box(face, eye, *portrait.shape[:2])
    height, width = box.bottom - box.top, box.right - box.left
    centre = points[eye.iris] - (box.left, box.top)
    radius = float(np.hypot(*(points[eye.iris + 1] - points[eye.iris])))
    reach = int(2.2 * radius)
    iris = Box(
        max(0, int(centre[0]) - reach),
        max(0, int(centre[1]) - reach),
        min(width, int(centre[0]) + reach + 1),
        min(height, int(centre[1]) + reach + 1),
    )
    y, x = np.mgrid[0 : iris.bottom - iris.top, 0 : iris.right - iris.left].astype(np.float32)
    distance = np.hypot(x + iris.left - centre[0], y + iris.top - centre[1]) / radius
    outline = points[[*eye.upper_lid, *eye.lower_lid[-2:0:-1]]] - (box.left + iris.left, box.top + iris.top)
    mask = np.zeros(x.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    edge_x = np.minimum(np.arange(1, width + 1), np.arange(width, 0, -1))
    edge_y = np.minimum(np.arange(1, height + 1), np.arange(height, 0, -1))[:, None]
    return _Eye(
        box=box,
        picture=portrait[box.pixels].copy(),
        rim=np.clip(np.minimum(edge_x, edge_y) / 5.0, 0.0, 1.0).astype(np.float32),
        lids=prepare_lids(portrait, face, eye, box),
        iris=iris,
        iris_x=x,
        iris_y=y,
        radius=(radius * np.clip((2.0 - distance) / 0.9, 0.0, 1.0)).astype(np.float32),
        opening=cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / np.float32(255.0),
    )
