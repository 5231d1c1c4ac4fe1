"""A mouth on the frames of a video: only where the mouth is, wherever the head has gone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.engines.face.video_face import AffineShift, VideoFace
from musetalk_service.models.face import NEUTRAL, REST, Mouth
from musetalk_service.utils.i420 import from_bgr, planes_of, to_bgr

OPEN = Mouth(jaw=0.8, teeth_upper=0.6, upper_raise=0.2)
STILL = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
AVATAR = load_default_avatar()


@pytest.fixture(scope="module")
def renderer() -> FaceRenderer:
    return FaceRenderer(AVATAR.portrait, AVATAR.landmarks)


@pytest.fixture(scope="module")
def face(renderer: FaceRenderer) -> VideoFace:
    """Three frames: the portrait, the portrait moved by 6 to the right and 4 up, and nodding."""
    moved = np.roll(AVATAR.portrait, (-4, 6), axis=(0, 1))
    matrices = np.array([STILL, [[1, 0, 6], [0, 1, -4]], [[1.02, 0.05, -12], [-0.05, 0.98, 12]]], np.float32)
    frames = np.array([from_bgr(AVATAR.portrait), from_bgr(moved), from_bgr(AVATAR.portrait)])
    return VideoFace(renderer, frames, matrices)


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.abs(planes_of(a).y.astype(float) - planes_of(b).y)


def test_at_rest_the_frames_come_back_bit_for_bit(face: VideoFace) -> None:
    np.testing.assert_array_equal(face.draw(0, REST), from_bgr(AVATAR.portrait))
    assert len(face) == 3 and face.size == (512, 512)


def test_the_same_mouth_gives_the_same_bytes(face: VideoFace) -> None:
    np.testing.assert_array_equal(face.draw(2, OPEN), face.draw(2, OPEN))


def test_on_a_still_head_it_is_the_portrait_that_speaks(face: VideoFace, renderer: FaceRenderer) -> None:
    spoken = _difference(face.draw(0, OPEN), renderer.render(NEUTRAL, OPEN))
    assert spoken.mean() < 0.3 and np.quantile(spoken, 0.999) < 20


def test_nothing_changes_above_the_nose_or_beside_the_face(face: VideoFace) -> None:
    changed = _difference(face.draw(0, OPEN), face.draw(0, REST)) > 0
    rows, columns = np.nonzero(changed)
    points = AVATAR.landmarks
    assert rows.min() > points[168, 1] and rows.max() < 500
    assert columns.min() > points[234, 0] - 20 and columns.max() < points[454, 0] + 20


def test_the_mouth_goes_with_the_head(face: VideoFace) -> None:
    still, moved = to_bgr(face.draw(0, OPEN)), to_bgr(face.draw(1, OPEN))
    back = np.roll(moved, (4, -6), axis=(0, 1))
    x, y = AVATAR.landmarks[13, :2].astype(int)
    area = (slice(y - 50, y + 70), slice(x - 70, x + 70))
    assert np.abs(back[area].astype(int) - still[area]).mean() < 1.5


def test_an_affine_shift_undoes_itself() -> None:
    shift = AffineShift(np.array([[1.05, 0.1, 7], [-0.08, 0.97, -3]], np.float64))
    points = np.array([[100.0, 200.0], [300.0, 50.0]])
    moved = shift.move(points)
    away = shift.at(moved.T[..., None].astype(np.float32))[..., 0].T
    np.testing.assert_allclose(moved - away, points, atol=1e-3)


@pytest.mark.parametrize(
    ("frames", "matrices", "complaint"),
    [
        (np.zeros((0, 768, 512), np.uint8), np.zeros((0, 2, 3), np.float32), "frames must be"),
        (np.zeros((2, 768, 512), np.float32), np.array([STILL] * 2), "frames must be"),
        (np.zeros((2, 768, 512), np.uint8), np.array([STILL]), "2 frames need"),
        (np.zeros((1, 768, 512), np.uint8), np.full((1, 2, 3), np.nan, np.float32), "finite"),
        (np.zeros((1, 768, 512), np.uint8), np.array([STILL * 3]), "stretches the face"),
        (np.zeros((1, 767, 512), np.uint8), np.array([STILL]), "I420"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    renderer: FaceRenderer, frames: NDArray[np.uint8], matrices: NDArray[np.float32], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        VideoFace(renderer, frames, matrices)
