"""Where the lips go."""

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.closed_mouth import close_mouth
from musetalk_service.engines.face.landmarks import CHIN_TIP, JAW_LINE, LOWER_INNER, UPPER_INNER, Face
from musetalk_service.engines.face.mouth_shape import LIPS, MouthShaper
from musetalk_service.models.face import REST, Mouth

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]


def test_a_smile_is_an_arc(portrait: Picture, landmarks: Points) -> None:
    """The corners rise most, halfway there the lips rise by less than half of that, the middle stays."""
    face = Face.measure(landmarks)
    shaper = MouthShaper(face, close_mouth(portrait, face))
    rise = shaper.shape(REST, 0.0).upper[:, 1] - shaper.shape(REST, 1.0).upper[:, 1]
    corners, halfway, middle = rise[[1, -2]].mean(), rise[[8, 24]].mean(), rise[16]
    assert corners > 0.08 * face.mouth_width
    assert middle < 0.15 * corners
    assert halfway < 0.5 * corners


def test_a_free_lower_lip_loses_the_dent_of_the_upper_one(portrait: Picture, landmarks: Points) -> None:
    bowed = landmarks.copy()
    inner = [*UPPER_INNER[1:-1], *LOWER_INNER[1:-1]]
    width = float(np.hypot(*(landmarks[61, :2] - landmarks[291, :2])))
    dent = np.exp(-(((landmarks[inner, 0] - landmarks[13, 0]) / (0.12 * width)) ** 2))
    bowed[inner, 1] += 0.04 * width * dent
    face = Face.measure(bowed)
    closed = close_mouth(portrait, face)
    closed = type(closed)(face.points.copy(), face.points.copy(), portrait, False, 0.0, 0.0)
    shaper = MouthShaper(face, closed)

    def bow(curve: NDArray[np.float64]) -> float:
        """How far the middle hangs below the line through points beside it."""
        return float(curve[16, 1] - curve[[8, 24], 1].mean())

    parted = shaper.shape(Mouth(jaw=0.5), 0.0)
    plain = MouthShaper(Face.measure(landmarks), close_mouth(portrait, Face.measure(landmarks)))
    assert bow(parted.lower) < bow(plain.shape(Mouth(jaw=0.5), 0.0).lower) + 0.02 * width
    assert (parted.lower[:, 1] >= parted.upper[:, 1]).all()


def test_the_jaw_line_goes_down_with_the_chin(portrait: Picture, landmarks: Points) -> None:
    """As a jaw that turns about the ears: the chin in full, the jaw line less and less towards the ears."""
    face = Face.measure(landmarks)
    shaper = MouthShaper(face, close_mouth(portrait, face))
    jaw = shaper.shape(Mouth(jaw=1.0), 0.0).fields[0]
    down = (shaper.fields(face.points)[0] * jaw)[:, 1] / face.lower_height
    assert down[CHIN_TIP] == pytest.approx(0.21, abs=0.01)
    half = down[list(JAW_LINE[: JAW_LINE.index(CHIN_TIP) + 1])]
    assert (np.diff(half) > -1e-9).all() and half[0] == 0.0
    assert 0.15 < half[JAW_LINE.index(172)] / half[-1] < 0.45 < half[JAW_LINE.index(150)] / half[-1] < 0.85


def test_the_cheeks_hollow_while_the_jaw_goes_down(portrait: Picture, landmarks: Points) -> None:
    face = Face.measure(landmarks)
    inwards = MouthShaper(face, close_mouth(portrait, face)).fields(face.points)[0, [172, 397], 0]
    assert inwards[0] > 0.05 and inwards[1] < -0.05


def test_a_lower_lip_that_goes_down_leaves_the_dark_line_behind(portrait: Picture, landmarks: Points) -> None:
    """Its skin is drawn over its edge by half the line's thickness, and not at all while the lips are shut."""
    face = Face.measure(landmarks)
    shaper = MouthShaper(face, close_mouth(portrait, face))
    shut = shaper.shape(REST, 0.0)
    middle = LIPS.index(14)
    assert not shut.lips.any()
    for jaw, hidden in ((0.05, 0.0), (0.5, 0.018 * face.mouth_width)):
        parted = shaper.shape(Mouth(jaw=jaw), 0.0)
        edge = parted.lower[16, 1] - shut.lower[16, 1]
        assert hidden - 0.1 < edge - parted.lips[middle, 1] < 0.018 * face.mouth_width + 0.1
