"""The inside of the mouth against the portrait it is painted into."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.builtin.mouth_table import CLASSES, TABLE
from musetalk_service.engines.face.landmarks import Face
from musetalk_service.models.face import NEUTRAL, REST, Mouth
from support.faces import BgrRenderer

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

OPEN = Mouth(jaw=0.5, wide=0.5, upper_raise=0.3, teeth_upper=0.8, tongue=0.3)
BITE = Mouth(jaw=0.1, upper_raise=0.5, tuck=1.0, teeth_upper=1.0)


def mouth_area(picture: Picture, landmarks: Points) -> Picture:
    """The picture between the corners, from the upper lip to below the lower one."""
    left, right = landmarks[[61, 291], 0].astype(int)
    return picture[int(landmarks[0, 1]) : int(landmarks[17, 1]) + 12, left:right]


def teeth_luma(picture: Picture, landmarks: Points) -> float:
    """Luma of the front teeth: the palest pixels where the lips are apart."""
    middle = int(landmarks[13, 0])
    column = picture[int(landmarks[13, 1]) - 4 : int(landmarks[14, 1]) + 12, middle - 8 : middle + 9].reshape(-1, 3)
    hsv = cv2.cvtColor(column[None], cv2.COLOR_BGR2HSV)[0]
    pale = column[hsv[:, 1] <= np.percentile(hsv[:, 1], 15)]
    return float(np.median(pale @ np.array([0.114, 0.587, 0.299])))


def steepest(picture: Picture, landmarks: Points) -> float:
    """The steepest change of luma from row to row in the mouth."""
    grey = cv2.cvtColor(mouth_area(picture, landmarks), cv2.COLOR_BGR2GRAY).astype(np.float64)
    return float(np.percentile(np.abs(np.diff(grey, axis=0)), 99.5))


def test_teeth_take_the_light_not_the_skin(portrait: Picture, dark_portrait: Picture, landmarks: Points) -> None:
    pale = BgrRenderer(portrait, landmarks).render(NEUTRAL, OPEN)
    dark = BgrRenderer(dark_portrait, landmarks).render(NEUTRAL, OPEN)
    cheek = landmarks[205, :2].astype(int)
    assert dark_portrait[cheek[1], cheek[0]].mean() < 0.6 * portrait[cheek[1], cheek[0]].mean()
    assert teeth_luma(dark, landmarks) > 0.88 * teeth_luma(pale, landmarks)


def test_teeth_darken_with_the_light(portrait: Picture, landmarks: Points) -> None:
    bright = BgrRenderer(portrait, landmarks).render(NEUTRAL, OPEN)
    dim = BgrRenderer((portrait * 0.4).astype(np.uint8), landmarks).render(NEUTRAL, OPEN)
    assert teeth_luma(dim, landmarks) == pytest.approx(0.4 * teeth_luma(bright, landmarks), rel=0.12)


def test_a_blurred_portrait_has_blurred_teeth(portrait: Picture, landmarks: Points) -> None:
    """What is painted into a blurred portrait is no sharper than the same mouth blurred."""
    sigma = 2.0

    def blurred(picture: Picture) -> Picture:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)

    soft = BgrRenderer(blurred(portrait), landmarks).render(NEUTRAL, OPEN)
    reference = blurred(BgrRenderer(portrait, landmarks).render(NEUTRAL, OPEN))
    assert steepest(soft, landmarks) < 1.35 * steepest(reference, landmarks)


def test_a_grainy_portrait_has_grainy_teeth(portrait: Picture, landmarks: Points) -> None:
    noise = np.random.default_rng(0).normal(0.0, 8.0, portrait.shape[:2])[..., None]
    noisy = np.asarray(np.clip(portrait + noise, 0, 255), np.uint8)
    drawn = BgrRenderer(noisy, landmarks).render(NEUTRAL, OPEN)
    clean = BgrRenderer(portrait, landmarks).render(NEUTRAL, OPEN)
    left, top = landmarks[13, :2].astype(int) - (8, 1)
    area = np.s_[top : top + 6, left : left + 17]
    assert (drawn[area].astype(float) - clean[area]).std() > 4.0


def test_the_dark_of_the_mouth_has_little_grain(portrait: Picture, landmarks: Points) -> None:
    noise = np.random.default_rng(0).normal(0.0, 8.0, portrait.shape[:2])[..., None]
    noisy = np.asarray(np.clip(portrait + noise, 0, 255), np.uint8)
    wide = BgrRenderer(noisy, landmarks).render(NEUTRAL, Mouth(jaw=1.0))
    left, top = landmarks[13, :2].astype(int) - (8, -4)
    dark = wide[top : top + 5, left : left + 17].astype(float)
    assert dark.mean() < 50
    assert cv2.Laplacian(dark.mean(axis=2), cv2.CV_64F).std() < 20


def test_the_upper_teeth_bite_the_lower_lip(renderer: BgrRenderer, landmarks: Points) -> None:
    """At f the palest row lies on lower lip, with no dark between the two."""
    face = Face.measure(landmarks)
    picture = renderer.render(NEUTRAL, BITE)
    at_rest = renderer.render(NEUTRAL, REST)
    middle = int(landmarks[13, 0])
    top = int(landmarks[13, 1] - 0.03 * face.mouth_width)
    rows = np.s_[top : top + int(0.14 * face.mouth_width), middle - 3 : middle + 4]

    def lightness(drawn: Picture) -> NDArray[np.float64]:
        return np.asarray(cv2.cvtColor(drawn, cv2.COLOR_BGR2GRAY)[rows].astype(np.float64).mean(axis=1))

    bitten = lightness(picture)
    palest = int(bitten.argmax())
    assert bitten[palest] > lightness(at_rest)[palest] + 25
    assert bitten[palest:].min() > lightness(at_rest).min() + 15


def redness(picture: Picture) -> NDArray[np.float64]:
    """Red minus blue of each pixel: high for flesh, low for teeth and for the dark."""
    return np.asarray(picture[..., 2].astype(float) - picture[..., 0])


@pytest.mark.parametrize("sound", ["th", "l"])
def test_the_tongue_is_seen_below_the_teeth(renderer: BgrRenderer, landmarks: Points, sound: str) -> None:
    """At sounds of its tip there is lit flesh between the upper teeth and the lower lip."""
    mouth = Mouth(*TABLE[CLASSES.index(sound)].tolist())
    middle, top = landmarks[13, :2].astype(int)
    rows = np.s_[top + 1 : top + 7, middle - 6 : middle + 7]
    tip = renderer.render(NEUTRAL, mouth)[rows]
    back = renderer.render(NEUTRAL, mouth._replace(tongue=0.1))[rows]
    assert (tip[..., 2] > 110).mean() > (back[..., 2] > 110).mean() + 0.1
    assert redness(tip).mean() > redness(back).mean() + 5


def test_the_tongue_lies_on_the_floor_of_an_open_mouth(renderer: BgrRenderer, landmarks: Points) -> None:
    """At an open vowel the lower half shows flesh, darker than the lips, and the upper half the dark behind it."""
    picture = renderer.render(NEUTRAL, Mouth(jaw=0.95, wide=0.15, teeth_upper=0.6, tongue=0.1))
    middle, top = landmarks[13, :2].astype(int)
    width = float(np.hypot(*(landmarks[61, :2] - landmarks[291, :2])))
    dark, tongue = (
        picture[top + int(a * width) : top + int(b * width), middle - 10 : middle + 11].reshape(-1, 3).mean(axis=0)
        for a, b in ((0.05, 0.08), (0.15, 0.20))
    )
    lip = picture[top + int(0.27 * width), middle - 10 : middle + 11].mean(axis=0)
    assert tongue.mean() > 1.5 * dark.mean()
    assert tongue[2] - tongue[0] > 30
    assert tongue.mean() < 0.8 * lip.mean()


def test_both_rows_of_teeth_are_seen_at_s(renderer: BgrRenderer, landmarks: Points) -> None:
    """Nearly shut, with a darker line between them."""
    picture = renderer.render(NEUTRAL, Mouth(*TABLE[CLASSES.index("s")].tolist()))
    middle, top = landmarks[13, :2].astype(int)
    column = picture[top - 4 : top + 9, middle - 8 : middle + 9].mean(axis=(1, 2))
    line = int(column[5:-3].argmin()) + 5
    assert column[:line].max() > column[line] + 20
    assert column[line:].max() > column[line] + 4


def test_the_tongue_moves_without_jumps(renderer: BgrRenderer, landmarks: Points) -> None:
    mouth = Mouth(jaw=0.5, teeth_upper=0.3)
    seen = [mouth_area(renderer.render(NEUTRAL, mouth._replace(tongue=t)), landmarks) for t in np.linspace(0, 1, 41)]
    steps = [float(cv2.absdiff(a, b).mean()) for a, b in pairwise(seen)]
    assert max(steps) < 1.2
