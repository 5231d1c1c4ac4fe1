"""A photo becomes a portrait, or its owner is told why not."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.landmarks import Face
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.face import NEUTRAL, REST
from musetalk_service.models.preparation import Crop
from musetalk_service.preparation.errors import (
    CropError,
    FaceCutError,
    FaceTooSmallError,
    MouthHiddenError,
    NoFaceError,
    PreparationError,
    SeveralFacesError,
    TiltedError,
    TurnedAwayError,
)
from musetalk_service.preparation.geometry import apply, eye_line_angle
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.photo import PhotoLimits, make_portrait
from musetalk_service.utils.i420 import from_bgr
from support.faces import place, turn_away

Picture = NDArray[np.uint8]
LIMITS = PhotoLimits()


@pytest.mark.parametrize(
    ("width", "height", "scale", "angle"),
    [(512, 512, 1.0, 0.0), (900, 700, 1.2, 17.0), (640, 960, 0.8, -19.0), (1500, 1500, 0.9, 5.0), (480, 480, 1.3, 0.0)],
)
def test_any_pose_in_the_plane_becomes_the_same_portrait(
    landmarker: FaceLandmarker, portrait: Picture, width: int, height: int, scale: float, angle: float
) -> None:
    made = make_portrait(place(portrait, width, height, scale, angle), landmarker, LIMITS)
    assert made.picture.shape == (512, 512, 3) and made.picture.dtype == np.uint8
    face = Face.measure(made.landmarks)
    assert abs(eye_line_angle(made.landmarks)) < 1.0
    assert 0.46 < 2 * face.half_height / 512 < 0.62
    assert 180 < face.points[1, 0] < 330
    neutral = FaceRenderer(made.picture, made.landmarks).render(NEUTRAL, REST)
    np.testing.assert_array_equal(neutral, from_bgr(made.picture))


def test_the_transform_takes_the_photo_to_the_portrait(
    landmarker: FaceLandmarker, portrait: Picture, landmarks: NDArray[np.float32]
) -> None:
    made = make_portrait(portrait, landmarker, LIMITS)
    there = apply(made.matrix, landmarks)
    assert np.abs(there[[468, 473, 61, 291, 152], :2] - made.landmarks[[468, 473, 61, 291, 152], :2]).max() < 7.0


def test_a_photo_with_pixels_to_spare_keeps_a_large_portrait(landmarker: FaceLandmarker, portrait: Picture) -> None:
    assert make_portrait(portrait, landmarker, LIMITS).large is None
    made = make_portrait(place(portrait, 1200, 1200, 2.0), landmarker, LIMITS)
    assert made.large is not None and made.large.shape == (1024, 1024, 3)
    smaller = np.asarray(cv2.resize(made.large, (512, 512), interpolation=cv2.INTER_AREA), np.uint8)
    assert np.abs(smaller.astype(int) - made.picture).mean() < 2.0


def test_the_same_photo_gives_the_same_bytes(landmarker: FaceLandmarker, portrait: Picture) -> None:
    first, second = (make_portrait(portrait, landmarker, LIMITS) for _ in range(2))
    np.testing.assert_array_equal(first.picture, second.picture)
    np.testing.assert_array_equal(first.landmarks, second.landmarks)


def _covered(portrait: Picture, landmarks: NDArray[np.float32]) -> Picture:
    """With a mask over mouth and nose."""
    masked = portrait.copy()
    outline = landmarks[[4, 50, 132, 172, 150, 148, 152, 377, 379, 397, 361, 280], :2].astype(np.int32)
    cv2.fillPoly(masked, [outline], (200, 190, 170))
    return masked


def _refusals(portrait: Picture, landmarks: NDArray[np.float32]) -> dict[type[PreparationError], Picture]:
    return {
        NoFaceError: np.full((400, 300, 3), 128, np.uint8),
        SeveralFacesError: np.hstack([portrait, place(portrait, 512, 512, 0.8)]),
        FaceTooSmallError: place(portrait, 600, 600, 0.45),
        FaceCutError: portrait[:350],
        TiltedError: place(portrait, 700, 700, 1.0, 32.0),
        MouthHiddenError: _covered(portrait, landmarks),
        TurnedAwayError: turn_away(portrait, middle=256),
    }


@pytest.mark.parametrize(
    "kind",
    [NoFaceError, SeveralFacesError, FaceTooSmallError, FaceCutError, TiltedError, MouthHiddenError, TurnedAwayError],
)
def test_what_cannot_become_a_portrait_is_refused(
    landmarker: FaceLandmarker, portrait: Picture, landmarks: NDArray[np.float32], kind: type[PreparationError]
) -> None:
    with pytest.raises(kind) as caught:
        make_portrait(_refusals(portrait, landmarks)[kind], landmarker, LIMITS)
    assert caught.value.code and caught.value.advice in str(caught.value)


def test_somebody_small_in_the_background_is_no_second_face(landmarker: FaceLandmarker, portrait: Picture) -> None:
    crowd = np.hstack([place(portrait, 900, 900, 1.8), place(portrait, 300, 900, 0.45)])
    assert len(landmarker.search(crowd)) >= 1
    make_portrait(crowd, landmarker, LIMITS)


def test_the_limits_are_those_given(landmarker: FaceLandmarker, portrait: Picture) -> None:
    with pytest.raises(FaceTooSmallError, match=r"the eyes are \d+ pixels apart, 200 are needed"):
        make_portrait(portrait, landmarker, PhotoLimits(min_eye_distance=200))


# --- a square of one's own ---


def _square(left: int, top: int, side: int, width: int, height: int) -> Crop:
    return Crop(x=left / width, y=top / height, size=side / min(width, height))


def test_the_chosen_square_becomes_the_portrait(landmarker: FaceLandmarker, portrait: Picture) -> None:
    photo = place(portrait, 1000, 800, 1.2)
    crop = _square(200, 90, 600, 1000, 800)
    made = make_portrait(photo, landmarker, PhotoLimits(), crop)
    expected = cv2.resize(photo[90:690, 200:800], (512, 512), interpolation=cv2.INTER_AREA)
    assert np.abs(made.picture.astype(int) - expected).mean() < 5
    automatic = make_portrait(photo, landmarker, PhotoLimits())
    assert np.abs(made.landmarks[:, :2] - automatic.landmarks[:, :2]).mean() > 5


def test_the_square_says_which_of_two_faces(landmarker: FaceLandmarker, portrait: Picture) -> None:
    photo = np.hstack([portrait, portrait])
    with pytest.raises(SeveralFacesError):
        make_portrait(photo, landmarker, PhotoLimits())
    made = make_portrait(photo, landmarker, PhotoLimits(), _square(512, 0, 512, 1024, 512))
    assert np.abs(made.picture.astype(int) - portrait).mean() < 5


def test_the_face_in_it_is_made_upright(landmarker: FaceLandmarker, portrait: Picture) -> None:
    made = make_portrait(place(portrait, 700, 700, 1.0, 8.0), landmarker, PhotoLimits(), Crop(x=0.1, y=0.1, size=0.8))
    assert abs(eye_line_angle(made.landmarks)) < 1.5


@pytest.mark.parametrize(
    ("square", "reason"),
    [
        ((0, 0, 1500), "face takes .* of the square"),
        ((1300, 900, 400), "outside the picture"),
        ((0, 0, 300), "no face"),
        ((600, 700, 400), "part of the face is outside"),
    ],
)
def test_squares_that_are_no_portrait_are_refused(
    landmarker: FaceLandmarker, portrait: Picture, square: tuple[int, int, int], reason: str
) -> None:
    photo = place(portrait, 1600, 1500, 1.0)
    crop = Crop(x=square[0] / 1600, y=square[1] / 1500, size=square[2] / 1500)
    with pytest.raises(CropError, match=reason):
        make_portrait(photo, landmarker, PhotoLimits(), crop)
