"""A video becomes an avatar: a portrait from its best frame, and all its frames with the mouth shut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.closed_mouth import close_mouth
from musetalk_service.engines.face.landmarks import Face
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.face import NEUTRAL, REST
from musetalk_service.preparation.errors import NotMediaError
from musetalk_service.preparation.face_path import follow_face
from musetalk_service.preparation.geometry import Framing, Picture, apply
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.mouth_closer import MouthCloser
from musetalk_service.preparation.photo import PORTRAIT_SIZE, PhotoLimits, cut_large, look_closely
from musetalk_service.preparation.video_file import FrameSource
from musetalk_service.utils.i420 import from_bgr, to_bgr

Report = Callable[[float], None]

_INNER_PAIRS: Final = ((13, 14), (82, 87), (312, 317))
_LIDS: Final = ((159, 145), (386, 374))
_OPEN_EYES: Final = 0.85
"""Of the usual opening of the eyes: the best frame shows no blink."""


@dataclass(frozen=True)
class FaceInVideo:
    """A face that was followed through a video, and the frame that shows it best."""

    framing: Framing
    """The square around it."""
    points: NDArray[np.float32]
    """(n, 478, 3) pixels of that square, for each frame."""
    aperture: NDArray[np.float32]
    """(n,) how far the mouth is open, in distances of the eyes' outer corners."""
    best: int
    """Index of the best frame."""
    picture: Picture
    """(512, 512, 3) BGR, that frame."""
    large: Picture | None
    """(1024, 1024, 3) of the same square, where the video has the pixels for it."""
    landmarks: NDArray[np.float32]
    """(478, 3) pixels of `picture`, more exact than `points`."""
    width: int
    height: int
    """Of the video."""


@dataclass(frozen=True)
class BaseVideo:
    """What was made of a video, besides the file of frames."""

    portrait: Picture
    """(512, 512, 3) BGR, the best frame with shut lips."""
    landmarks: NDArray[np.float32]
    """(478, 3) pixels of the portrait."""
    transforms: NDArray[np.float32]
    """(n, 2, 3) from the portrait's pixels to those of each frame."""


def find_face(frames: FrameSource, landmarker: FaceLandmarker, report: Report, limits: PhotoLimits) -> FaceInVideo:
    """Follow the face through a video and choose the frame that shows it best.

    Args:
        frames: of the video.
        landmarker: finds the face.
        report: is told which part of this is done, 0 to 1.
        limits: for the face.

    Raises:
        PreparationError: one of its kinds, for a video from which no avatar can be made.
    """
    expected = max(1, frames.expected)

    def following(done: int) -> None:
        if done % 10 == 0:
            report(min(0.9, 0.9 * done / expected))

    path = follow_face(frames, landmarker, limits, following)
    framing = path.frame()
    points = np.array([apply(framing.matrix, found) for found in path.points])
    aperture = _aperture(points)
    best = best_frame(points, aperture)
    chosen = next(islice(frames, best, None), None)
    if chosen is None:
        raise NotMediaError("the video cannot be read twice alike")
    picture, large = framing.cut(chosen), cut_large(chosen, framing)
    landmarks = look_closely(picture, landmarker)
    report(1.0)
    return FaceInVideo(
        framing, points, aperture.astype(np.float32), best, picture, large, landmarks, path.width, path.height
    )


def shut_mouths(
    frames: FrameSource,
    face: FaceInVideo,
    target: Path,
    report: Report,
    kept: NDArray[np.intp] | None = None,
    fades: Sequence[tuple[int, int, float]] = (),
) -> BaseVideo:
    """Write frames of a video with the mouth shut.

    Args:
        frames: of the video.
        face: what `find_face` found in it.
        target: the file to write: (n, 768, 512) uint8, I420 frames in NumPy's format.
        report: is told which part of this is done, 0 to 1.
        kept: indices of the frames to write, rising; None: all.
        fades: (frame, other, share) of what is written: so much of the other is laid over the frame, in this order.

    Raises:
        NotMediaError: the video is not what it was.
    """
    portrait, landmarks = _shut(face.picture, face.landmarks)
    best = face.points[face.best]
    closer = MouthCloser(portrait, *(p[:, :2].astype(np.float64) for p in (landmarks, face.landmarks, best)))
    wanted = set(range(len(face.points)) if kept is None else kept.tolist())
    count = len(wanted)
    shape = (count, PORTRAIT_SIZE * 3 // 2, PORTRAIT_SIZE)
    written = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    transforms = np.empty((count, 2, 3), np.float32)
    done = 0
    for index, (frame, found) in enumerate(zip(frames, face.points, strict=False)):
        if index not in wanted:
            continue
        where = found[:, :2].astype(np.float64)
        matrix = closer.transform(where)
        transforms[done] = matrix
        written[done] = from_bgr(closer.close(face.framing.cut(frame), where, matrix))
        done += 1
        if done % 10 == 0:
            report(done / count)
    if done != count:
        raise NotMediaError("the video cannot be read twice alike")
    for index, other, share in fades:
        written[index] = cv2.addWeighted(written[other], share, written[index], 1.0 - share, 0.0)
        transforms[index] = share * transforms[other] + (1.0 - share) * transforms[index]
    written.flush()
    return BaseVideo(portrait, landmarks, transforms)


def best_frame(points: NDArray[np.float32], aperture: NDArray[np.float64]) -> int:
    """Index of the frame with the mouth the least open, the eyes open, and the head where it usually is."""
    eyes = _spans(points, 33, 263)
    lids = np.mean([_spans(points, a, b) for a, b in _LIDS], axis=0) / eyes
    blink = lids < _OPEN_EYES * np.median(lids)
    usual = np.median(points, axis=0)
    steady = [4, 168, 234, 454, 10]
    off = np.abs(points[:, steady, :2] - usual[steady, :2]).mean(axis=(1, 2)) / eyes
    return int(np.argmin(np.maximum(aperture, 0.008) * 4.0 + off + 10.0 * blink))


def _shut(picture: Picture, landmarks: NDArray[np.float32]) -> tuple[Picture, NDArray[np.float32]]:
    """A frame as a portrait with shut lips, and landmarks that fit it."""
    closed = close_mouth(picture, Face.measure(landmarks))
    if not closed.is_open:
        return picture, landmarks
    shut = to_bgr(FaceRenderer(picture, landmarks).render(NEUTRAL, REST))
    return shut, np.column_stack([closed.rest, landmarks[:, 2]]).astype(np.float32)


def _spans(points: NDArray[np.float32], a: int, b: int) -> NDArray[np.float64]:
    return np.asarray(np.hypot(*(points[:, a, :2] - points[:, b, :2]).T), np.float64)


def _aperture(points: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.mean([_spans(points, a, b) for a, b in _INNER_PAIRS], axis=0) / _spans(points, 33, 263))
