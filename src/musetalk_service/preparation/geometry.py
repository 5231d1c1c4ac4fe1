"""Similarity transforms, and how a picture is framed around a face."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Matrix = NDArray[np.float64]
"""(2, 3): what it does to (x, y, 1) in pixels."""

FACE_SHARE: Final = 0.48
"""Height of the face, hairline to chin tip, in a square frame."""
CHIN_LEVEL: Final = 0.77
"""Where the chin tip is, from the top of a square frame."""
_TIGHTEST: Final = 0.60
"""Largest share of the face where the picture has no room for more around it."""
_FEATHER: Final = 0.02
"""Part of a frame's side over which its invented border begins to be blurred."""


def apply(matrix: Matrix, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks (n, 3) moved, turned and scaled; depth is scaled alike."""
    scale = scale_of(matrix)
    flat = points[:, :2].astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([flat, points[:, 2] * scale]).astype(np.float32)


def compose(second: Matrix, first: Matrix) -> Matrix:
    """The transform that does `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack([linear, second[:, :2] @ first[:, 2] + second[:, 2]])


def invert(matrix: Matrix) -> Matrix:
    """The transform back."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def scale_of(matrix: Matrix) -> float:
    """By how much a similarity transform enlarges."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def eye_line_angle(landmarks: NDArray[np.float32]) -> float:
    """How far the line between the outer corners of the eyes is turned clockwise, in degrees."""
    across = landmarks[263, :2] - landmarks[33, :2]
    return float(np.degrees(np.arctan2(across[1], across[0])))


@dataclass(frozen=True)
class Framing:
    """A square frame of a picture."""

    matrix: Matrix
    """From the picture's pixels to the frame's."""
    size: int
    """Side in pixels."""

    def cut(self, picture: Picture) -> Picture:
        """(size, size, 3) of a (h, w, 3) picture; beyond its edges it goes on, ever more blurred."""
        return warp(picture, self.matrix, self.size, self.size)


def frame_face(
    landmarks: NDArray[np.float32], width: int, height: int, size: int, *, angle: float, share: float = FACE_SHARE
) -> Framing:
    """The square around a face that shows it upright.

    The face is about half as high as the frame; where the picture ends too near, it is shown up to a fifth larger.

    Args:
        landmarks: (478, 3) pixels.
        width: of the picture.
        height: of the picture.
        size: side of the frame in pixels.
        angle: clockwise lean of the face in degrees, which is undone.
        share: height of the face in the frame.
    """
    radians = np.radians(angle)
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    points = landmarks[:, :2].astype(np.float64) @ turn.T
    face_height = points[152, 1] - points[10, 1]
    centre = (points[234, 0] + points[454, 0] + points[10, 0] + points[152, 0]) / 4
    chin = points[152, 1]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64) @ turn.T
    shares = np.linspace(share, share * _TIGHTEST / FACE_SHARE, 6)

    def missing(candidate: float) -> float:
        side = face_height / candidate
        left, top = centre - side / 2, chin - CHIN_LEVEL * side
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        return float((max(x0 - left, 0) + max(left + side - x1, 0) + max(y0 - top, 0) + max(top + side - y1, 0)) / side)

    gaps = [missing(candidate) for candidate in shares]
    enough = next((i for i, gap in enumerate(gaps) if gap < 0.005), int(np.argmin(gaps)))
    share = float(shares[enough])
    scale = size * share / face_height
    linear = scale * turn
    shift = np.array([size / 2 - scale * centre, CHIN_LEVEL * size - scale * chin])
    return Framing(np.column_stack([linear, shift]), size)


def frame_square(left: int, top: int, side: int, size: int, *, angle: float) -> Framing:
    """A square of a picture, turned about its middle so that a face that leans by an angle is upright.

    Args:
        left: pixel of the picture, as `top` and `side`.
        top: pixel.
        side: pixels.
        size: side of the frame in pixels.
        angle: clockwise lean of the face in degrees.
    """
    radians = np.radians(angle)
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    linear = size / side * turn
    middle = np.array([left, top]) + (side - 1) / 2  # centres of pixels
    return Framing(np.column_stack([linear, (size - 1) / 2 - linear @ middle]), size)


def warp(picture: Picture, matrix: Matrix, width: int, height: int) -> Picture:
    """(height, width, 3) of a (h, w, 3) picture, sharp at any scale; beyond the edges the picture goes on, blurred."""
    scale = scale_of(matrix)
    if scale < 0.9:  # average first, so that nothing flickers or rings
        rows, cols = picture.shape[:2]
        size = max(1, round(cols * scale)), max(1, round(rows * scale))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        # Pixel centres: x of the large picture is at (x + 0.5) * factor - 0.5 of the small one.
        factor = np.array([size[0] / cols, size[1] / rows])
        enlarge = np.array([[1 / factor[0], 0, 0.5 / factor[0] - 0.5], [0, 1 / factor[1], 0.5 / factor[1] - 0.5]])
        matrix = compose(matrix, enlarge)
    out = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    return _soften_border(np.asarray(out, np.uint8), picture.shape[:2], matrix)


def _soften_border(frame: Picture, source: tuple[int, ...], matrix: Matrix) -> Picture:
    """Blur what lies outside the source picture, so that repeated edge pixels do not show as streaks."""
    height, width = frame.shape[:2]
    inside = np.full(source, 255, np.uint8)
    cover = np.asarray(cv2.warpAffine(inside, matrix, (width, height), flags=cv2.INTER_NEAREST), np.uint8)
    if cover.all():
        return frame
    side = max(height, width)
    beyond = cv2.distanceTransform(255 - cover, cv2.DIST_L2, 3)[..., None] / np.float32(side)
    out = frame.astype(np.float32)
    small = cv2.resize(frame, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    for sigma, start in ((0.012, 0.0), (0.03, 0.04), (0.06, 0.10)):
        soft = cv2.GaussianBlur(small, (0, 0), sigma * side / 4, borderType=cv2.BORDER_REPLICATE)
        soft = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
        out += (soft - out) * np.clip((beyond - start) / _FEATHER, 0.0, 1.0)
    return np.asarray(np.rint(out), np.uint8)
