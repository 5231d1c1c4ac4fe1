"""The folds of a smile, on a plain grey picture."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.closed_mouth import close_mouth
from musetalk_service.engines.face.folds import Folds
from musetalk_service.engines.face.landmarks import Face
from musetalk_service.engines.face.mouth_shape import LipShape, MouthShaper
from musetalk_service.models.face import REST, Mouth

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

Shaped = tuple[Folds, MouthShaper, Face]


@pytest.fixture(scope="module")
def shaped(portrait: Picture, landmarks: Points) -> Shaped:
    face = Face.measure(landmarks)
    closed = close_mouth(portrait, face)
    shaper = MouthShaper(face, closed)
    return Folds(face, closed, shaper), shaper, face


def grey(folds: Folds, shape: LipShape, smile: float, mouth: Mouth = REST) -> NDArray[np.int64]:
    luma = np.full((512, 512), 160, np.uint8)
    folds.shade(luma, shape, smile, mouth)
    return luma.astype(np.int64)


def test_a_straight_face_has_no_folds(shaped: Shaped) -> None:
    folds, shaper, _ = shaped
    assert (grey(folds, shaper.shape(REST, 0.0), 0.0) == 160).all()


def test_a_smile_has_a_fold_on_either_side(shaped: Shaped) -> None:
    folds, shaper, face = shaped
    luma = grey(folds, shaper.shape(REST, 1.0), 1.0)
    middle = round(shaper.centre[0])
    for half in (luma[:, :middle], luma[:, middle:]):
        assert half.min() < 150
        assert half.max() > 160
    rows, _ = np.nonzero(luma < 158)
    assert rows.min() > face.points[168, 1]
    assert rows.max() < face.points[17, 1]


def test_folds_deepen_with_the_smile_and_with_spread_lips(shaped: Shaped) -> None:
    folds, shaper, _ = shaped
    deepest = [grey(folds, shaper.shape(REST, smile), smile).min() for smile in (0.0, 0.3, 0.6, 1.0)]
    assert deepest == sorted(deepest, reverse=True)
    spread = Mouth(jaw=0.3, wide=1.0)
    assert deepest[-1] < grey(folds, shaper.shape(spread, 0.0), 0.0, spread).min() < 160


def test_folds_ride_on_the_head(shaped: Shaped) -> None:
    folds, shaper, _ = shaped
    still = shaper.shape(REST, 1.0)
    moved = replace(still, centre=(still.centre[0] + 4.0, still.centre[1] - 3.0))
    assert np.array_equal(grey(folds, moved, 1.0)[10:-10, 10:-10], grey(folds, still, 1.0)[13:-7, 6:-14])


def test_folds_beyond_the_picture_are_left_out(shaped: Shaped) -> None:
    folds, shaper, _ = shaped
    away = replace(shaper.shape(REST, 1.0), centre=(-300.0, 20.0))
    assert (grey(folds, away, 1.0) == 160).all()
