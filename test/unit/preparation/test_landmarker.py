"""Faces are found, drawn ones too, and where they are in the picture."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.preparation.errors import LandmarkerError
from musetalk_service.preparation.landmarker import FaceLandmarker
from support.faces import place

Picture = NDArray[np.uint8]


def test_landmarks_lie_where_the_drawing_has_them(
    landmarker: FaceLandmarker, portrait: Picture, landmarks: NDArray[np.float32]
) -> None:
    (face,) = landmarker.find(portrait)
    assert face.landmarks.shape == (478, 3)
    eyes_mouth_chin = [468, 473, 61, 291, 13, 14, 152]
    away = np.hypot(*(face.landmarks[eyes_mouth_chin, :2] - landmarks[eyes_mouth_chin, :2]).T)
    assert away.max() < 6.0
    assert abs(face.yaw) < 3 and abs(face.roll) < 3


@pytest.mark.parametrize("angle", [-18, 12])
def test_roll_is_clockwise_in_the_picture(landmarker: FaceLandmarker, portrait: Picture, angle: float) -> None:
    (face,) = landmarker.find(place(portrait, 700, 700, 1.0, angle))
    assert face.roll == pytest.approx(angle, abs=2)


def test_depth_scales_with_the_picture(landmarker: FaceLandmarker, portrait: Picture) -> None:
    twice = np.asarray(cv2.resize(portrait, None, fx=2, fy=2), np.uint8)
    (small,), (large,) = landmarker.find(portrait), landmarker.find(twice)
    assert np.ptp(large.landmarks[:, 2]) == pytest.approx(2 * np.ptp(small.landmarks[:, 2]), rel=0.05)


def test_a_small_face_in_a_large_picture_is_found(landmarker: FaceLandmarker, portrait: Picture) -> None:
    large = place(portrait, 2600, 1800, 0.45)
    assert landmarker.find(large) == []
    (face,) = landmarker.search(large)
    assert face.landmarks[:, :2].mean(axis=0) == pytest.approx([1300, 910], abs=40)


def test_two_faces_come_the_larger_first(landmarker: FaceLandmarker, portrait: Picture) -> None:
    pair = np.hstack([place(portrait, 512, 512, 0.7), portrait])
    left, right = sorted(landmarker.search(pair), key=lambda face: face.box[0])
    assert landmarker.search(pair)[0].box == right.box and right.height > left.height


def test_nothing_is_found_in_nothing(landmarker: FaceLandmarker) -> None:
    assert landmarker.search(np.full((300, 300, 3), 128, np.uint8)) == []


def test_a_model_that_is_none_is_an_error(landmarker_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "model.task"
    other.write_bytes(b"nothing")
    with pytest.raises(LandmarkerError, match="does not take its model"):
        FaceLandmarker(other)


def test_without_mediapipe_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['mediapipe'] = None\n"
        "from pathlib import Path\n"
        "from musetalk_service.preparation.errors import LandmarkerError\n"
        "from musetalk_service.preparation.landmarker import FaceLandmarker\n"
        "try: FaceLandmarker(Path('none'))\n"
        "except LandmarkerError as error: print(error.code, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.startswith("unavailable MediaPipe cannot be loaded")
    assert "make avatars" in said.stdout and "--no-deps" in said.stdout


def test_the_server_does_not_load_mediapipe() -> None:
    program = "import sys, musetalk_service.server, musetalk_service.host; print('mediapipe' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == "False"
