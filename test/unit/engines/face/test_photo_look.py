"""What is read from a portrait about its light, sharpness and grain."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.landmarks import EYES, Face
from musetalk_service.engines.face.photo_look import measure_look

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]


def test_dark_skin_does_not_mean_dark_teeth(portrait: Picture, dark_portrait: Picture, landmarks: Points) -> None:
    face = Face.measure(landmarks)
    pale = measure_look(portrait, face)
    dark = measure_look(dark_portrait, face)
    assert dark.tooth.mean() > 0.9 * pale.tooth.mean()


def test_dim_light_means_dim_teeth(portrait: Picture, landmarks: Points) -> None:
    face = Face.measure(landmarks)
    bright = measure_look(portrait, face)
    dim = measure_look((portrait * 0.4).astype(np.uint8), face)
    assert dim.tooth == pytest.approx(0.4 * bright.tooth, rel=0.08)


def test_coloured_light_colours_the_teeth(portrait: Picture, landmarks: Points) -> None:
    face = Face.measure(landmarks)
    blue, red = measure_look(portrait, face).tooth[[0, 2]]
    warm = measure_look(np.asarray(portrait * np.array([0.6, 0.85, 1.0]), np.uint8), face)
    assert warm.tooth[0] / warm.tooth[2] < 0.9 * blue / red


def asleep(portrait: Picture, landmarks: Points) -> Picture:
    """The portrait without the white of any eye."""
    picture = portrait.copy()
    for eye in EYES:
        outline = landmarks[[*eye.upper_lid, *eye.lower_lid[-2:0:-1]], :2].astype(np.int32)
        cv2.fillPoly(picture, [outline], portrait[int(landmarks[205, 1]), int(landmarks[205, 0])].tolist())
    return picture


def test_shut_eyes_leave_the_skin_to_tell_the_light(portrait: Picture, landmarks: Points) -> None:
    face = Face.measure(landmarks)
    open_eyes, shut_eyes = measure_look(portrait, face), measure_look(asleep(portrait, landmarks), face)
    assert shut_eyes.light == pytest.approx(open_eyes.light, rel=0.35)


def test_shut_eyes_leave_the_skin_to_tell_the_lights_colour(portrait: Picture, landmarks: Points) -> None:
    """A third of it: skins differ, too."""
    face, shut = Face.measure(landmarks), asleep(portrait, landmarks)
    candles = np.asarray(np.round(shut * np.array([0.45, 0.8, 1.0])), np.uint8)
    white, warm = (measure_look(picture, face).tooth for picture in (shut, candles))
    assert 0.8 < white[0] / white[2] <= 1.0
    assert 0.55 < (warm[0] / warm[2]) / (white[0] / white[2]) < 0.9


@pytest.mark.parametrize("sigma", [1.0, 1.6, 2.4])
def test_blur_is_measured(portrait: Picture, landmarks: Points, sigma: float) -> None:
    face = Face.measure(landmarks)
    assert measure_look(portrait, face).blur < 0.2
    blurred = np.asarray(cv2.GaussianBlur(portrait, (0, 0), sigma), np.uint8)
    assert measure_look(blurred, face).blur == pytest.approx(sigma, rel=0.3)


@pytest.mark.parametrize("sigma", [4.0, 8.0])
def test_grain_is_measured(portrait: Picture, landmarks: Points, sigma: float) -> None:
    noise = np.random.default_rng(0).normal(0.0, sigma, portrait.shape[:2])[..., None]
    noisy = np.asarray(np.clip(portrait + noise, 0, 255), np.uint8)
    assert measure_look(noisy, Face.measure(landmarks)).grain == pytest.approx(sigma, rel=0.25)
