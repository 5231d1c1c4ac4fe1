"""Which part of a picture is the face, by the published formula on 68 landmarks, and where its lower half is painted.

The published scripts take 68 landmarks (300-W, Sagonas et al. 2013) from DWPose and the mask from BiSeNet. Here both
come from MediaPipe's 478 landmarks, which every prepared avatar has; ``parsed_mask`` has the published one.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.landmarks import JAW_LINE, LOWER_OUTER, UPPER_OUTER
from musetalk_service.engines.musetalk.options import PARSED
from musetalk_service.models.media import FrameSize

Landmarks = NDArray[np.float32]
"""(478, 2 or more) pixels."""
EXTRA_MARGIN: Final = 10
"""Pixels under the chin in version 1.5."""

# 300-W's points among MediaPipe's: the jaw from ear to ear, brows, nose, eyes, lips.
_JAW: Final = (234, 93, 132, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 361, 323, 454)
_BROWS: Final = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NASION, _NOSE_TIP = 168, 4
_NOSTRILS: Final = (48, 97, 2, 326, 278)
_EYES: Final = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_LIPS: Final = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
_BRIDGE: Final = 29
_NOSE_HULL: Final = (195, 48, 64, 98, 2, 327, 294, 278)

_CROP_SCALE: Final = 1.5
_CHEEK_COLUMNS: Final = 90
_CHEEK_STEP: Final = 34
_TOP_SHARE: Final = 0.5
_BLUR_SHARE: Final = 0.1


def to_68(landmarks: Landmarks) -> NDArray[np.float32]:
    """300-W's 68 points, (68, 2) pixels. Its four on the bridge of the nose are evenly spaced, so two lie between."""
    points = np.asarray(landmarks[:, :2], np.float32)
    nasion, tip = points[_NASION], points[_NOSE_TIP]
    bridge = np.stack([nasion + (tip - nasion) * share for share in (0, 1 / 3, 2 / 3, 1)])
    return np.concatenate(
        [points[list(_JAW)], points[list(_BROWS)], bridge, points[list((*_NOSTRILS, *_EYES, *_LIPS))]]
    )


def face_box(points: NDArray[np.float32], size: FrameSize, *, margin: int = EXTRA_MARGIN) -> Box:
    """The face that the networks are given: the bridge of the nose in its middle, the chin at its bottom.

    Args:
        points: (68, 2) pixels.
        size: of the picture.
        margin: pixels added under the chin; 0 in version 1.0.

    Raises:
        ValueError: the face reaches beyond the picture or is empty.
    """
    whole = points.astype(np.int32)
    middle, bottom = int(whole[_BRIDGE, 1]), int(whole[:, 1].max())
    top = max(0, middle - (bottom - middle))
    left, right = int(whole[:, 0].min()), int(whole[:, 0].max())
    box = Box(left, top, right, min(bottom + margin, size.height))
    if box.is_empty or left < 0 or right > size.width:
        raise ValueError(f"the face, {tuple(box)}, does not lie in the {size} picture")
    return box


def crop_box(face: Box) -> Box:
    """The square around a face in which it is blended; it may reach beyond the picture."""
    x, y = (face.left + face.right) // 2, (face.top + face.bottom) // 2
    half = int(max(face.right - face.left, face.bottom - face.top) // 2 * _CROP_SCALE)
    return Box(x - half, y - half, x + half, y + half)


def jaw_mask(landmarks: Landmarks, face: Box) -> NDArray[np.uint8]:
    """How much of each pixel of :func:`crop_box` is painted, (side, side), 0 to 255.

    The skin under the nose down to the jaw, narrower at the cheeks, without the nose, with the lips, and soft:
    what the published mask makes of BiSeNet's classes, in its proportions.
    """
    crop = crop_box(face)
    side = crop.right - crop.left
    points = landmarks[:, :2] - np.array([crop.left, crop.top], np.float32)
    unit = side / PARSED
    mask = np.zeros((side, side), np.uint8)
    _fill(mask, points[list(JAW_LINE)], 255)
    reach = 2 * max(1, round(_CHEEK_STEP * unit)) + 1
    narrow = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_RECT, (reach, 1)), borderValue=0)
    cheeks = np.abs(np.arange(side) - side / 2) > _CHEEK_COLUMNS * unit
    mask[:, cheeks] = narrow[:, cheeks]
    _fill(mask, np.asarray(cv2.convexHull(points[list(_NOSE_HULL)])[:, 0], np.float32), 0)
    _fill(mask, points[[*UPPER_OUTER, *LOWER_OUTER[-2:0:-1]]], 255)
    return lower_face(mask, face)


def lower_face(mask: NDArray[np.uint8], face: Box) -> NDArray[np.uint8]:
    """Of a mask of :func:`crop_box`, (side, side), the lower half inside a face's box, with soft edges."""
    crop, side = crop_box(face), len(mask)
    inside = np.zeros_like(mask)
    box = face.within(crop)
    inside[box.pixels] = mask[box.pixels]
    inside[: int(_TOP_SHARE * side)] = 0
    kernel = int(_BLUR_SHARE * side // 2 * 2) + 1
    return np.asarray(cv2.GaussianBlur(inside, (kernel, kernel), 0), np.uint8)


def cut_face(picture: NDArray[np.uint8], face: Box) -> NDArray[np.uint8]:
    """The face as the networks take it, (256, 256, 3) BGR."""
    return np.asarray(cv2.resize(picture[face.pixels], (256, 256), interpolation=cv2.INTER_LANCZOS4), np.uint8)


def _fill(mask: NDArray[np.uint8], outline: NDArray[np.float32], value: int) -> None:
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], value, cv2.LINE_8, 4)
