"""What a rendered portrait must and must not do, measured in its pixels."""

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.landmarks import EYE_LEVEL, EYES
from musetalk_service.engines.face.motion import make_clip
from musetalk_service.models.face import NEUTRAL, REST, Mouth, Pose
from support.faces import BgrRenderer

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

VISEMES = {
    "rest": REST,
    "p": Mouth(press=1.0),
    "f": Mouth(jaw=0.16, tuck=1.0, upper_raise=0.55, teeth_upper=1.0),
    "th": Mouth(jaw=0.28, tongue=0.9, teeth_upper=0.9, upper_raise=0.15),
    "d": Mouth(jaw=0.22, wide=0.15, teeth_upper=0.7, tongue=0.5, lower_drop=0.2),
    "ch": Mouth(jaw=0.18, round=0.45, upper_raise=0.5, lower_drop=0.5, teeth_upper=0.8, teeth_lower=0.9),
    "s": Mouth(jaw=0.1, wide=0.5, upper_raise=0.4, lower_drop=0.6, teeth_upper=0.8, teeth_lower=1.0),
    "aa": Mouth(jaw=0.95, teeth_upper=0.6, tongue=0.1, upper_raise=0.2),
    "e": Mouth(jaw=0.5, wide=0.5, upper_raise=0.3, teeth_upper=0.8, tongue=0.3),
    "i": Mouth(jaw=0.25, wide=0.9, upper_raise=0.35, lower_drop=0.3, teeth_upper=0.9, teeth_lower=0.7),
    "o": Mouth(jaw=0.6, round=0.75, teeth_upper=0.3),
    "u": Mouth(jaw=0.28, round=1.0, teeth_upper=0.1),
}


def dark_area(picture: Picture, points: Points) -> int:
    """Pixels around the mouth that are much darker than lips: what is seen of its inside."""
    (left, y), (right, _) = points[61, :2], points[291, :2]
    width = right - left
    area = picture[int(y - 0.2 * width) : int(y + 0.7 * width), int(left) : int(right)]
    grey = cv2.cvtColor(area, cv2.COLOR_BGR2GRAY)
    return int((grey < 60).sum())


def pupil(picture: Picture, points: Points, eye: int = 0) -> tuple[float, float]:
    """Centre of the darkest pixels of an eye."""
    x, y = points[EYES[eye].iris, :2]
    radius = 1.6 * float(np.hypot(*(points[EYES[eye].iris + 1, :2] - (x, y))))
    left, top = int(x - radius), int(y - radius)
    area = picture[top : int(y + radius) + 1, left : int(x + radius) + 1].astype(np.float64).mean(axis=2)
    weight = np.clip(70.0 - area, 0.0, None) ** 2
    rows, columns = np.mgrid[: area.shape[0], : area.shape[1]]
    return float((weight * columns).sum() / weight.sum()), float((weight * rows).sum() / weight.sum())


def test_neutral_is_the_portrait_bit_for_bit(renderer: BgrRenderer, seen: Picture) -> None:
    first, second = renderer.render(NEUTRAL, REST), renderer.render(NEUTRAL, REST)
    assert np.array_equal(first, seen)
    assert first is not second
    first[:] = 0
    assert np.array_equal(renderer.render(NEUTRAL, REST), seen)


def test_a_hardly_open_mouth_hardly_changes_the_portrait(renderer: BgrRenderer, seen: Picture) -> None:
    picture = renderer.render(Pose(yaw=1e-6), Mouth(jaw=1e-6))
    assert np.abs(picture.astype(int) - seen).max() <= 1


def test_same_inputs_same_picture(renderer: BgrRenderer) -> None:
    pose = Pose(yaw=2.0, pitch=-1.0, roll=1.0, brow=0.4, blink=0.4, gaze_x=0.2, smile=0.5, breath=1.0)
    first = renderer.render(pose, VISEMES["aa"])
    renderer.render(Pose(*make_clip("action_1")[20].tolist()), VISEMES["u"])
    assert np.array_equal(first, renderer.render(pose, VISEMES["aa"]))


def test_jaw_opens_the_mouth_monotonically(renderer: BgrRenderer, landmarks: Points) -> None:
    areas = [dark_area(renderer.render(NEUTRAL, Mouth(jaw=jaw)), landmarks) for jaw in (0.0, 0.15, 0.3, 0.5, 0.75, 1.0)]
    assert all(b > a for a, b in itertools.pairwise(areas[1:])), areas
    assert areas[1] >= 0.9 * areas[0]  # the line between shut lips is dark, too
    assert areas[-1] > areas[0] + 300


def test_press_shuts_an_open_jaw(renderer: BgrRenderer, landmarks: Points) -> None:
    opened = dark_area(renderer.render(NEUTRAL, Mouth(jaw=0.6)), landmarks)
    pressed = dark_area(renderer.render(NEUTRAL, Mouth(jaw=0.6, press=1.0)), landmarks)
    at_rest = dark_area(renderer.render(NEUTRAL, REST), landmarks)
    assert pressed <= at_rest + 0.05 * (opened - at_rest)


def test_upper_teeth_brighten_the_opening(renderer: BgrRenderer, landmarks: Points) -> None:
    hidden = dark_area(renderer.render(NEUTRAL, Mouth(jaw=0.5)), landmarks)
    shown = dark_area(renderer.render(NEUTRAL, Mouth(jaw=0.5, teeth_upper=1.0)), landmarks)
    assert shown < 0.7 * hidden


@pytest.mark.parametrize("mouth", VISEMES.values(), ids=VISEMES)
@pytest.mark.parametrize("smile", [0.0, 1.0])
def test_the_mouth_leaves_the_upper_face_alone(
    renderer: BgrRenderer, seen: Picture, landmarks: Points, mouth: Mouth, smile: float
) -> None:
    top = int(landmarks[EYE_LEVEL, 1])
    picture = renderer.render(Pose(smile=smile), mouth)
    assert np.array_equal(picture[:top], seen[:top])


@pytest.mark.parametrize("mouth", VISEMES.values(), ids=VISEMES)
@pytest.mark.parametrize("smile", [0.0, 0.5, 1.0])
def test_no_viseme_folds_the_skin(renderer: BgrRenderer, mouth: Mouth, smile: float) -> None:
    assert renderer.smallest_stretch(mouth, smile) > 0.15


def test_no_mouth_folds_the_skin(renderer: BgrRenderer) -> None:
    generator = np.random.default_rng(1)
    corners = generator.integers(0, 2, (150, len(Mouth._fields) + 1)).astype(float)
    inside = generator.random((150, len(Mouth._fields) + 1))
    worst = min(renderer.smallest_stretch(Mouth(*row[1:]), row[0]) for row in [*corners, *inside])
    assert worst > 0.1


def test_inputs_out_of_range_are_limited(renderer: BgrRenderer) -> None:
    wild = renderer.render(Pose(yaw=90.0, blink=7.0, gaze_x=9.0, brow=3.0, smile=2.0), Mouth(jaw=4.0, wide=-2.0))
    tame = renderer.render(Pose(yaw=8.0, blink=1.0, gaze_x=0.35, brow=1.0, smile=1.0), Mouth(jaw=1.0))
    assert np.array_equal(wild, tame)


def test_blink_changes_the_eyes_only(renderer: BgrRenderer, seen: Picture, landmarks: Points) -> None:
    changed = (renderer.render(Pose(blink=1.0), REST) != seen).any(axis=2)
    assert changed.any()
    eyes = np.zeros_like(changed)
    for eye in EYES:
        lids = landmarks[[*eye.upper_lid, *eye.lower_lid], :2]
        width = float(np.ptp(lids[:, 0]))
        left, right = lids[:, 0].min() - 0.4 * width, lids[:, 0].max() + 0.4 * width
        top, bottom = landmarks[list(eye.brow_edge), 1].min() - 3, lids[:, 1].max() + 0.35 * width
        eyes[int(top) : int(bottom), int(left) : int(right)] = True
    assert not (changed & ~eyes).any()


def test_shut_lids_hide_the_iris(renderer: BgrRenderer, portrait: Picture, landmarks: Points) -> None:
    x, y = landmarks[EYES[0].iris, :2].astype(int)
    iris = np.s_[y - 3 : y + 4, x - 3 : x + 4]
    shut = renderer.render(Pose(blink=1.0), REST)
    assert portrait[iris].mean() + 30 < shut[iris].mean()


def test_gaze_moves_the_pupils(renderer: BgrRenderer, portrait: Picture, landmarks: Points) -> None:
    for eye in (0, 1):
        centre = pupil(portrait, landmarks, eye)
        right = pupil(renderer.render(Pose(gaze_x=0.3), REST), landmarks, eye)
        left = pupil(renderer.render(Pose(gaze_x=-0.3), REST), landmarks, eye)
        assert right[0] - 0.8 > centre[0] > left[0] + 0.8


def test_head_turns_the_way_the_pose_says(renderer: BgrRenderer, portrait: Picture, landmarks: Points) -> None:
    centre = pupil(portrait, landmarks)
    assert pupil(renderer.render(Pose(yaw=3.0), REST), landmarks)[0] > centre[0] + 1.0
    assert pupil(renderer.render(Pose(yaw=-3.0), REST), landmarks)[0] < centre[0] - 1.0
    assert pupil(renderer.render(Pose(shift_y=2.0), REST), landmarks)[1] == pytest.approx(centre[1] + 2.0, abs=0.4)
    clockwise = renderer.render(Pose(roll=3.0), REST)
    assert pupil(clockwise, landmarks, 0)[1] < pupil(clockwise, landmarks, 1)[1] - 1.0


@pytest.mark.parametrize("mouth", [VISEMES["aa"], VISEMES["i"]], ids=["aa", "i"])
def test_mouth_and_eyes_ride_on_the_head(renderer: BgrRenderer, landmarks: Points, mouth: Mouth) -> None:
    # By even numbers of pixels, so that the chroma samples move along.
    still = renderer.render(Pose(blink=0.7, gaze_x=0.2, smile=0.5), mouth).astype(int)
    moved = renderer.render(Pose(blink=0.7, gaze_x=0.2, smile=0.5, shift_x=4.0, shift_y=-2.0), mouth).astype(int)
    left, right = int(landmarks[33, 0]), int(landmarks[263, 0])
    top, bottom = int(landmarks[105, 1]), int(landmarks[17, 1])
    difference = moved[top - 2 : bottom - 2, left + 4 : right + 4] - still[top:bottom, left:right]
    assert np.abs(difference).mean() < 0.7
    assert np.percentile(np.abs(difference), 99.5) < 12


def test_teeth_turn_with_the_head(renderer: BgrRenderer, landmarks: Points) -> None:
    """The line between lips and teeth is as slanted as the head."""
    tilted = renderer.render(Pose(roll=6.0), Mouth(jaw=0.5, teeth_upper=1.0, wide=0.5))
    matrix = cv2.getRotationMatrix2D((float(landmarks[152, 0]), float(landmarks[152, 1])), 6.0, 1.0)
    upright = cv2.warpAffine(tilted, matrix, (512, 512), flags=cv2.INTER_CUBIC)
    still = renderer.render(NEUTRAL, Mouth(jaw=0.5, teeth_upper=1.0, wide=0.5))
    left, right = landmarks[[61, 291], 0].astype(int)
    top, bottom = int(landmarks[61, 1]) - 8, int(landmarks[61, 1]) + 22
    area = upright[top - 12 : bottom + 12, left - 12 : right + 12]
    match = cv2.matchTemplate(area, still[top:bottom, left:right], cv2.TM_CCOEFF_NORMED)
    assert match.max() > 0.95


def test_breath_moves_the_shoulders_only(renderer: BgrRenderer, seen: Picture, landmarks: Points) -> None:
    changed = (renderer.render(Pose(breath=1.5), REST) != seen).any(axis=2)
    assert changed[-40:].mean() > 0.2
    assert not changed[: int(landmarks[152, 1])].any()


@pytest.mark.parametrize(
    "shape, dtype",
    [
        ((512, 512), np.uint8),
        ((100, 512, 3), np.uint8),
        ((512, 511, 3), np.uint8),
        ((512, 512, 4), np.uint8),
        ((512, 512, 3), np.float32),
    ],
)
def test_other_pictures_are_refused(landmarks: Points, shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(ValueError, match="portrait must be"):
        BgrRenderer(np.zeros(shape, dtype), landmarks)


def test_landmarks_of_no_usable_face_are_refused(portrait: Picture, landmarks: Points) -> None:
    with pytest.raises(ValueError, match="shape"):
        BgrRenderer(portrait, landmarks[:468])
    unknown = landmarks.copy()
    unknown[5, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        BgrRenderer(portrait, unknown)
    with pytest.raises(ValueError, match="upright"):
        BgrRenderer(portrait, (np.array([512, 0, 0], np.float32) - landmarks * [1, -1, 1]).astype(np.float32))
    with pytest.raises(ValueError, match="too small"):
        BgrRenderer(portrait, landmarks * np.float32(0.2))
    with pytest.raises(ValueError, match="inside"):
        BgrRenderer(portrait, landmarks + np.float32(200.0))
