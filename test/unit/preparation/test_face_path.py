"""A face is followed through a video, and what is no single take of one face is refused."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.preparation.errors import FaceLostError, NoFaceError, SceneCutError
from musetalk_service.preparation.face_path import FacePath, follow_face, savitzky_golay
from musetalk_service.preparation.geometry import apply
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.photo import PhotoLimits
from support.faces import place

Picture = NDArray[np.uint8]
LIMITS = PhotoLimits()


def _follow(frames: Iterator[Picture], landmarker: FaceLandmarker) -> FacePath:
    return follow_face(frames, landmarker, LIMITS, lambda done: None)


def test_weights_are_those_of_the_tables() -> None:
    np.testing.assert_allclose(savitzky_golay(5, 2), np.array([-3, 12, 17, 12, -3]) / 35)
    np.testing.assert_allclose(savitzky_golay(7, 2), np.array([-2, 3, 6, 7, 6, 3, -2]) / 21)


def test_the_path_is_that_of_the_face(landmarker: FaceLandmarker, portrait: Picture) -> None:
    frames = [np.roll(place(portrait, 700, 600, 0.9), 2 * i, axis=1) for i in range(12)]
    path = _follow(iter(frames), landmarker)
    middle = path.points[:, :468, 0].mean(axis=1)
    np.testing.assert_allclose(np.diff(middle), 2.0, atol=0.5)
    framing = path.frame()
    seen = np.array([apply(framing.matrix, points) for points in path.points])
    assert seen[:, :, :2].min() > 0 and seen[:, :, :2].max() < framing.size
    assert framing.cut(frames[0]).shape == (512, 512, 3)


def test_a_short_loss_is_filled_in(landmarker: FaceLandmarker, portrait: Picture) -> None:
    blank = portrait.copy()
    blank[120:420, 150:370] = (150, 170, 200)
    path = _follow(iter([*[portrait] * 6, *[blank] * 3, *[portrait] * 6]), landmarker)
    assert len(path.points) == 15
    assert np.abs(path.points[7] - path.points[0]).max() < 2.0


def test_a_long_loss_is_refused(landmarker: FaceLandmarker, portrait: Picture) -> None:
    blank = portrait.copy()
    blank[120:420, 150:370] = (150, 170, 200)
    with pytest.raises(FaceLostError, match="is lost at"):
        _follow(iter([*[portrait] * 3, *[blank] * 12]), landmarker)


@pytest.mark.parametrize("kind", ["other picture", "jump"])
def test_scene_cuts_are_refused(landmarker: FaceLandmarker, portrait: Picture, kind: str) -> None:
    here = place(portrait, 900, 600, 0.8)
    there = 255 - here if kind == "other picture" else np.roll(here, 180, axis=1)
    with pytest.raises(SceneCutError, match=r"the picture jumps at 0\.2 s"):
        _follow(iter([*[here] * 5, *[there] * 5]), landmarker)


def test_a_film_without_a_face_is_refused(landmarker: FaceLandmarker) -> None:
    with pytest.raises(NoFaceError):
        _follow(iter([np.full((200, 300, 3), 99, np.uint8)] * 3), landmarker)


def test_a_face_that_wanders_off_is_refused() -> None:
    points = np.zeros((3, 478, 3), np.float32)
    points[:, 10], points[:, 152] = (100, 100, 0), (100, 200, 0)
    points[:, 234], points[:, 454] = (60, 150, 0), (140, 150, 0)
    points[:, 33], points[:, 263] = (80, 130, 0), (120, 130, 0)
    points[:, points[0].sum(axis=1) == 0] = (100, 150, 0)
    FacePath(points, 800, 400).frame()
    points[1:, :, 0] += np.array([200, 450])[:, None]
    with pytest.raises(FaceLostError, match="moves too far"):
        FacePath(points, 800, 400).frame()
