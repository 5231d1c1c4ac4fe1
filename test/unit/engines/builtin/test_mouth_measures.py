"""Opening and width in inter-ocular distances: the formulas against the lips that the renderer draws."""

import numpy as np
import pytest

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.builtin.mouth_measures import aperture, opening, width
from musetalk_service.engines.builtin.mouth_table import CLASSES, TABLE
from musetalk_service.engines.face.closed_mouth import ClosedMouth, close_mouth
from musetalk_service.engines.face.landmarks import Face
from musetalk_service.engines.face.mouth_shape import LIPS, MouthShaper
from musetalk_service.models.face import Mouth

EYE_CORNERS, MOUTH_CORNERS = (33, 263), (61, 291)
INNER_PAIRS = ((13, 14), (82, 87), (312, 317))


def drawn(shaper: MouthShaper, closed: ClosedMouth, eyes: float, mouth: Mouth) -> tuple[float, float]:
    shape = shaper.shape(mouth, 0.0)
    moved = closed.source[list(LIPS)] + shape.lips
    point = dict(zip(LIPS, moved, strict=True))
    # Where the lower lip's edge is: its skin is drawn a little over it.
    runs = [np.interp([point[high][0] for high, _ in INNER_PAIRS], *run.T) for run in (shape.upper, shape.lower)]
    gap = np.mean(runs[1] - runs[0])
    return float(gap) / eyes, float(np.hypot(*(point[MOUTH_CORNERS[0]] - point[MOUTH_CORNERS[1]]))) / eyes


def test_every_class_is_as_open_and_wide_as_the_portrait_is_drawn() -> None:
    avatar = load_default_avatar()
    face = Face.measure(avatar.landmarks)
    closed = close_mouth(avatar.portrait, face)
    shaper = MouthShaper(face, closed)
    eyes = float(np.hypot(*(face.points[EYE_CORNERS[0]] - face.points[EYE_CORNERS[1]])))
    measured = np.array([drawn(shaper, closed, eyes, Mouth(*row.tolist())) for row in TABLE])
    # The renderer lets a lower lip behind the teeth show a gap below it; to the eye that mouth is shut.
    shown = np.array(CLASSES) != "fv"
    np.testing.assert_allclose(aperture(TABLE.astype(float))[shown], measured[shown, 0], atol=0.012)
    np.testing.assert_allclose(width(TABLE.astype(float)), measured[:, 1], atol=0.012)


def test_closures_shut_whatever_the_jaw_does() -> None:
    mouths = np.array([Mouth(jaw=1.0), Mouth(jaw=1.0, press=1.0), Mouth(jaw=0.5, tuck=1.0)])
    np.testing.assert_allclose(opening(mouths), [1, 0, 0])
    assert aperture(mouths)[0] == pytest.approx(0.177)


def test_spread_is_wider_and_rounded_narrower_than_rest() -> None:
    spread, rest, rounded = width(np.array([Mouth(wide=1.0), Mouth(), Mouth(round=1.0)]))
    assert spread > rest > rounded
