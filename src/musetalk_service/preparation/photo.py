"""A photo becomes a portrait: one face, upright, of a fixed size in a square picture, with exact landmarks."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.landmarks import LOWER_INNER, LOWER_OUTER, UPPER_INNER, UPPER_OUTER
from musetalk_service.models.preparation import Crop
from musetalk_service.preparation.errors import (
    CropError,
    FaceCutError,
    FaceTooSmallError,
    MouthHiddenError,
    NoFaceError,
    SeveralFacesError,
    TiltedError,
    TurnedAwayError,
)
from musetalk_service.preparation.geometry import (
    Framing,
    Matrix,
    Picture,
    apply,
    eye_line_angle,
    frame_face,
    frame_square,
    invert,
    scale_of,
)
from musetalk_service.preparation.landmarker import FaceLandmarker, FoundFace

PORTRAIT_SIZE: Final = 512
LARGE_SIZE: Final = 1024
_LARGE_FROM: Final = 0.85
"""A large portrait is kept when the photo has this many of its pixels a side."""

_OTHER_FACE: Final = 1 / 3
"""A face smaller than this share of the main one is somebody in the background."""
MAX_YAW: Final = 20.0
MAX_PITCH: Final = 32.0
"""Of the pose that MediaPipe reports, in which faces that look ahead have 5 to 20 degrees."""
MAX_ROLL: Final = 20.0
_MAX_OUTSIDE: Final = 0.04
"""Part of the face's height that may lie outside the picture: hair, where landmarks are guessed."""
_CROP_SHARES: Final = (0.28, 0.66)
"""Heights of the face in a square that its owner chooses: those of the automatic choice, and a little more."""
_LOOKS: Final = ((1.0, 0.0), (0.93, 0.0), (1.07, 0.0), (1.0, 4.0), (1.0, -4.0), (0.9, 8.0), (1.1, -8.0))
"""Scales and angles under which the portrait is looked at: their mean is a better landmark than any of them."""
_LIPS: Final = sorted({*UPPER_OUTER, *LOWER_OUTER, *UPPER_INNER, *LOWER_INNER})
_UNSURE: Final = 0.0085
"""Standard deviation of lip landmarks between looks, in eye distances, from which the mouth may be hidden: that of
seen lips is 0.0036 to 0.0072, that of lips behind a mask, a hand or a microphone 0.0095 to 0.025."""
_MORE_UNSURE: Final = 1.3
"""A hidden mouth's landmarks also spread this much more than the whole face's, which noise and blur do not cause."""


@dataclass(frozen=True)
class PhotoLimits:
    """What is accepted."""

    min_eye_distance: float = 40.0
    """Pixels between the irises in the photo."""
    max_pixels: int = 50_000_000


@dataclass(frozen=True)
class Portrait:
    """An upright, frontal face in a square picture."""

    picture: Picture
    """(512, 512, 3) BGR."""
    landmarks: NDArray[np.float32]
    """(478, 3) pixels of `picture`."""
    matrix: Matrix
    """(2, 3) from the photo's pixels to those of `picture`."""
    large: Picture | None
    """(1024, 1024, 3) of the same square, where the photo has the pixels for it."""


def make_portrait(
    photo: Picture, landmarker: FaceLandmarker, limits: PhotoLimits, crop: Crop | None = None
) -> Portrait:
    """Check a photo and normalise it.

    Args:
        photo: (h, w, 3) BGR.
        landmarker: finds the face.
        limits: what is accepted.
        crop: the square that becomes the portrait; None: it is chosen around the face.

    Raises:
        PreparationError: one of its kinds, for a photo from which no avatar can be made.
    """
    height, width = photo.shape[:2]
    landmarks = find_face_of(photo, landmarker, limits, crop)
    angle = eye_line_angle(landmarks)
    if crop is None:
        framing = frame_face(landmarks, width, height, PORTRAIT_SIZE, angle=angle)
    else:
        framing = frame_crop(crop, landmarks, width, height, angle)
    picture = framing.cut(photo)
    landmarks = look_closely(picture, landmarker)
    return Portrait(picture, landmarks, framing.matrix, cut_large(photo, framing))


def find_face_of(
    picture: Picture, landmarker: FaceLandmarker, limits: PhotoLimits, crop: Crop | None
) -> NDArray[np.float32]:
    """(478, 3) landmarks in pixels of the picture's one face of use, or of the one within a square of it.

    Raises:
        PreparationError: one of its kinds, for a picture without such a face.
    """
    height, width = picture.shape[:2]
    if crop is None:
        return choose_face(landmarker.search(picture), width, height, limits).landmarks
    left, top, side = _square(crop, width, height)
    part = np.ascontiguousarray(picture[top : top + side, left : left + side])
    faces = landmarker.search(part)
    if not faces:
        raise CropError("no face is found in the square")
    try:
        face = choose_face(faces, side, side, limits)
    except FaceCutError:
        raise CropError("a part of the face is outside the square") from None
    return face.landmarks + np.array([left, top, 0], np.float32)


def frame_crop(crop: Crop, landmarks: NDArray[np.float32], width: int, height: int, angle: float) -> Framing:
    """The square that was chosen, with the face upright. Raises :class:`CropError` for what is no portrait."""
    left, top, side = _square(crop, width, height)
    share = float(np.hypot(*(landmarks[10, :2] - landmarks[152, :2]))) / side
    least, most = _CROP_SHARES
    if not least <= share <= most:
        raise CropError(f"the face takes {share:.0%} of the square's height, {least:.0%} to {most:.0%} are allowed")
    return frame_square(left, top, side, PORTRAIT_SIZE, angle=angle)


def _square(crop: Crop, width: int, height: int) -> tuple[int, int, int]:
    square = crop.pixels(width, height)
    if square is None:
        raise CropError("a part of the square lies outside the picture")
    return square


def choose_face(faces: list[FoundFace], width: int, height: int, limits: PhotoLimits) -> FoundFace:
    """The face of a picture, if it has exactly one of use: large enough, whole, and not tilted too far."""
    if not faces:
        raise NoFaceError("no face is found")
    face, *others = faces
    if any(other.height > _OTHER_FACE * face.height for other in others):
        raise SeveralFacesError(f"{len(faces)} faces are found")
    if face.eye_distance < limits.min_eye_distance:
        raise FaceTooSmallError(
            f"the eyes are {face.eye_distance:.0f} pixels apart, {limits.min_eye_distance:.0f} are needed"
        )
    left, top, right, bottom = face.box
    if max(-left, -top, right - width, bottom - height) > _MAX_OUTSIDE * face.height:
        raise FaceCutError("a part of the face is outside the picture")
    roll = eye_line_angle(face.landmarks)
    if abs(roll) > MAX_ROLL:
        raise TiltedError(f"the head leans by {abs(roll):.0f} degrees, at most {MAX_ROLL:.0f} can be corrected")
    return face


def look_closely(picture: Picture, landmarker: FaceLandmarker) -> NDArray[np.float32]:
    """Exact landmarks of a square picture: the median of several looks at it.

    Returns:
        (478, 3) pixels.

    Raises:
        NoFaceError, TurnedAwayError, MouthHiddenError: nothing that can be made to speak.
    """
    size = picture.shape[0]
    finds: list[NDArray[np.float32]] = []
    poses = []
    for scale, angle in _LOOKS:
        matrix: Matrix = np.asarray(cv2.getRotationMatrix2D((size / 2, size / 2), angle, scale), np.float64)
        look = np.asarray(cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        faces = landmarker.find(look)
        if faces:
            finds.append(apply(invert(matrix), faces[0].landmarks))
            poses.append((faces[0].yaw, faces[0].pitch))
    if len(finds) <= len(_LOOKS) // 2:
        raise NoFaceError("the face is not clearly seen")
    yaw, pitch = np.median(poses, axis=0)
    if abs(yaw) > MAX_YAW:
        raise TurnedAwayError(f"the face is turned to the side by {abs(yaw):.0f} degrees, {MAX_YAW:.0f} are allowed")
    if abs(pitch) > MAX_PITCH:
        raise TurnedAwayError(f"the face looks {'down' if pitch > 0 else 'up'} by {abs(pitch):.0f} degrees")
    looks = np.array(finds)
    landmarks = np.median(looks, axis=0).astype(np.float32)
    spread = np.sqrt(looks[:, :, :2].var(axis=0).sum(axis=-1))
    spread /= float(np.hypot(*(landmarks[468, :2] - landmarks[473, :2])))
    lips, face = float(spread[_LIPS].mean()), float(spread[:468].mean())
    if lips > _UNSURE and lips > _MORE_UNSURE * face:
        raise MouthHiddenError("the mouth cannot be seen well")
    return landmarks


def cut_large(picture: Picture, framing: Framing) -> Picture | None:
    """The same square with more pixels, (1024, 1024, 3), where the picture has as many; otherwise None."""
    if framing.size / scale_of(framing.matrix) < _LARGE_FROM * LARGE_SIZE:
        return None
    factor = LARGE_SIZE / framing.size
    matrix = framing.matrix * factor
    matrix[:, 2] += 0.5 * factor - 0.5  # pixel centres stay where they are
    return Framing(matrix, LARGE_SIZE).cut(picture)
