"""The mask of the published scripts, from BiSeNet's classes: the arithmetic of their ``face_parsing`` and ``blending``.

Pillow scales, as it does there: its filters are wider than OpenCV's where a picture shrinks.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.face_crop import crop_box, lower_face
from musetalk_service.engines.musetalk.options import PARSED, Version
from musetalk_service.models.media import FrameSize

Mask = NDArray[np.uint8]

_SKIN, _NOSE = 1, 10
_MOUTH: Final = (11, 12, 13)
_CHEEK_COLUMNS: Final = 90
"""Columns from the middle that the scripts' command lines count as chin."""
_CONE, _SIDE = 10, 33


def picture_to_parse(picture: NDArray[np.uint8], face: Box) -> NDArray[np.uint8]:
    """What BiSeNet is shown: the square around a face, black beyond the picture.

    Args:
        picture: (height, width, 3).
        face: of it.

    Returns:
        (512, 512, 3), its channels in the same order.
    """
    crop = crop_box(face)
    area = crop.clipped(FrameSize(picture.shape[1], picture.shape[0]))
    square = np.zeros((crop.bottom - crop.top, crop.right - crop.left, 3), np.uint8)
    square[area.within(crop).pixels] = picture[area.pixels]
    scaled = Image.fromarray(square).resize((PARSED, PARSED), Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.uint8)


def parsed_mask(classes: Mask, face: Box, version: Version) -> Mask:
    """How much of each pixel of :func:`crop_box` is painted, (side, side), 0 to 255.

    Args:
        classes: (512, 512), of :func:`picture_to_parse`.
        face: the same.
        version: 1.5 widens the skin upwards, narrows it at the cheeks and leaves the nose out; 1.0 takes it as it is.
    """
    skin = (classes == _SKIN).astype(np.uint8) * 255
    if version == "1.5":
        skin = _jaw(skin)
        skin[classes == _NOSE] = 0
    skin[np.isin(classes, _MOUTH)] = 255
    crop = crop_box(face)
    side = crop.right - crop.left
    return lower_face(np.asarray(Image.fromarray(skin).resize((side, side)), np.uint8), face)


def _jaw(skin: Mask) -> Mask:
    """Skin with 16 rows more at its top and six at its bottom, and its edges at the cheeks moved in by 34 columns."""
    wide = np.asarray(cv2.dilate(skin, _cone()), np.uint8)
    narrow = cv2.erode(wide, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3)), iterations=2)
    # The scripts draw two rectangles, whose edges belong to them.
    cheeks = np.abs(np.arange(PARSED) - PARSED // 2) >= _CHEEK_COLUMNS
    wide[:, cheeks] = narrow[:, cheeks]
    return wide


def _cone() -> Mask:
    """(33, 33): empty above, then a triangle, then a column as wide as its base."""
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    reach = np.clip(rows - _CONE, -1, _CONE)
    return (np.abs(columns - _SIDE // 2) <= reach).astype(np.uint8)
