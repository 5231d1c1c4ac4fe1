"""A painted lower face laid on a picture through a soft mask."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.frame import WarpMaps
from musetalk_service.engines.musetalk.face_crop import crop_box
from musetalk_service.engines.musetalk.options import PATCH
from musetalk_service.models.media import FrameSize
from musetalk_service.utils.i420 import Plane, from_bgr, planes_of, size_of

Image = NDArray[np.uint8]
_REACH: Final = 32
"""Pixels that a moving head may carry the mask out of its place."""


def composite(below: Image, above: Image, mask: Image) -> Image:
    """``above`` over ``below`` by a mask of 0 to 255 of the same shape, rounded as Pillow's ``Image.composite``."""
    share = mask.astype(np.uint32)
    total = below * (255 - share) + above * share + 128
    return (((total >> 8) + total) >> 8).astype(np.uint8)


@dataclass(frozen=True)
class Overlay:
    """Where and how a patch lies on one picture."""

    face: Box
    """What the patch shows."""
    mask: Image
    """(height, width) of the crop."""
    crop: Box | None = None
    """Where the mask lies; None: :func:`crop_box` of the face."""
    onto: NDArray[np.float64] | None = None
    """(2, 3) from pixels of the picture to those of the patch; None: by the face's box."""

    @property
    def _crop(self) -> Box:
        return crop_box(self.face) if self.crop is None else self.crop

    def paint_bgr(self, picture: Image, patch: Image, strength: float = 1.0) -> None:
        """Lay a patch on a BGR picture in place, as the published scripts do.

        Args:
            picture: (height, width, 3).
            patch: (256, 256, 3).
            strength: 0 leaves the picture, 1 is the whole mask.
        """
        crop, size = self._crop, FrameSize(picture.shape[1], picture.shape[0])
        area = crop.overlap(self.face).clipped(size)
        mask = self.mask[area.within(crop).pixels]
        scaled = cv2.resize(patch, (self.face.right - self.face.left, self.face.bottom - self.face.top))
        above = np.asarray(scaled[area.within(self.face).pixels], np.uint8)
        picture[area.pixels] = composite(picture[area.pixels], above, _weaken(mask, strength)[..., None])

    def paint(self, picture: Plane, patch: Image, strength: float = 1.0, moved: WarpMaps | None = None) -> None:
        """Lay a patch on an I420 picture in place.

        Args:
            picture: (height * 3 / 2, width).
            patch: (256, 256, 3) BGR.
            strength: 0 leaves the picture, 1 is the whole mask.
            moved: where the picture's pixels come from, in pixels of one of twice the size, for a head that has moved;
                patch and mask move with it.
        """
        crop = self._crop
        reach = 0 if moved is None else _REACH
        around = Box(crop.left - reach, crop.top - reach, crop.right + reach, crop.bottom + reach)
        area = around.clipped(size_of(picture)).even_inside()
        x, y = self._origins(area, moved)
        mask = cv2.remap(self.mask, x - np.float32(crop.left), y - np.float32(crop.top), cv2.INTER_LINEAR)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return
        box = Box(area.left + columns[0], area.top + rows[0], area.left + columns[-1] + 1, area.top + rows[-1] + 1)
        box = box.even_around()
        part = box.within(area).pixels
        matrix = box_to_patch(self.face) if self.onto is None else self.onto
        (a, b, c), (d, e, f) = matrix.astype(np.float32)
        u, v = a * x[part] + b * y[part] + c, d * x[part] + e * y[part] + f
        above = cv2.remap(patch, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        planes, painted = planes_of(picture), planes_of(from_bgr(np.asarray(above, np.uint8)))
        share = _weaken(np.asarray(mask[part], np.uint8), strength)
        planes.y[box.pixels] = composite(planes.y[box.pixels], painted.y, share)
        for plane, colour in ((planes.u, painted.u), (planes.v, painted.v)):
            plane[box.chroma] = composite(plane[box.chroma], colour, share[::2, ::2])

    @staticmethod
    def _origins(area: Box, moved: WarpMaps | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Which pixel of the still picture each pixel of a rectangle shows."""
        if moved is not None:
            part = moved.part(area)
            return part.x * np.float32(0.5), part.y * np.float32(0.5)
        x, y = np.meshgrid(np.arange(area.left, area.right), np.arange(area.top, area.bottom))
        return x.astype(np.float32), y.astype(np.float32)


def box_to_patch(face: Box) -> NDArray[np.float64]:
    """(2, 3) from pixels of a picture to those of the patch that fills a box of it, both counted at their centres."""
    scale_x, scale_y = PATCH / (face.right - face.left), PATCH / (face.bottom - face.top)
    return np.array(
        [[scale_x, 0, (0.5 - face.left) * scale_x - 0.5], [0, scale_y, (0.5 - face.top) * scale_y - 0.5]], np.float64
    )


def _weaken(mask: Image, strength: float) -> Image:
    return mask if strength >= 1.0 else np.round(mask * strength).astype(np.uint8)
