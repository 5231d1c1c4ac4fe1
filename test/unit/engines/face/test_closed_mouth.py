"""A grin that is closed: no teeth, no dots at the corners, nothing folded."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.builtin.mouth_table import TABLE
from musetalk_service.engines.face.closed_mouth import close_mouth
from musetalk_service.engines.face.landmarks import LOWER_INNER, LOWER_OUTER, UPPER_INNER, UPPER_OUTER, Face
from musetalk_service.engines.face.mouth_shape import LIPS, MouthShaper
from musetalk_service.models.face import NEUTRAL, REST, Mouth
from support.faces import BgrRenderer, as_sent

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

GRIN = Mouth(jaw=0.3, wide=1.0, upper_raise=0.6, lower_drop=0.4, teeth_upper=1.0)


@pytest.fixture(scope="module")
def grin(portrait: Picture, landmarks: Points, renderer: BgrRenderer) -> tuple[Picture, Points]:
    """The default avatar grinning, dark behind the corners of the mouth, with its landmarks."""
    face = Face.measure(landmarks)
    closed = close_mouth(portrait, face)
    points = landmarks.copy()
    points[list(LIPS), :2] = closed.source[list(LIPS)] + MouthShaper(face, closed).shape(GRIN, 0.6).lips
    picture = renderer.render(NEUTRAL._replace(smile=0.6), GRIN)
    for corner, inwards in ((78, 1), (308, -1)):
        spot = points[corner, :2] + (inwards * 3, 0)
        cv2.circle(picture, (round(float(spot[0])), round(float(spot[1]))), 3, (12, 10, 20), -1, cv2.LINE_AA)
    return picture, points


def lips(points: Points, size: int) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), np.uint8)
    outline = points[[*UPPER_OUTER, *LOWER_OUTER[-2:0:-1]], :2]
    cv2.fillPoly(mask, [outline.astype(np.int32)], 1)
    return mask.astype(bool)


def test_a_closed_grin_has_no_dark_left(grin: tuple[Picture, Points]) -> None:
    picture, points = grin
    closed = close_mouth(picture, Face.measure(points))
    assert closed.is_open
    inside = lips(points, len(picture))
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[inside]
    mended = cv2.cvtColor(closed.texture, cv2.COLOR_BGR2GRAY)[inside]
    assert np.percentile(grey, 3) < 45
    assert np.percentile(mended, 3) > 70


def test_a_closed_grin_shows_no_teeth(grin: tuple[Picture, Points]) -> None:
    picture, points = grin
    shut = BgrRenderer(picture, points).render(NEUTRAL, REST)
    rows = np.s_[int(points[13, 1]) : int(points[14, 1]) + 1, int(points[81, 0]) : int(points[311, 0])]

    def pale(drawn: Picture) -> float:
        return float((cv2.cvtColor(drawn, cv2.COLOR_BGR2HSV)[rows][..., 1] < 70).mean())

    assert pale(picture) > 0.3
    assert pale(shut) < 0.02


def test_teeth_beside_the_landmarks_are_covered_too(grin: tuple[Picture, Points]) -> None:
    """Landmarks of a drawn face may lie below its opening."""
    picture, points = grin
    missed = points.copy()
    width = float(np.hypot(*(points[61, :2] - points[291, :2])))
    missed[list(UPPER_INNER[1:-1]), 1] += 0.06 * width
    covered = close_mouth(picture, Face.measure(missed)).texture
    rows = np.s_[int(points[13, 1]) + 1 : int(points[14, 1]), int(points[81, 0]) : int(points[311, 0])]

    def pale(drawn: Picture) -> float:
        return float((cv2.cvtColor(drawn, cv2.COLOR_BGR2HSV)[rows][..., 1] < 70).mean())

    assert pale(picture) > 0.3
    assert pale(covered) < 0.03


def test_a_dark_upper_lip_stays_as_it_is(grin: tuple[Picture, Points]) -> None:
    """Where a moustache makes all of it dark, the corners get no paler than the middle."""
    picture, points = grin
    dark = picture.copy()
    width = float(np.hypot(*(points[61, :2] - points[291, :2])))
    lip = np.concatenate([points[list(UPPER_OUTER), :2] - (0, 0.2 * width), points[list(UPPER_INNER[::-1]), :2]])
    beard = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(beard, [lip.astype(np.int32)], 255)
    dark[beard > 0] = (30, 28, 34)
    covered = close_mouth(dark, Face.measure(points)).texture
    changed = cv2.absdiff(covered, dark)[beard > 0].max(axis=1)
    assert (changed > 20).mean() < 0.03


def test_a_closed_grin_moves_only_the_mouth(grin: tuple[Picture, Points]) -> None:
    picture, points = grin
    shut = BgrRenderer(picture, points).render(NEUTRAL, REST)
    above = int(points[168, 1])
    above -= above % 2
    assert np.array_equal(shut[:above], as_sent(picture)[:above])


def test_no_class_of_sounds_folds_a_grin(grin: tuple[Picture, Points]) -> None:
    renderer = BgrRenderer(*grin)
    worst = min(renderer.smallest_stretch(Mouth(*row), smile) for row in TABLE.tolist() for smile in (0.0, 1.0))
    assert worst > 0.15


def test_lips_stretched_by_a_grin_get_thicker(grin: tuple[Picture, Points]) -> None:
    """The lower lip of a closed wide mouth is at least as high as it was photographed."""
    picture, points = grin
    face = Face.measure(points)
    closed = close_mouth(picture, face)
    before = face.points[17, 1] - face.points[14, 1]
    after = closed.rest[17, 1] - closed.rest[14, 1]
    assert after > before
    contours = closed.rest[list(UPPER_INNER)] - closed.rest[list(LOWER_INNER)]
    assert np.abs(contours[1:-1, 1]).max() < 0.01 * face.mouth_width
