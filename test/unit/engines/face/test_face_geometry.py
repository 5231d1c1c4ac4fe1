"""Interpolation bases, the seam of shut lips and the closing of an open mouth."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.closed_mouth import close_mouth, refine_seam
from musetalk_service.engines.face.interpolation import (
    Lattice,
    double_size,
    sample,
    spline_basis,
    thin_plate_basis,
)
from musetalk_service.engines.face.landmarks import LOWER_INNER, UPPER_INNER, Face
from musetalk_service.engines.face.mouth_shape import LIPS, MouthShaper
from musetalk_service.models.face import NEUTRAL, REST, Mouth
from support.faces import BgrRenderer


def test_thin_plate_reproduces_affine_motion_and_the_given_values() -> None:
    generator = np.random.default_rng(3)
    points, nodes = generator.uniform(0, 200, (30, 2)), generator.uniform(0, 200, (50, 2))
    turn = np.array([[0.9, 0.2], [-0.1, 1.1]])
    assert thin_plate_basis(points, nodes) @ (points @ turn + 5.0) == pytest.approx(nodes @ turn + 5.0)
    values = generator.normal(size=30)
    assert thin_plate_basis(points, points, smoothing=1e-9) @ values == pytest.approx(values, abs=1e-4)


def test_spline_passes_the_knots_smoothly() -> None:
    knots = np.sin(np.linspace(0.0, np.pi, 11))
    curve = spline_basis(11, 101) @ knots
    assert curve[::10] == pytest.approx(knots)
    assert curve == pytest.approx(np.sin(np.linspace(0.0, np.pi, 101)), abs=1e-3)
    assert spline_basis(11, 33) @ np.arange(11.0) == pytest.approx(np.linspace(0.0, 10.0, 33))


def test_enlarging_a_lattice_is_exact_for_linear_functions() -> None:
    lattice = Lattice(left=13, top=40, width=101, height=58, step=4)
    planes = np.stack([lattice.x, lattice.y, 0.3 * lattice.x - 0.5 * lattice.y]).astype(np.float32)
    y, x = np.mgrid[40:98, 13:114].astype(np.float32)
    assert lattice.enlarge(planes)[:, :58, :101] == pytest.approx(np.stack([x, y, 0.3 * x - 0.5 * y]), abs=1e-3)
    part = lattice.enlarge(planes[:, 3:9, 5:12])
    assert part[0, 0, 0] == pytest.approx(13 + 5 * 4, abs=1e-3)
    assert part[1, 0, 0] == pytest.approx(40 + 3 * 4, abs=1e-3)
    assert part.shape == (3, 16, 20)
    assert lattice.enlarge_to(planes, 30, 47, 75, 92)[0] == pytest.approx(x[7:52, 17:62], abs=1e-3)


def test_relative_places_are_read_from_where_they_are() -> None:
    planes = np.random.default_rng(2).normal(size=(2, 9, 12)).astype(np.float32)
    row, column = np.mgrid[:9, :12].astype(np.float32)
    right, down = np.full((2, 9, 12), 0.3, np.float32)
    assert sample(planes, right, down, relative=True) == pytest.approx(sample(planes, column + right, row + down))
    assert sample(planes, column, row) == pytest.approx(planes)


def test_the_doubled_picture_holds_the_original(portrait: NDArray[np.uint8]) -> None:
    double = double_size(portrait)
    assert double.shape == (1024, 1024, 3)
    assert np.array_equal(double[::2, ::2], portrait)


def test_the_seam_is_found_where_the_lips_meet(landmarks: NDArray[np.float32]) -> None:
    face = Face.measure(landmarks)
    picture = np.full((512, 512, 3), 150, np.uint8)
    inner = [*UPPER_INNER, *LOWER_INNER]
    line = int(np.round(landmarks[inner, 1].mean())) + 2
    picture[line] = 40
    refined = refine_seam(picture, face)
    middle = [i for i in inner if abs(refined[i, 0] - refined[13, 0]) < 0.25 * face.mouth_width]
    assert refined[middle, 1] == pytest.approx(np.full(len(middle), line), abs=0.6)
    corners = [61, 291, 78, 308]
    assert np.array_equal(refined[corners], face.points[corners])


def test_an_open_mouth_is_shut_at_rest(portrait: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> None:
    face = Face.measure(landmarks)
    closed = close_mouth(portrait, face)
    speaking = Mouth(jaw=0.4, wide=0.4, upper_raise=0.3, teeth_upper=1.0)
    shape = MouthShaper(face, closed).shape(speaking, 0.0)
    opened = landmarks.copy()
    opened[list(LIPS), :2] = closed.source[list(LIPS)] + shape.lips
    photo = BgrRenderer(portrait, landmarks).render(NEUTRAL, speaking)

    left, right = int(opened[81, 0]), int(opened[311, 0])
    between = np.s_[int(opened[13, 1]) + 2 : int(opened[14, 1]) - 1, left:right]

    def colour(picture: NDArray[np.uint8]) -> float:
        """Saturation of the palest fifth of where the lips are apart: lips are red, teeth are not."""
        return float(np.percentile(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[between][..., 1], 20))

    renderer = BgrRenderer(photo, opened)
    teeth, shut = colour(photo), colour(renderer.render(NEUTRAL, REST))
    assert shut > 1.5 * teeth
    assert colour(renderer.render(NEUTRAL, speaking)) < 0.5 * (teeth + shut)
