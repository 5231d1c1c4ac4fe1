"""Lids that close over the eye and leave everything around it alone."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.landmarks import EYES, EyeIndices
from musetalk_service.models.face import REST, Pose
from support.faces import BgrRenderer, as_sent

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]


def eye_outline(landmarks: Points, eye: EyeIndices) -> NDArray[np.float32]:
    return landmarks[[*eye.upper_lid, *eye.lower_lid[-2:0:-1]], :2]


@pytest.mark.parametrize("blink", [0.3, 0.7, 1.0])
def test_a_blink_leaves_glasses_alone(portrait: Picture, landmarks: Points, blink: float) -> None:
    frame = np.zeros(portrait.shape[:2], np.uint8)
    for eye in EYES:
        outline = eye_outline(landmarks, eye)
        centre, width = outline.mean(axis=0), float(np.ptp(outline[:, 0]))
        axes = (round(0.85 * width), round(0.62 * width))
        cv2.ellipse(frame, (round(float(centre[0])), round(float(centre[1]))), axes, 0, 0, 360, 255, 4)
    glasses = portrait.copy()
    glasses[frame > 0] = 25
    shut = BgrRenderer(glasses, landmarks).render(Pose(blink=blink), REST)
    before, after = (cv2.cvtColor(p, cv2.COLOR_BGR2GRAY)[frame > 0].astype(int) for p in (as_sent(glasses), shut))
    assert np.abs(after - before).max() <= 2


def test_a_blink_leaves_the_brows_alone(renderer: BgrRenderer, seen: Picture, landmarks: Points) -> None:
    lowest_brow = int(max(landmarks[list(eye.brow_edge), 1].max() for eye in EYES))
    lowest_brow -= lowest_brow % 2  # a chroma sample covers two rows
    shut = renderer.render(Pose(blink=1.0), REST)
    assert np.array_equal(shut[:lowest_brow], seen[:lowest_brow])


def test_a_lid_has_the_colour_of_the_skin_around_it(
    renderer: BgrRenderer, portrait: Picture, landmarks: Points
) -> None:
    shut = renderer.render(Pose(blink=1.0), REST)
    for eye in EYES:
        x, y = landmarks[eye.iris, :2].astype(int)
        brow = landmarks[list(eye.brow_edge), 1].mean()
        lid = np.median(shut[y - 4 : y + 3, x - 5 : x + 6].reshape(-1, 3), axis=0)
        above = portrait[int(brow) + 8 : int(landmarks[list(eye.upper_lid), 1].min()) - 2, x - 5 : x + 6]
        skin = np.median(above.reshape(-1, 3), axis=0)
        assert lid == pytest.approx(skin, rel=0.3)
        assert lid / lid.mean() == pytest.approx(skin / skin.mean(), rel=0.12)


def test_shut_lids_have_a_lash_line(renderer: BgrRenderer, landmarks: Points) -> None:
    shut = cv2.cvtColor(renderer.render(Pose(blink=1.0), REST), cv2.COLOR_BGR2GRAY)
    for eye in EYES:
        x = int(landmarks[eye.iris, 0])
        bottom = int(landmarks[list(eye.lower_lid), 1].max())
        column = shut[bottom - 12 : bottom + 4, x - 2 : x + 3].mean(axis=1)
        assert column.min() < 0.6 * np.median(column)


def test_an_eye_that_is_shut_already_stays_as_it_is(portrait: Picture, seen: Picture, landmarks: Points) -> None:
    asleep = landmarks.copy()
    for eye in EYES:
        asleep[list(eye.upper_lid), 1] = asleep[list(eye.lower_lid), 1] - 0.5
    shut = BgrRenderer(portrait, asleep).render(Pose(blink=1.0), REST)
    assert np.array_equal(shut, seen)


def test_a_heavier_closure_covers_more(renderer: BgrRenderer, landmarks: Points) -> None:
    def white_and_iris(blink: float) -> float:
        picture = renderer.render(Pose(blink=blink), REST)
        mask = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillPoly(mask, [eye_outline(landmarks, EYES[0]).astype(np.int32)], 255)
        saturation = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[..., 1][mask > 0]
        return float((saturation < 60).mean())

    shares = [white_and_iris(blink) for blink in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.05 < shares[0]
