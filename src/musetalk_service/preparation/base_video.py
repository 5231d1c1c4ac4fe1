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
from musetalk_service.models.preparation import Crop
from musetalk_service.preparation.errors import NotMediaError
from musetalk_service.preparation.face_path import follow_face
from musetalk_service.preparation.geometry import Framing, Picture
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
class Take:
    """What is kept of one video."""

    frames: FrameSource
    framing: Framing
    """The square that is cut out."""
    points: NDArray[np.float32]
    """(n, 478, 3) landmarks of each frame in pixels of that square."""
    kept: NDArray[np.intp] | None = None
    """Indices of the frames, rising; None: all."""

    @property
    def indices(self) -> list[int]:
        """Of the frames that are kept."""
        return list(range(len(self.points))) if self.kept is None else self.kept.tolist()


@dataclass(frozen=True)
class BestFrame:
    """The picture that an avatar's portrait is made of."""

    picture: Picture
    """(512, 512, 3) BGR."""
    landmarks: NDArray[np.float32]
    """(478, 3) its pixels, found by a close look."""
    reference: NDArray[np.float32]
    """(478, 3) the same, found as those of a video's frames are."""


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

    @property
    def shown(self) -> BestFrame:
        """What `shut_mouths` takes."""
        return BestFrame(self.picture, self.landmarks, self.points[self.best])

    def take(self, frames: FrameSource, kept: NDArray[np.intp] | None = None) -> Take:
        """The video itself, or the frames of it that are kept."""
        return Take(frames, self.framing, self.points, kept)


@dataclass(frozen=True)
class BaseVideo:
    """What was made of a video, besides the file of frames."""

    portrait: Picture
    """(512, 512, 3) BGR, the best frame with shut lips."""
    landmarks: NDArray[np.float32]
    """(478, 3) pixels of the portrait."""
    transforms: NDArray[np.float32]
    """(n, 2, 3) from the portrait's pixels to those of each frame."""


def find_face(
    frames: FrameSource, landmarker: FaceLandmarker, report: Report, limits: PhotoLimits, crop: Crop | None = None
) -> FaceInVideo:
    """Follow the face through a video and choose the frame that shows it best.

    Args:
        frames: of the video.
        landmarker: finds the face.
        report: is told which part of this is done, 0 to 1.
        limits: for the face.
        crop: the square that becomes the portrait; None: it is chosen around the face.

    Raises:
        PreparationError: one of its kinds, for a video from which no avatar can be made.
    """
    expected = max(1, frames.expected)

    def following(done: int) -> None:
        if done % 10 == 0:
            report(min(0.9, 0.9 * done / expected))

    path = follow_face(frames, landmarker, limits, following, crop)
    framing = path.frame(crop)
    points = path.within(framing)
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
    takes: Sequence[Take],
    face: BestFrame,
    target: Path,
    report: Report,
    fades: Sequence[tuple[int, int, float]] = (),
) -> BaseVideo:
    """Write frames of videos with the mouth shut, one video after the other.

    Args:
        takes: of the same face.
        face: whose lips all frames get.
        target: the file to write: (n, 768, 512) uint8, I420 frames in NumPy's format.
        report: is told which part of this is done, 0 to 1.
        fades: (frame, other, share) of what is written: so much of the other is laid over the frame, in this order.

    Raises:
        NotMediaError: a video is not what it was.
    """
    portrait, landmarks = _shut(face.picture, face.landmarks)
    closer = MouthCloser(portrait, *(p[:, :2].astype(np.float64) for p in (landmarks, face.landmarks, face.reference)))
    count = sum(len(take.indices) for take in takes)
    shape = (count, PORTRAIT_SIZE * 3 // 2, PORTRAIT_SIZE)
    written = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    transforms = np.empty((count, 2, 3), np.float32)
    done = 0
    for take in takes:
        wanted = set(take.indices)
        for index, (frame, found) in enumerate(zip(take.frames, take.points, strict=False)):
            if index not in wanted:
                continue
            wanted.remove(index)
            where = found[:, :2].astype(np.float64)
            matrix = closer.transform(where)
            transforms[done] = matrix
            written[done] = from_bgr(closer.close(take.framing.cut(frame), where, matrix))
            done += 1
            if done % 10 == 0:
                report(done / count)
        if wanted:
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
