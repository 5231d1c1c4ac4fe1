"""Pictures with faces, made from others, and a renderer that gives pictures to look at."""

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.face import Mouth, Pose
from musetalk_service.utils.i420 import from_bgr, to_bgr

Picture = NDArray[np.uint8]


class BgrRenderer(FaceRenderer):
    """A renderer whose pictures are (h, w, 3) BGR."""

    def render(self, pose: Pose, mouth: Mouth) -> Picture:
        return to_bgr(super().render(pose, mouth))


def as_sent(picture: Picture) -> Picture:
    """A BGR picture as it comes out of I420."""
    return to_bgr(from_bgr(picture))


def place(picture: Picture, width: int, height: int, scale: float, angle: float = 0.0) -> Picture:
    """A picture on a grey ground, its centre in the middle, scaled and turned clockwise."""
    rows, cols = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((cols / 2, rows / 2), -angle, scale)
    matrix[:, 2] += [(width - cols) / 2, (height - rows) / 2]
    ground = np.full((height, width, 3), 180, np.uint8)
    cv2.warpAffine(
        picture, matrix, (width, height), dst=ground, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_TRANSPARENT
    )
    return ground


def turn_away(picture: Picture, middle: float) -> Picture:
    """A face as if it looked to the left of the picture: what is left of the column `middle` gets narrow."""
    height, width = picture.shape[:2]
    columns = np.arange(width, dtype=np.float32)
    off = columns - middle
    source = middle + np.where(off < 0, 2.2 * off, 0.75 * off)
    x = np.repeat(source[None].astype(np.float32), height, axis=0)
    y = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
