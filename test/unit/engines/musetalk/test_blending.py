import cv2
import numpy as np
import pytest

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.blending import Overlay, composite
from musetalk_service.engines.musetalk.face_crop import crop_box, face_box, jaw_mask, to_68
from musetalk_service.models.face import REST, Pose
from musetalk_service.models.media import BASE_SIZE
from musetalk_service.utils.i420 import from_bgr, to_bgr

RNG = np.random.default_rng(11)
PATCH = RNG.integers(0, 256, (256, 256, 3), np.uint8)
SMOOTH = cv2.GaussianBlur(PATCH, (0, 0), 12)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def test_composite_is_pillows():
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    below, above, mask = noise(99, 77, 3), noise(99, 77, 3), noise(99, 77)
    theirs = image.composite(image.fromarray(above), image.fromarray(below), image.fromarray(mask))
    np.testing.assert_array_equal(composite(below, above, mask[..., None]), np.asarray(theirs))


@pytest.mark.parametrize("face", [Box(40, 30, 101, 95), Box(0, 2, 60, 90), Box(90, 60, 128, 128)])
def test_bgr_is_painted_as_published(face):
    """Paste into the crop, then the crop over the picture through the mask; off-frame crops too."""
    picture = noise(128, 128, 3)
    crop = crop_box(face)
    side = crop.right - crop.left
    mask = np.zeros((side, side), np.uint8)
    inside = face.within(crop)
    mask[inside.pixels] = noise(inside.bottom - inside.top, inside.right - inside.left)
    expected = picture.copy()
    scaled = cv2.resize(PATCH, (face.right - face.left, face.bottom - face.top))
    for y in range(face.top, face.bottom):
        for x in range(face.left, face.right):
            m = int(mask[y - crop.top, x - crop.left])
            for c in range(3):
                a, b = int(picture[y, x, c]), int(scaled[y - face.top, x - face.left, c])
                t = a * (255 - m) + b * m + 128
                expected[y, x, c] = ((t >> 8) + t) >> 8
    Overlay(face, mask).paint_bgr(picture, PATCH)
    np.testing.assert_array_equal(picture, expected)


@pytest.fixture(scope="module")
def avatar():
    return load_default_avatar()


@pytest.fixture(scope="module")
def overlay(avatar):
    face = face_box(to_68(avatar.landmarks), BASE_SIZE)
    return Overlay(face, jaw_mask(avatar.landmarks, face))


def test_i420_is_painted_as_bgr_is(avatar, overlay):
    bgr, picture = avatar.portrait.copy(), from_bgr(avatar.portrait)
    overlay.paint_bgr(bgr, SMOOTH)
    overlay.paint(picture, SMOOTH)
    luma = np.abs(picture[:512].astype(int) - from_bgr(bgr)[:512])
    assert luma.max() <= 2
    untouched = overlay.mask == 0
    crop = crop_box(overlay.face)
    rows, columns = np.nonzero(untouched)
    kept = (rows + crop.top < 512) & (columns + crop.left < 512)
    rows, columns = rows[kept] + crop.top, columns[kept] + crop.left
    np.testing.assert_array_equal(picture[rows, columns], from_bgr(avatar.portrait)[rows, columns])


def test_no_strength_paints_nothing(avatar, overlay):
    picture = from_bgr(avatar.portrait)
    overlay.paint(picture, SMOOTH, 0.0)
    np.testing.assert_array_equal(picture, from_bgr(avatar.portrait))
    half, whole = from_bgr(avatar.portrait), from_bgr(avatar.portrait)
    overlay.paint(half, SMOOTH, 0.5)
    overlay.paint(whole, SMOOTH, 1.0)
    middle = (from_bgr(avatar.portrait).astype(float) + whole) / 2
    assert np.abs(half - middle).max() <= 2


def test_patch_moves_with_the_head(avatar, overlay):
    """The face itself as patch must not be seen, whatever the pose."""
    renderer = avatar.renderer(BASE_SIZE)
    face = overlay.face
    own = cv2.resize(renderer.portrait[face.pixels], (256, 256), interpolation=cv2.INTER_LANCZOS4)
    for pose in (Pose(yaw=5, shift_x=6), Pose(roll=-4, shift_y=-5, scale=0.03), Pose()):
        picture = renderer.render(pose, REST)
        painted = picture.copy()
        overlay.paint(painted, own, 1.0, renderer.origins(pose))
        difference = np.abs(to_bgr(painted).astype(int) - to_bgr(picture))
        assert difference.mean() < 1.0
        assert np.percentile(difference, 99.5) < 14
