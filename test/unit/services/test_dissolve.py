"""Pictures that do not belong together are joined; portraits, and a video that runs on, are left alone."""

import numpy as np
import pytest

from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base_video import BaseVideo
from musetalk_service.models.avatar_manifest import ClipRange
from musetalk_service.models.media import BASE_SIZE, ClipPosition, FrameSize
from musetalk_service.services.dissolve import Dissolve
from support.in_process import default_avatar

FRAMES = 50


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    """Whose frames are as grey as their index says."""
    frames = np.repeat(np.arange(2 * FRAMES, dtype=np.uint8) * 2, 768 * 512).reshape(-1, 768, 512)
    still = np.tile(np.eye(2, 3, dtype=np.float32), (len(frames), 1, 1))
    clips = {
        "idle_0": ClipRange(first=0, frames=FRAMES),
        "speaking_0": ClipRange(first=0, frames=FRAMES),
        "speaking_1": ClipRange(first=FRAMES, frames=25, ping_pong=True),
    }
    return default_avatar().with_base_video(BaseVideo(frames, still, clips))


def _grey(level: int) -> np.ndarray:
    return np.full((768, 512), level, np.uint8)


def _levels(dissolve: Dissolve, places: list[ClipPosition], levels: list[int]) -> list[int]:
    shown = (dissolve.show(place, _grey(level)) for place, level in zip(places, levels, strict=True))
    return [int(picture[0, 0]) for picture in shown]


def test_a_base_video_has_its_clips_and_takes_the_other_idle_ones_away(avatar: Avatar) -> None:
    assert {"idle_0", "speaking_0", "speaking_1", "speaking_2", "action_1"} < set(avatar.clips)
    assert "idle_1" not in avatar.clips
    assert [avatar.clip_frames(clip) for clip in ("idle_0", "speaking_1", "action_1")] == [50, 50, 75]
    assert avatar.base_video is not None
    order = [avatar.base_video.index(ClipPosition("speaking_1", n)) for n in (0, 24, 25, 49, 50)]
    assert order == [50, 74, 74, 50, 50]


def test_portraits_are_never_touched() -> None:
    dissolve = Dissolve(default_avatar(), BASE_SIZE, ClipPosition("idle_0", 5))
    places = [ClipPosition("idle_0", 6), ClipPosition("speaking_0", 100), ClipPosition("action_1", 0)]
    assert _levels(dissolve, places, [10, 200, 90]) == [10, 200, 90]
    assert dissolve.follow(places[1]) == places[1]


def test_a_video_that_runs_on_is_left_alone_over_its_seam(avatar: Avatar) -> None:
    dissolve = Dissolve(avatar, BASE_SIZE, ClipPosition("idle_0", 47))
    places = [ClipPosition("idle_0", n) for n in (48, 49, 0, 1, 5)]
    assert _levels(dissolve, places, [96, 98, 0, 2, 10]) == [96, 98, 0, 2, 10]


def test_speech_goes_on_in_the_video_that_is_seen(avatar: Avatar) -> None:
    dissolve = Dissolve(avatar, BASE_SIZE, ClipPosition("idle_0", 20))
    places = [dissolve.follow(ClipPosition("speaking_0", n)) for n in (311, 312)]
    assert [avatar.base_video.index(place) for place in places] == [21, 22]  # type: ignore[union-attr]
    assert _levels(dissolve, places, [42, 44]) == [42, 44]
    back = dissolve.follow(ClipPosition("idle_0", 7))
    assert back == ClipPosition("idle_0", 7)


def test_jumps_fade_within_a_third_of_a_second(avatar: Avatar) -> None:
    dissolve = Dissolve(avatar, BASE_SIZE, ClipPosition("idle_0", 10))
    places = [ClipPosition("speaking_1", n) for n in range(12)]
    levels = _levels(dissolve, places, [200] * 12)
    assert levels == sorted(levels)
    assert 20 < levels[0] < 60  # what was seen had the level 20
    assert levels[7] < 200 and levels[8:] == [200] * 4
    assert max(np.diff(levels)) < 30


def test_idle_clips_follow_each_other_at_their_ends_alone(avatar: Avatar) -> None:
    assert avatar.base_video is not None
    clips = {"idle_0": ClipRange(first=0, frames=50), "idle_1": ClipRange(first=50, frames=25, ping_pong=True)}
    video = BaseVideo(avatar.base_video.frames, avatar.base_video.transforms, clips)
    assert video.joins(ClipPosition("idle_0", 49), ClipPosition("idle_1", 0))
    assert video.joins(ClipPosition("idle_1", 98), ClipPosition("idle_0", 1))
    assert not video.joins(ClipPosition("idle_0", 20), ClipPosition("idle_1", 0))
    assert not video.joins(ClipPosition("idle_0", 49), ClipPosition("action_1", 0))


def test_other_sizes_show_the_portrait(avatar: Avatar) -> None:
    size = FrameSize(1024, 1024)
    dissolve = Dissolve(avatar, size, ClipPosition("idle_0", 10))
    if avatar.drawn_size(size) != BASE_SIZE:
        assert _levels(dissolve, [ClipPosition("speaking_1", 0)], [200]) == [200]
