"""Videos that an operator gives for the actions: as large and where the face of the avatar is, or refused."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.media import FPS
from musetalk_service.preparation.base_video import Take
from musetalk_service.preparation.errors import FaceDiffersError, NotMediaError, PreparationError
from musetalk_service.preparation.face_path import FacePath, follow_face
from musetalk_service.preparation.geometry import Framing, Matrix
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.photo import PORTRAIT_SIZE, PhotoLimits
from musetalk_service.preparation.picture_file import is_picture
from musetalk_service.preparation.video_file import VideoFrames, VideoLimits

_STEADY: Final = (33, 133, 263, 362, 168, 6, 4, 10, 152, 234, 454)
_SIZE: Final = 1.25
"""Times larger or smaller that the face may be."""
_AWAY: Final = 0.5
"""Distances of the eyes' outer corners that it may be away."""
_COVERED: Final = 0.9
"""Of the avatar's square that the video has to show."""


@dataclass(frozen=True)
class ActionBase:
    """What an action's video has to go with."""

    landmarks: NDArray[np.float32]
    """(478, 3) where the face usually is, in the 512x512 square."""
    camera: Matrix | None
    """(2, 3) from the base video's pixels to the square, which a video of the same camera shares; None for a photo."""
    width: int
    """Of the base video."""


def follow_action(
    name: str,
    file: Path,
    base: ActionBase,
    landmarker: FaceLandmarker,
    limits: tuple[VideoLimits, PhotoLimits],
    report: Callable[[float], None],
) -> Take:
    """Find the face of an action's video, and how the video is cut so that it goes with the avatar.

    Args:
        name: of the clip, for what is said of it.
        file: the video.
        base: what it has to go with.
        landmarker: finds the face.
        limits: for the video, and for its face.
        report: is told which part of this is done, 0 to 1.

    Raises:
        PreparationError: one of its kinds; the message begins with the name.
    """
    try:
        if is_picture(file):
            raise NotMediaError("it is a picture, not a video")
        film = VideoFrames(file, limits[0])
        expected = max(1, min(film.expected, round(limits[0].max_seconds * FPS)))
        path = follow_face(film, landmarker, limits[1], lambda done: report(min(1.0, done / expected)))
        framing = _frame(path, base)
        return Take(film, framing, path.within(framing))
    except PreparationError as error:
        error.message = f"{name}: {error.message}"
        raise


def _frame(path: FacePath, base: ActionBase) -> Framing:
    """As the base video's camera shows it, so that the background stays; to a photo the face is fitted.

    Raises:
        FaceDiffersError: it would not go with the avatar.
        FaceLostError: it leaves the picture.
    """
    if base.camera is None:
        framing = Framing(_fit(np.median(path.points, axis=0), base.landmarks), PORTRAIT_SIZE)
        seen = np.full((path.height, path.width), 255, np.uint8)
        cover = cv2.warpAffine(seen, framing.matrix, (PORTRAIT_SIZE, PORTRAIT_SIZE), flags=cv2.INTER_NEAREST)
        if np.count_nonzero(cover) < _COVERED * cover.size:
            raise FaceDiffersError("the face is too near to the edge of the picture, or too large in it")
    else:
        matrix = base.camera.copy()
        matrix[:, :2] *= base.width / path.width
        framing = Framing(matrix, PORTRAIT_SIZE)
        _compare(np.median(path.within(framing), axis=0), base.landmarks)
    path.check_room(framing)
    return framing


def _compare(found: NDArray[np.float32], usual: NDArray[np.float32]) -> None:
    size, expected = _eyes(found), _eyes(usual)
    times = size / expected
    if not 1 / _SIZE <= times <= _SIZE:
        how = "larger" if times > 1 else "smaller"
        raise FaceDiffersError(f"the face is {max(times, 1 / times):.1f} times {how} than in the first file")
    shift = (found[list(_STEADY), :2] - usual[list(_STEADY), :2]).mean(axis=0)
    away = float(np.hypot(*shift)) / expected
    if away > _AWAY:
        raise FaceDiffersError(f"the face is {away:.1f} eye distances away from where it is in the first file")


def _eyes(landmarks: NDArray[np.float32]) -> float:
    return float(np.hypot(*(landmarks[33, :2] - landmarks[263, :2])))


def _fit(source: NDArray[np.float32], target: NDArray[np.float32]) -> Matrix:
    """(2, 3) the similarity transform that brings steady landmarks onto others, by least squares."""
    points, wanted = (p[list(_STEADY), :2].astype(np.float64) for p in (source, target))
    x, y = points.T
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.column_stack([x, -y, one, none]), np.column_stack([y, x, none, one])])
    a, b, right, down = np.linalg.lstsq(rows, wanted.T.ravel(), rcond=None)[0]
    return np.array([[a, -b, right], [b, a, down]], np.float64)
