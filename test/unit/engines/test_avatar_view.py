"""Which picture of an avatar a frame shows, and where its landmarks lie on it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.avatar import Avatar, load_default_avatar
from musetalk_service.engines.avatar_view import Framing, View, choose_framing
from musetalk_service.models.face import NEUTRAL, REST, Pose
from musetalk_service.models.media import ClipPosition, FrameSize, parse_size
from musetalk_service.utils.i420 import from_bgr, planes_of, size_of, to_bgr


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return load_default_avatar()


def _marked(size: FrameSize, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    picture = np.zeros((size.height, size.width, 3), np.uint8)
    for x, y in points.round().astype(int):
        picture[y, x] = 255
    return picture


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ("256x256", "512x512"),
        ("512x512", "512x512"),
        ("720x720", "720x720"),
        ("1024x1024", "1024x1024"),
        ("720x1280", "720x1280"),
        ("576x1024", "576x1024"),
        ("288x512", "288x512"),
        ("640x480", "640x480"),
        ("1080x1920", "720x1280"),  # as fine as the drawing is
    ],
)
def test_pictures_are_drawn_in_what_is_asked(avatar: Avatar, asked: str, drawn: str) -> None:
    assert avatar.drawn_size(parse_size(asked)) == parse_size(drawn)


def test_avatar_with_one_picture_shows_a_part_of_it(avatar: Avatar) -> None:
    plain = Avatar("plain", avatar.portrait, avatar.landmarks, "0")
    assert plain.drawn_size(FrameSize(1024, 1024)) == (512, 512)
    assert plain.drawn_size(FrameSize(720, 1280)) == (288, 512)
    picture = to_bgr(plain.draw(FrameSize(720, 1280), ClipPosition("idle_0", 0), NEUTRAL, REST))
    assert picture.shape == (512, 288, 3)
    middle = avatar.portrait[:, 112:400].astype(int)
    assert np.abs(picture.astype(int) - middle).mean() < 3  # the face is in the middle of the default portrait


@pytest.mark.parametrize("asked", ["512x512", "720x720", "1024x1024", "720x1280", "576x1024"])
def test_same_face_in_every_size(avatar: Avatar, asked: str) -> None:
    """Eyes and lips of the larger pictures lie where the landmarks say: they equal the portrait's, scaled."""
    size = parse_size(asked)
    picture, points = avatar._framing(size).prepare(avatar.landmarks)
    assert picture.shape[1::-1] == size
    for index in (468, 473, 13, 61, 291, 152):
        x, y = points[index, :2]
        scale = np.ptp(points[:, 0]) / np.ptp(avatar.landmarks[:, 0])
        here = _patch(picture, float(x), float(y), 9 * scale)
        there = _patch(avatar.portrait, *map(float, avatar.landmarks[index, :2]), 9)
        assert np.abs(here - there).mean() < 12, index


def _patch(picture: NDArray[np.uint8], x: float, y: float, reach: float) -> NDArray[np.float64]:
    """Mean colours of 3 x 3 fields around a place."""
    edges = np.round(np.linspace(-reach, reach, 4)).astype(int)
    left, top = round(x) + edges, round(y) + edges
    fields = [picture[top[j] : top[j + 1], left[i] : left[i + 1]].mean(axis=(0, 1)) for j in range(3) for i in range(3)]
    return np.array(fields)


@pytest.mark.parametrize("asked", ["512x512", "720x720", "1024x1024", "720x1280", "576x1024"])
def test_person_is_told_from_the_background_in_every_size(avatar: Avatar, asked: str) -> None:
    framing = avatar._framing(parse_size(asked))
    matte = framing.prepare_matte(avatar.matte)
    assert matte is not None and matte.shape[::-1] == parse_size(asked)
    _, points = framing.prepare(avatar.landmarks)
    x, y = points[:468, :2].round().astype(int).T
    assert matte[y, x].min() == 255
    assert matte[:20].max() == 0


def test_portraits_matte_fits_larger_pictures_of_the_same(avatar: Avatar) -> None:
    large = View(FrameSize(1024, 1024), 0, 0, 512, 512, avatar.more_views[0].read)
    more = View(FrameSize(720, 1280), -32, -60, 576, 1024, avatar.more_views[1].read)
    shown = choose_framing([large], avatar.landmarks, FrameSize(1024, 1024)).prepare_matte(avatar.matte)
    drawn = avatar._framing(FrameSize(1024, 1024)).prepare_matte(None)
    assert shown is not None and drawn is not None
    assert np.abs(shown.astype(int) - drawn).mean() < 2
    assert choose_framing([more], avatar.landmarks, FrameSize(720, 1280)).prepare_matte(avatar.matte) is None


def test_renderers_are_made_once(avatar: Avatar) -> None:
    small = avatar.renderer(FrameSize(256, 256))
    assert avatar.renderer(FrameSize(512, 512)) is small
    tall = avatar.renderer(FrameSize(720, 1280))
    assert tall is not small and avatar.renderer(FrameSize(720, 1280)) is tall
    assert size_of(tall.render(NEUTRAL, REST)) == (720, 1280)
    assert avatar.memory_bytes() > load_default_avatar().memory_bytes()


def test_pixels_go_with_their_landmarks() -> None:
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = np.random.default_rng(0).uniform(150, 350, (478, 2))
    size = FrameSize(800, 800)
    view = View(size, -44, -44, 600, 600, lambda: _marked(size, view.place(points)[:, :2].astype(float)))
    framing = choose_framing([view], points, FrameSize(450, 800))
    assert isinstance(framing, Framing)
    assert (framing.size, framing.drawn, framing.top) == ((450, 800), (800, 800), 0)
    picture, placed = framing.prepare(points)
    shown = framing.show(from_bgr(picture))
    for x, y in placed[:, :2].round().astype(int):
        assert picture[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max() == 255
        assert shown[max(0, y - 1) : y + 2, max(0, x - framing.left - 1) : x - framing.left + 2].max() > 200


def test_head_at_the_edge_of_a_part_brings_in_what_is_beside_it(avatar: Avatar) -> None:
    plain = Avatar("plain", avatar.portrait, avatar.landmarks, "0")
    tall, square = FrameSize(288, 512), FrameSize(512, 512)
    assert plain.renderer(tall) is plain.renderer(square)
    place, pose = ClipPosition("idle_0", 0), Pose(yaw=0.1, roll=0.1, shift_x=8.0)
    part, whole = plain.draw(tall, place, pose, REST), plain.draw(square, place, pose, REST)
    left = plain._framing(tall).left
    np.testing.assert_array_equal(planes_of(part).y, planes_of(whole).y[:, left : left + 288])


def test_smallest_picture_that_is_fine_enough_is_taken() -> None:
    points = np.full((478, 3), 256, np.float32)
    nothing = np.zeros((2, 2, 3), np.uint8)
    views = [View(FrameSize(n, n), 0, 0, 512, 512, lambda: nothing) for n in (512, 2048, 1024)]
    taken = {n: choose_framing(views, points, FrameSize(n, n)).view.size.width for n in (256, 512, 600, 1024, 1400)}
    assert taken == {256: 512, 512: 512, 600: 1024, 1024: 1024, 1400: 2048}
