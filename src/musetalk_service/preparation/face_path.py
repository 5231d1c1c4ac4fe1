"""Where a face is in every frame of a video: landmarks found, checked, and smoothed over time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.preparation import Crop
from musetalk_service.preparation.errors import FaceLostError, NoFaceError, SceneCutError
from musetalk_service.preparation.geometry import Framing, apply, frame_face
from musetalk_service.preparation.landmarker import FaceLandmarker, FoundFace
from musetalk_service.preparation.photo import PORTRAIT_SIZE, PhotoLimits, find_face_of, frame_crop

Picture = NDArray[np.uint8]

_WINDOW: Final = 7
_ORDER: Final = 2
"""Savitzky-Golay: parabolas through seven frames keep a syllable's movement and take half of the noise."""
_LONGEST_GAP: Final = 5
"""Frames in which a face may be lost, for a blur or a hand; the landmarks are filled in."""
_JUMP: Final = 0.5
"""Movement from frame to frame, in eye distances, that no head makes."""
_OTHER_PICTURE: Final = 45.0
"""Mean difference in grey levels of two frames that show different scenes."""
_THUMBNAIL: Final = (64, 64)
_ROOM: Final = 0.02
"""Part of the frame's side that is kept free around the face's path."""
_WANDERS: Final = "the face moves too far across the picture"
_SHARES: Final = (0.48, 0.44, 0.40, 0.36, 0.32)
"""Heights of the face in the frame, the largest first; a face that moves about gets more room."""


@dataclass(frozen=True)
class FacePath:
    """Landmarks of a face through a video."""

    points: NDArray[np.float32]
    """(n, 478, 3) pixels of the video's frames, smoothed."""
    width: int
    height: int

    def frame(self, crop: Crop | None = None) -> Framing:
        """A square that holds still around the whole path, the face upright in it; the one that was chosen, if any.

        Raises:
            FaceLostError: the face moves about too much for one square.
            CropError: the chosen square is no portrait.
        """
        middle = np.median(self.points, axis=0).astype(np.float32)
        across = self.points[:, 263, :2] - self.points[:, 33, :2]
        angle = float(np.degrees(np.median(np.arctan2(across[:, 1], across[:, 0]))))
        if crop is not None:
            framing = frame_crop(crop, middle, self.width, self.height, angle)
            self.check_room(framing)
            return framing
        for share in _SHARES:
            framing = frame_face(middle, self.width, self.height, PORTRAIT_SIZE, angle=angle, share=share)
            if self._has_room(framing):
                return framing
        raise FaceLostError(_WANDERS)

    def within(self, framing: Framing) -> NDArray[np.float32]:
        """(n, 478, 3) pixels of a square."""
        return np.array([apply(framing.matrix, found) for found in self.points])

    def check_room(self, framing: Framing) -> None:
        """Raises :class:`FaceLostError` where the path leaves a square."""
        if not self._has_room(framing):
            raise FaceLostError(_WANDERS)

    def _has_room(self, framing: Framing) -> bool:
        flat = self.points[:, :, :2].reshape(-1, 2).astype(np.float64)
        seen = flat @ framing.matrix[:, :2].T + framing.matrix[:, 2]
        return bool(seen.min() > _ROOM * framing.size and seen.max() < (1 - _ROOM) * framing.size)


def follow_face(
    frames: Iterable[Picture],
    landmarker: FaceLandmarker,
    limits: PhotoLimits,
    done: Callable[[int], None],
    crop: Crop | None = None,
) -> FacePath:
    """Find the face of each frame.

    Args:
        frames: (h, w, 3) BGR each, at 25 fps.
        landmarker: finds faces.
        limits: for the first frame, as for a photo.
        done: is told the number of frames that are done.
        crop: where the face is in the first frame; None: anywhere.

    Raises:
        PreparationError: no face, several, too small or cut in the first frame; lost, or another scene later.
    """
    finds: list[NDArray[np.float32] | None] = []
    before: NDArray[np.float32] | None = None
    thumbnail: Picture | None = None
    width = height = 0
    for picture in frames:
        height, width = picture.shape[:2]
        small = np.asarray(cv2.resize(picture, _THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
        found = _same_face(landmarker, picture, before, limits, crop)
        _check_scene(small, thumbnail, found, before, len(finds))
        finds.append(found)
        before, thumbnail = found if found is not None else before, small
        if len(finds) > _LONGEST_GAP and all(find is None for find in finds[-_LONGEST_GAP - 1 :]):
            raise FaceLostError(f"the face is lost at {len(finds) / 25:.1f} s")
        done(len(finds))
    if not finds:
        raise NoFaceError("the video has no frames")
    return FacePath(_smooth(_filled(finds)), width, height)


def _same_face(
    landmarker: FaceLandmarker,
    picture: Picture,
    before: NDArray[np.float32] | None,
    limits: PhotoLimits,
    crop: Crop | None,
) -> NDArray[np.float32] | None:
    height, width = picture.shape[:2]
    if before is None:
        return find_face_of(picture, landmarker, limits, crop)
    # Looking at the face's surroundings only is faster, and finds small faces too.
    centre, reach = before[:, :2].mean(axis=0), 1.2 * float(np.ptp(before[:, 1]))
    left, top = np.maximum(centre - reach, 0).astype(int).tolist()
    right, bottom = np.minimum(centre + reach, (width, height)).astype(int).tolist()
    faces = landmarker.find(np.ascontiguousarray(picture[top:bottom, left:right]))
    if not faces:
        faces, left, top = landmarker.find(picture), 0, 0
    if not faces:
        return None
    corner = np.array([left, top, 0], np.float32)

    def away(face: FoundFace) -> float:
        return float(np.abs(face.landmarks + corner - before).mean())

    nearest: NDArray[np.float32] = min(faces, key=away).landmarks + corner
    return nearest


def _check_scene(
    small: Picture,
    thumbnail: Picture | None,
    found: NDArray[np.float32] | None,
    before: NDArray[np.float32] | None,
    frame: int,
) -> None:
    if thumbnail is None:
        return
    other = float(np.abs(small.astype(np.int16) - thumbnail).mean()) > _OTHER_PICTURE
    if found is not None and before is not None:
        eyes = float(np.hypot(*(before[468, :2] - before[473, :2])))
        other = other or float(np.hypot(*(found - before)[:, :2].mean(axis=0))) > _JUMP * eyes
    if other:
        raise SceneCutError(f"the picture jumps at {frame / 25:.1f} s")


def _filled(finds: list[NDArray[np.float32] | None]) -> NDArray[np.float64]:
    """Missing landmarks from those before and after, (n, 478, 3)."""
    known = np.array([i for i, find in enumerate(finds) if find is not None])
    points = np.array([finds[i] for i in known], np.float64)
    at = np.arange(len(finds))
    right = np.clip(np.searchsorted(known, at), 0, len(known) - 1)
    left = np.clip(right - (known[right] > at), 0, len(known) - 1)
    span = np.maximum(known[right] - known[left], 1)
    share = np.clip((at - known[left]) / span, 0.0, 1.0)[:, None, None]
    return np.asarray(points[left] * (1.0 - share) + points[right] * share)


def savitzky_golay(window: int, order: int) -> NDArray[np.float64]:
    """Weights (window,) that give a least-squares polynomial's value in the middle (Savitzky and Golay 1964)."""
    at = np.arange(window) - window // 2
    return np.asarray(np.linalg.pinv(np.vander(at, order + 1, increasing=True).astype(np.float64))[0])


def _smooth(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Points (n, 478, 3) over time; the ends are continued by mirroring them about the end values."""
    half = _WINDOW // 2
    if len(points) <= half:
        return points.astype(np.float32)
    head = 2 * points[:1] - points[half:0:-1]
    tail = 2 * points[-1:] - points[-2 : -half - 2 : -1]
    longer = np.concatenate([head, points, tail])
    weights = savitzky_golay(_WINDOW, _ORDER)
    total = np.zeros_like(points)
    for i, weight in enumerate(weights):
        total += weight * longer[i : i + len(points)]
    return total.astype(np.float32)
