"""The person is told from the background by a belief about it and by colours: whole, along its edge, or not at all."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.preparation.matte import cut_out

Picture = NDArray[np.uint8]
Belief = NDArray[np.float32]
Points = NDArray[np.float32]


@pytest.fixture(scope="module")
def drawn() -> Picture:
    """The default avatar's own matte: the truth."""
    matte = load_default_avatar().matte
    assert matte is not None
    return matte


@pytest.fixture(scope="module")
def photo(drawn: Picture) -> Picture:
    """The person before a wall with lines, as no photographer would have it."""
    portrait = load_default_avatar().portrait
    wall = np.full_like(portrait, 205)
    wall[:, ::32] = wall[::32] = (150, 190, 160)
    cover = drawn[..., None] / 255.0
    return np.asarray(np.round(portrait * cover + wall * (1.0 - cover)), np.uint8)


@pytest.fixture(scope="module")
def belief(drawn: Picture) -> Belief:
    """What a segmenter of a quarter of the pixels would say: right, and blurred."""
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), 3.0), np.float32) / np.float32(255.0)


def overlap(matte: Picture, drawn: Picture) -> float:
    """Intersection over union."""
    found, true = matte > 127, drawn > 127
    return float((found & true).sum() / (found | true).sum())


def missing(matte: Picture, drawn: Picture) -> float:
    """Share of the person that is left behind."""
    return float((np.minimum(matte, drawn) < 64)[drawn > 127].mean())


def test_it_follows_the_edge_of_the_picture(photo: Picture, drawn: Picture, landmarks: Points, belief: Belief) -> None:
    matte = cut_out(photo, landmarks, belief)
    assert matte is not None and matte.shape == (512, 512) and matte.dtype == np.uint8
    assert overlap(matte, drawn) > 0.97
    assert missing(matte, drawn) < 0.002
    far = cv2.dilate(drawn, np.ones((51, 51), np.uint8)) == 0
    assert not matte[far].any()


def test_colours_find_the_hair_that_the_segmenter_does_not_know(
    photo: Picture, drawn: Picture, landmarks: Points, belief: Belief
) -> None:
    unsure = belief.copy()
    unsure[:110] *= 0.4  # the top of the head
    matte = cut_out(photo, landmarks, unsure)
    assert matte is not None
    assert missing(matte, drawn) < 0.01


def test_a_patch_that_hangs_in_the_air_is_no_part_of_the_person(
    photo: Picture, drawn: Picture, landmarks: Points, belief: Belief
) -> None:
    with_patch = belief.copy()
    with_patch[20:60, 10:60] = 0.7
    matte = cut_out(photo, landmarks, with_patch)
    assert matte is not None
    assert not matte[20:60, 10:60].any()


def test_the_same_comes_out_each_time(photo: Picture, landmarks: Points, belief: Belief) -> None:
    cv2.setRNGSeed(7)
    first = cut_out(photo, landmarks, belief)
    cv2.setRNGSeed(8)
    assert np.array_equal(first, cut_out(photo, landmarks, belief))


def test_where_all_is_person_there_is_no_matte(photo: Picture, landmarks: Points) -> None:
    assert cut_out(photo, landmarks, np.ones((512, 512), np.float32)) is None


def test_a_segmenter_that_does_not_see_the_face_is_not_followed(
    photo: Picture, landmarks: Points, belief: Belief
) -> None:
    assert cut_out(photo, landmarks, np.zeros((512, 512), np.float32)) is None
    assert cut_out(photo, landmarks, 1.0 - belief) is None


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_without_colours_does_no_harm(landmarks: Points, belief: Belief, level: int) -> None:
    matte = cut_out(np.full((512, 512, 3), level, np.uint8), landmarks, belief)
    assert matte is None or matte.shape == (512, 512)
