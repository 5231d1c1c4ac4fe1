"""Pictures as the encoder takes them: their planes, their sizes, and what of them is left alone."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.frame import Frame, Texture, WarpMaps
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.face import NEUTRAL, REST, Mouth, Pose
from musetalk_service.models.media import FrameSize
from musetalk_service.utils.i420 import from_bgr, size_of, to_bgr

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

SPEAKING = Mouth(jaw=0.6, teeth_upper=0.6, upper_raise=0.2)
MOVED = Pose(yaw=3.0, pitch=-2.0, roll=2.0, shift_x=4.0, shift_y=-2.0, breath=1.5, brow=0.5, gaze_x=0.2, smile=0.3)


def _still(size: FrameSize) -> WarpMaps:
    y, x = np.mgrid[: size.height, : size.width].astype(np.float32)
    return WarpMaps(Box(0, 0, *size), 2 * x, 2 * y)


def test_neutral_is_the_portrait_in_i420_bit_for_bit(portrait: Picture, landmarks: Points) -> None:
    assert np.array_equal(FaceRenderer(portrait, landmarks).render(NEUTRAL, REST), from_bgr(portrait))


def test_maps_that_move_nothing_give_the_portrait(portrait: Picture) -> None:
    texture = Texture(portrait)
    frame = Frame(texture, _still(texture.size), [Box(0, 0, 512, 200), Box(100, 200, 412, 512)], None)
    assert np.array_equal(frame.finish(), texture.base)


def test_only_what_was_painted_changes(portrait: Picture) -> None:
    texture = Texture(portrait)
    frame = Frame(texture, None, [], None)
    frame.bgr(Box(101, 203, 120, 210))[:] = (0, 0, 255)
    before, after = to_bgr(texture.base), to_bgr(frame.finish())
    changed = np.argwhere((before != after).any(axis=2))
    # Whole chroma samples: one pixel more on either side.
    assert changed.min(axis=0) == pytest.approx((202, 100), abs=1) and changed.max(axis=0) == pytest.approx(
        (209, 119), abs=1
    )
    assert np.abs(after[204:209, 102:119].astype(int) - (0, 0, 255)).max() < 4


def test_what_is_painted_on_a_moved_picture_lies_on_it(portrait: Picture) -> None:
    texture = Texture(portrait)
    still = _still(texture.size)
    moved = still._replace(x=still.x - np.float32(8.0))
    mouth = moved.part(Box(200, 300, 300, 360))
    frame = Frame(texture, moved, [still.box], mouth)
    pixels = frame.bgr(Box(190, 290, 260, 350))
    assert np.array_equal(pixels, portrait[290:350, 186:256])


def test_what_the_mouth_moves_is_seen_within_the_areas_and_beyond_them(portrait: Picture) -> None:
    texture = Texture(portrait)
    still = _still(texture.size)
    mouth = still._replace(x=still.x + np.float32(12.0)).part(Box(180, 300, 300, 380))
    areas = [Box(200, 100, 400, 320), Box(240, 320, 300, 400)]
    frames = [Frame(texture, *head, mouth).finish() for head in ((_Fresh(still), areas), (None, []))]
    assert np.array_equal(frames[0], frames[1])
    assert np.array_equal(frames[0][300:380, 180:300], texture.base[300:380, 186:306])


class _Fresh:
    def __init__(self, maps: WarpMaps) -> None:
        self._maps = maps

    def part(self, box: Box) -> WarpMaps:
        found = self._maps.part(box)
        return WarpMaps(box, found.x.copy(), found.y.copy())


def test_a_box_without_holes_has_every_other_pixel_once() -> None:
    box, holes = Box(2, 2, 30, 20), [Box(0, 0, 12, 8), Box(8, 6, 20, 30), Box(40, 40, 50, 50)]
    count = np.zeros((60, 60), int)
    for part in box.without(*holes):
        count[part.pixels] += 1
    left = np.zeros((60, 60), bool)
    left[box.pixels] = True
    for hole in holes:
        left[hole.pixels] = False
    assert np.array_equal(count, left.astype(int))


def test_the_picture_beyond_the_reach_of_the_head_is_untouched(renderer: FaceRenderer, seen: Picture) -> None:
    picture = renderer.render(MOVED, SPEAKING)
    assert np.array_equal(picture[:80, :60], seen[:80, :60])


@pytest.mark.parametrize("side", [256, 720, 1024])
def test_a_pose_looks_alike_in_any_size(portrait: Picture, landmarks: Points, side: int) -> None:
    """The portrait enlarged, posed and shrunk again is the portrait posed."""
    ratio = side / 512
    usual = to_bgr(FaceRenderer(portrait, landmarks).render(MOVED, SPEAKING))
    scaled = np.asarray(
        cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC)
    )
    points = landmarks * np.float32(ratio)
    points[:, :2] += np.float32(0.5 * (ratio - 1))
    picture = FaceRenderer(scaled.astype(np.uint8), points).render(MOVED, SPEAKING)
    assert size_of(picture) == (side, side)
    small = cv2.resize(to_bgr(picture), (256, 256), interpolation=cv2.INTER_AREA).astype(float)
    difference = np.abs(small - cv2.resize(usual, (256, 256), interpolation=cv2.INTER_AREA))
    assert difference.mean() < 1.8
    still = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA).astype(float)
    assert difference.mean() < 0.35 * np.abs(small - still).mean()


def test_a_tall_picture_is_posed_like_its_upper_square(portrait: Picture, landmarks: Points) -> None:
    tall = cv2.copyMakeBorder(portrait, 0, 398, 0, 0, cv2.BORDER_REPLICATE)
    picture = FaceRenderer(np.asarray(tall, np.uint8), landmarks).render(MOVED, SPEAKING)
    assert size_of(picture) == (512, 910)
    usual = FaceRenderer(portrait, landmarks).render(MOVED, SPEAKING)
    assert np.abs(picture[:400].astype(int) - usual[:400]).mean() < 0.5
