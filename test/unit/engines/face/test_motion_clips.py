"""The clips close, rest where they should and stay within what the renderer draws cleanly."""

import numpy as np
import pytest

from musetalk_service.engines.face.motion import BLINK, CLIP_FRAMES, FPS, LOOPS, make_clip
from musetalk_service.models.face import Pose

COLUMN = {name: index for index, name in enumerate(Pose._fields)}
SMOOTH = [i for name, i in COLUMN.items() if name not in ("blink", "gaze_x", "gaze_y")]


@pytest.mark.parametrize("name", CLIP_FRAMES)
def test_shape_and_repeatability(name: str) -> None:
    clip = make_clip(name)
    assert clip.shape == (CLIP_FRAMES[name], len(Pose._fields))
    assert clip.dtype == np.float32
    assert np.isfinite(clip).all()
    assert np.array_equal(clip, make_clip(name))


@pytest.mark.parametrize("name", CLIP_FRAMES)
def test_stays_within_the_clean_range(name: str) -> None:
    clip = make_clip(name)
    assert np.abs(clip[:, [COLUMN["yaw"], COLUMN["pitch"], COLUMN["roll"]]]).max() <= 6.0
    assert np.abs(clip[:, [COLUMN["gaze_x"], COLUMN["gaze_y"]]]).max() <= 0.35
    for unit in ("brow", "blink", "smile"):
        assert clip[:, COLUMN[unit]].min() >= 0.0
        assert clip[:, COLUMN[unit]].max() <= 1.0


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_loops_have_no_seam(name: str) -> None:
    clip = make_clip(name).astype(np.float64)
    assert len(clip) % FPS == 0
    velocity = np.diff(np.vstack([clip, clip[:1]]), axis=0)
    inside, wrap = np.abs(velocity[:-1]).max(axis=0), np.abs(velocity[-1])
    assert (wrap <= inside + 1e-6).all()
    smooth = np.vstack([velocity, velocity[:1]])[:, SMOOTH]
    change = np.abs(np.diff(smooth, axis=0))
    assert (change[-1] <= 1.1 * change[:-1].max(axis=0) + 1e-6).all()


@pytest.mark.parametrize("name", sorted(set(CLIP_FRAMES) - LOOPS))
def test_gestures_start_and_end_at_rest(name: str) -> None:
    clip = make_clip(name)
    assert np.abs(clip[0]).max() == 0.0
    assert np.abs(clip[-1]).max() < 1e-3
    assert np.abs(clip[1] - clip[0]).max() < 0.05
    assert np.abs(clip[-1] - clip[-2]).max() < 0.01


def test_idle_is_calm_and_blinks_every_two_to_five_seconds() -> None:
    clip = make_clip("idle_0")
    assert np.abs(clip[:, COLUMN["yaw"]]).max() <= 3.0
    lids = clip[:, COLUMN["blink"]]
    shut = np.flatnonzero(lids == 1.0)
    gaps = np.diff([*shut, shut[0] + len(clip)]) / FPS
    assert gaps.min() >= 1.8
    assert gaps.max() <= 5.0
    first = shut[0] - BLINK.index(1.0)
    assert lids[first : first + len(BLINK)] == pytest.approx(BLINK)


def test_speaking_is_livelier_than_idle() -> None:
    idle, speaking = make_clip("idle_0"), make_clip("speaking_0")
    for name in ("yaw", "pitch", "brow"):
        assert speaking[:, COLUMN[name]].std() > idle[:, COLUMN[name]].std()


def test_unknown_name_lists_the_allowed_ones() -> None:
    with pytest.raises(KeyError, match=r"idle_0.*action_2"):
        make_clip("idle_9")
