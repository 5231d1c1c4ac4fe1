import cv2
import numpy as np
import pytest

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.face_crop import crop_box, cut_face, face_box, jaw_mask, to_68
from musetalk_service.models.media import FrameSize

SIZE = FrameSize(512, 512)


@pytest.fixture(scope="module")
def avatar():
    return load_default_avatar()


def test_68_points_are_where_300_w_has_them(avatar):
    points = to_68(avatar.landmarks)
    assert points.shape == (68, 2)
    jaw, nose, left_eye, lips = points[:17], points[27:36], points[42:48], points[48:]
    assert jaw[:, 0].argmin() < 3 and jaw[:, 0].argmax() > 13 and jaw[8, 1] == jaw[:, 1].max()
    assert (np.diff(jaw[:, 0]) > 0)[2:14].all()
    assert np.ptp(np.diff(nose[:4, 1])) < 1e-3  # evenly down the bridge
    assert points[36:42, 0].max() < nose[0, 0] < left_eye[:, 0].min()
    assert lips[0, 0] == lips[:, 0].min() and lips[6, 0] == lips[:, 0].max()
    assert lips[12 + 2, 1] <= lips[12 + 6, 1]  # inner upper, inner lower lip


def test_box_has_the_bridge_of_the_nose_in_its_middle(avatar):
    points = to_68(avatar.landmarks)
    box = face_box(points, SIZE, margin=0)
    middle = int(points[29, 1])
    assert box.bottom == int(points[:, 1].max())
    assert middle - box.top == box.bottom - middle
    assert (box.left, box.right) == (int(points[:, 0].min()), int(points[:, 0].max()))
    assert face_box(points, SIZE) == box._replace(bottom=box.bottom + 10)


def test_margin_ends_with_the_picture_and_the_top_begins_with_it():
    points = np.full((68, 2), 100.0, np.float32)
    points[8], points[0], points[29] = (150, 505), (50, 100), (100, 200)
    assert face_box(points, SIZE) == Box(50, 0, 150, 512)


@pytest.mark.parametrize("outside", [(-3, 200), (600, 200)])
def test_faces_beyond_the_picture_are_refused(outside):
    points = np.full((68, 2), 100.0, np.float32)
    points[8], points[0] = (150, 300), outside
    with pytest.raises(ValueError, match="512x512"):
        face_box(points, SIZE)


@pytest.mark.parametrize(
    ("face", "crop"), [((100, 100, 201, 301), (0, 50, 300, 350)), ((0, 0, 99, 101), (-26, -25, 124, 125))]
)
def test_crop_is_the_published_square(face, crop):
    assert crop_box(Box(*face)) == Box(*crop)


def test_mask_is_the_soft_lower_face(avatar):
    face = face_box(to_68(avatar.landmarks), SIZE)
    crop = crop_box(face)
    mask = jaw_mask(avatar.landmarks, face)

    def at(point: int) -> int:
        x, y = avatar.landmarks[point, :2].astype(int)
        return int(mask[y - crop.top, x - crop.left])

    assert mask.shape == (crop.bottom - crop.top,) * 2
    assert at(13) > 250 and at(14) > 250 and at(61) > 200 and at(291) > 200  # lips
    assert at(1) < 100 and at(168) == 0 and at(159) == 0  # nose tip, between the eyes, lid
    assert at(234) < 30 and at(454) < 30  # ears
    assert not mask[: face.top - crop.top].any()
    steps = np.abs(np.diff(mask.astype(int), axis=0))
    assert steps.max() < 40  # soft


def test_face_is_enlarged_with_lanczos(avatar):
    face = face_box(to_68(avatar.landmarks), SIZE)
    whole = avatar.portrait[face.top : face.bottom, face.left : face.right]
    expected = cv2.resize(whole, (256, 256), interpolation=cv2.INTER_LANCZOS4)
    np.testing.assert_array_equal(cut_face(avatar.portrait, face), expected)
