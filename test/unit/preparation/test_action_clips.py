"""Videos for actions go with the avatar's face, or are refused with a reason that names the clip."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.preparation.action_clips import ActionBase, follow_action
from musetalk_service.preparation.base_video import Take
from musetalk_service.preparation.errors import FaceDiffersError, NoFaceError, NotMediaError, TooLongError
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.photo import PhotoLimits
from musetalk_service.preparation.video_file import VideoLimits
from support.faces import place
from support.films import write_film

Picture = NDArray[np.uint8]
HALF = np.array([[0.5, 0, 0], [0, 0.5, 0]])
"""From pictures of 1024x1024 pixels to the square."""


def _follow(file: Path, base: ActionBase, landmarker: FaceLandmarker, seconds: float = 10.0) -> Take:
    limits = VideoLimits(max_seconds=seconds), PhotoLimits()
    return follow_action("action_1", file, base, landmarker, limits, lambda share: None)


def _film(path: Path, portrait: Picture, scale: float, side: int = 1024, shift: int = 0) -> Path:
    return write_film(path, [np.roll(place(portrait, side, side, scale), shift, axis=1)] * 52)


@pytest.mark.parametrize("side", [1024, 512])
def test_the_same_camera_gives_the_same_square(
    tmp_path: Path, landmarker: FaceLandmarker, portrait: Picture, landmarks: NDArray[np.float32], side: int
) -> None:
    film = _film(tmp_path / "action.mp4", portrait, 2.0 * side / 1024, side)
    take = _follow(film, ActionBase(landmarks, HALF, 1024), landmarker)
    assert take.indices == list(range(52))
    assert np.abs(take.points[:, :468, :2] - landmarks[:468, :2]).mean() < 3
    assert np.abs(take.framing.cut(next(iter(take.frames))).astype(int) - portrait).mean() < 6


def test_it_is_fitted_to_a_photo(
    tmp_path: Path, landmarker: FaceLandmarker, portrait: Picture, landmarks: NDArray[np.float32]
) -> None:
    film = _film(tmp_path / "action.mp4", portrait, 1.3, 800, 60)
    take = _follow(film, ActionBase(landmarks, None, 512), landmarker)
    assert np.abs(take.points[:, [33, 263, 152], :2] - landmarks[[33, 263, 152], :2]).mean() < 3


@pytest.mark.parametrize(
    ("scale", "shift", "reason"), [(2.8, 0, "times larger"), (1.4, 0, "times smaller"), (2.0, 250, "away from")]
)
def test_another_size_or_place_is_refused(
    tmp_path: Path,
    landmarker: FaceLandmarker,
    portrait: Picture,
    landmarks: NDArray[np.float32],
    scale: float,
    shift: int,
    reason: str,
) -> None:
    film = _film(tmp_path / "action.mp4", portrait, scale, shift=shift)
    with pytest.raises(FaceDiffersError, match=f"^action_1: the face is .* {reason}"):
        _follow(film, ActionBase(landmarks, HALF, 1024), landmarker)


def test_too_little_around_the_face_for_a_photos_square_is_refused(
    tmp_path: Path, landmarker: FaceLandmarker, portrait: Picture, landmarks: NDArray[np.float32]
) -> None:
    film = write_film(tmp_path / "near.mp4", [np.ascontiguousarray(portrait[60:420, 100:420])] * 52)
    with pytest.raises(FaceDiffersError, match="action_1: the face is too near"):
        _follow(film, ActionBase(landmarks, None, 512), landmarker)


def test_what_cannot_be_an_action_is_refused(
    tmp_path: Path, landmarker: FaceLandmarker, portrait: Picture, landmarks: NDArray[np.float32]
) -> None:
    base = ActionBase(landmarks, None, 512)
    picture = tmp_path / "picture"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(NotMediaError, match="action_1: it is a picture"):
        _follow(picture, base, landmarker)
    blank = write_film(tmp_path / "blank.mp4", [np.full((200, 300, 3), 80, np.uint8)] * 52)
    with pytest.raises(NoFaceError, match="action_1: no face"):
        _follow(blank, base, landmarker)
    with pytest.raises(TooLongError, match="action_1: "):
        _follow(write_film(tmp_path / "long.mp4", [portrait] * 90), base, landmarker, seconds=2.0)
