"""A head that moves before a background that does not."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.layers import fill
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.face import NEUTRAL, REST, Mouth, Pose
from musetalk_service.utils.i420 import from_bgr, to_bgr
from support.in_process import default_avatar

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

TURNED = Pose(yaw=6.0, roll=4.0, shift_x=5.0, breath=1.5)
SPEAKING = Mouth(jaw=0.6, teeth_upper=0.6, upper_raise=0.2)


@pytest.fixture(scope="module")
def matte() -> Picture:
    found = default_avatar().matte
    assert found is not None
    return found


@pytest.fixture(scope="module")
def lined(portrait: Picture, matte: Picture) -> Picture:
    """The person before straight lines."""
    wall = np.full_like(portrait, 200)
    wall[:, ::24] = wall[::24] = (60, 90, 150)
    cover = matte[..., None] / 255.0
    return np.asarray(np.round(portrait * cover + wall * (1.0 - cover)), np.uint8)


def test_neutral_is_the_portrait_bit_for_bit(lined: Picture, matte: Picture, landmarks: Points) -> None:
    assert np.array_equal(FaceRenderer(lined, landmarks, matte).render(NEUTRAL, REST), from_bgr(lined))


@pytest.mark.parametrize(
    "pose", [TURNED, Pose(yaw=1.0), Pose(yaw=-8.0, pitch=8.0, roll=-8.0, shift_x=-12.0, scale=0.05)]
)
def test_the_background_stays_where_it_is(lined: Picture, matte: Picture, landmarks: Points, pose: Pose) -> None:
    picture = FaceRenderer(lined, landmarks, matte).render(pose, SPEAKING)
    away = cv2.dilate(matte, np.ones((3, 3), np.uint8)) == 0
    before = from_bgr(lined)[:512].astype(int)
    moved = np.abs(picture[:512] - before) > 4
    bent = np.abs(FaceRenderer(lined, landmarks).render(pose, SPEAKING)[:512] - before) > 4
    # What has changed of the background is hidden by the person, who is where the still one is or beside it.
    beside = cv2.dilate(matte, np.ones((111, 111), np.uint8)) > 0
    assert not (moved & ~beside).any()
    assert (moved & away).sum() < 0.5 * (bent & away).sum()


def test_the_person_moves_as_without_layers(lined: Picture, matte: Picture, landmarks: Points) -> None:
    layered = FaceRenderer(lined, landmarks, matte).render(TURNED, SPEAKING)
    bent = FaceRenderer(lined, landmarks).render(TURNED, SPEAKING)
    face = np.s_[160:420, 190:330]
    assert np.abs(layered[face].astype(int) - bent[face]).max() <= 1


def test_no_halo_of_the_old_background(portrait: Picture, matte: Picture, landmarks: Points) -> None:
    """A person cut out of a bright green room shows no green before a fill of it that is grey."""
    cover = matte[..., None] / 255.0
    green = np.asarray(np.round(portrait * cover + np.array((0, 255, 0)) * (1.0 - cover)), np.uint8)
    picture = to_bgr(FaceRenderer(green, landmarks, matte).render(Pose(shift_x=6.0), REST)).astype(int)
    inside = cv2.erode(matte, np.ones((25, 25), np.uint8)) == 255
    green_cast = picture[..., 1] - picture[..., [0, 2]].max(axis=2)
    assert green_cast[inside].max() < 60


def test_the_mouth_alone_moves_no_background(lined: Picture, matte: Picture, landmarks: Points) -> None:
    picture = FaceRenderer(lined, landmarks, matte).render(NEUTRAL, SPEAKING)
    assert np.array_equal(picture[:512][matte == 0], from_bgr(lined)[:512][matte == 0])


def test_beside_a_speaking_mouth_a_soft_edge_stays_as_it_is(
    portrait: Picture, matte: Picture, landmarks: Points
) -> None:
    """The matte of a narrow neck ends where the mouth still moves pixels."""
    narrow = matte.copy()
    narrow[360:] = 0
    soft = np.asarray(cv2.blur(narrow, (9, 9)), np.uint8)
    picture = FaceRenderer(portrait, landmarks, soft).render(NEUTRAL, SPEAKING)
    assert np.array_equal(picture[:250], from_bgr(portrait)[:250])


@pytest.mark.parametrize("wide", [1, 9])
def test_the_edge_does_not_jump_when_the_head_comes_to_rest(
    portrait: Picture, matte: Picture, landmarks: Points, wide: int
) -> None:
    """Also with a matte that is softer than the edge in the picture."""
    soft = np.asarray(cv2.blur(matte, (wide, wide)), np.uint8)
    hardly = Pose(yaw=0.02)
    resting = from_bgr(portrait)[:512].astype(int)
    jump = np.abs(FaceRenderer(portrait, landmarks, soft).render(hardly, REST)[:512] - resting)
    without = np.abs(FaceRenderer(portrait, landmarks).render(hardly, REST)[:512] - resting)
    assert (jump > without.max()).mean() < 0.002


def test_a_matte_of_another_size_is_refused(portrait: Picture, landmarks: Points) -> None:
    with pytest.raises(ValueError, match="matte must be"):
        FaceRenderer(portrait, landmarks, np.zeros((256, 256), np.uint8))


def test_filling_keeps_what_is_known_and_is_smooth_between() -> None:
    ramp = np.repeat(np.linspace(0, 255, 64)[None, :, None], 64, axis=0).repeat(3, axis=2).astype(np.uint8)
    known = np.ones((64, 64), np.bool_)
    known[20:44, 20:44] = False
    filled = fill(ramp, known)
    assert np.array_equal(filled[known], ramp[known].astype(np.float32))
    assert np.abs(filled - ramp).max() < 60
    assert np.abs(np.diff(filled, axis=1)).max() < 40
