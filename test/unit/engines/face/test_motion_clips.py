"""The clips close, rest where they should, differ and stay within what the renderer draws cleanly."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.face.motion import BLINK, CLIP_FRAMES, FPS, LOOPS, make_clip
from musetalk_service.engines.face.motion.curves import pinned, strokes, sway
from musetalk_service.engines.face.motion.idle import IDLE
from musetalk_service.engines.face.motion.manner import Manner, perform
from musetalk_service.engines.face.motion.speaking import SPEAKING
from musetalk_service.models.clips import CLIP_NAME
from musetalk_service.models.face import Pose

COLUMN = {name: index for index, name in enumerate(Pose._fields)}
SMOOTH = [i for name, i in COLUMN.items() if name not in ("blink", "gaze_x", "gaze_y")]
BREATH_FRAMES = 4 * FPS
SWAY = [1.5831696596858305, -0.48490816200772136, 0.06850707117576085]
"""Three values of one sway, which must not depend on versions: encoded clips are kept."""


def shut_frames(lids: NDArray[np.float32]) -> NDArray[np.intp]:
    """The first shut frame of each blink."""
    shut = np.flatnonzero(lids == 1.0)
    return shut[np.diff(shut, prepend=-FPS) > 1]


def test_a_full_avatar_has_all_clips() -> None:
    names = [f"idle_{n}" for n in range(7)] + [f"speaking_{n}" for n in range(8)] + ["action_1", "action_2"]
    assert list(CLIP_FRAMES) == names
    assert all(CLIP_NAME.fullmatch(name) for name in names)
    assert set(LOOPS) == set(names[:15])


def test_lengths() -> None:
    assert all(frames % FPS == 0 for frames in CLIP_FRAMES.values())
    assert CLIP_FRAMES["idle_0"] == 20 * FPS
    assert all(CLIP_FRAMES[name] % BREATH_FRAMES == 0 for name in IDLE)
    assert all(8 <= CLIP_FRAMES[name] / FPS <= 12 for name in IDLE if name != "idle_0")
    assert all(300 <= CLIP_FRAMES[name] <= 500 for name in SPEAKING)


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


@pytest.mark.parametrize(("first", "second"), [*itertools.product(IDLE, repeat=2)])
def test_any_idle_clip_follows_any_other_without_a_seam(first: str, second: str) -> None:
    before, after = make_clip(first).astype(np.float64), make_clip(second).astype(np.float64)
    step = np.abs(after[0] - before[-1])
    inside = [np.abs(np.diff(clip, axis=0)).max(axis=0) for clip in (before, after)]
    assert (step <= np.minimum(*inside) + 1e-6).all()
    # Neither does the velocity jump: the steps into, over and out of the cut are alike.
    steps = np.diff(np.vstack([before[-3:], after[:3]]), axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() < 0.02


@pytest.mark.parametrize("name", IDLE)
def test_idle_clips_begin_and_end_at_rest_with_the_eyes_on_the_viewer(name: str) -> None:
    clip = make_clip(name)
    moving = [i for field, i in COLUMN.items() if field not in ("breath", "smile")]
    assert np.abs(clip[0, moving]).max() < 1e-6
    edge = np.vstack([clip[-4:], clip[:5]])
    assert np.abs(edge[:, moving]).max() < 0.05
    assert np.ptp(edge[:, COLUMN["blink"]]) == 0.0
    assert np.array_equal(clip[0], make_clip("idle_0")[0])
    breath = COLUMN["breath"]
    assert clip[-1, breath] == pytest.approx(make_clip("idle_0")[-1, breath], abs=1e-5)


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_blinks_are_two_to_five_seconds_apart(name: str) -> None:
    clip = make_clip(name)
    shut = shut_frames(clip[:, COLUMN["blink"]])
    gaps = np.diff([*shut, shut[0] + len(clip)]) / FPS
    assert gaps.min() >= 1.8
    assert gaps.max() <= 5.0


def test_blinks_stay_apart_from_one_idle_clip_to_the_next() -> None:
    shut = {name: shut_frames(make_clip(name)[:, COLUMN["blink"]]) for name in IDLE}
    for first, second in itertools.product(IDLE, repeat=2):
        gap = (CLIP_FRAMES[first] - shut[first][-1] + shut[second][0]) / FPS
        assert 1.8 <= gap <= 5.0, (first, second)


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_large_gaze_shifts_come_with_a_blink(name: str) -> None:
    clip = make_clip(name)
    eyes = clip[:, [COLUMN["gaze_x"], COLUMN["gaze_y"]]]
    jump = np.linalg.norm(np.roll(eyes, -3, axis=0) - eyes, axis=1)
    for frame in np.flatnonzero(jump > 0.25):
        around = (frame + np.arange(-6, 10)) % len(clip)
        assert clip[around, COLUMN["blink"]].max() >= 0.7, frame


def test_a_blink_has_its_profile() -> None:
    lids = make_clip("idle_0")[:, COLUMN["blink"]]
    first = shut_frames(lids)[0] - BLINK.index(1.0)
    assert lids[first : first + len(BLINK)] == pytest.approx(BLINK)


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_the_head_turns_no_further_than_its_kind_allows(name: str) -> None:
    assert np.abs(make_clip(name)[:, COLUMN["yaw"]]).max() <= (3.0 if name in IDLE else 5.0)


@pytest.mark.parametrize("kind", [IDLE, SPEAKING], ids=["idle", "speaking"])
def test_every_clip_has_a_character_of_its_own(kind: dict[str, Manner]) -> None:
    """Means, spreads and speeds of the channels, each in units of its spread over the clips of a kind."""
    traits = []
    for name in kind:
        clip = make_clip(name).astype(np.float64)
        traits.append(np.concatenate([clip.mean(axis=0), clip.std(axis=0), np.abs(np.diff(clip, axis=0)).mean(axis=0)]))
    table = np.array(traits)
    table = table[:, table.std(axis=0) > 1e-4]
    table /= table.std(axis=0)
    for one, other in itertools.combinations(range(len(table)), 2):
        assert np.abs(table[one] - table[other]).mean() > 0.5, (one, other)


@pytest.mark.parametrize(
    ("name", "channel", "trait"),
    [
        ("idle_1", "gaze_x", np.std),
        ("idle_2", "gaze_y", np.std),
        ("idle_3", "smile", np.mean),
        ("idle_4", "shift_x", np.std),
        ("idle_5", "brow", np.mean),
        ("idle_6", "pitch", np.max),
        ("speaking_1", "brow", np.std),
        ("speaking_2", "pitch", np.max),
        ("speaking_4", "smile", np.mean),
        ("speaking_6", "yaw", np.std),
        ("speaking_7", "roll", np.std),
    ],
)
def test_a_clip_is_the_first_of_its_kind_in_what_it_is_named_for(name: str, channel: str, trait: np.ufunc) -> None:
    kind = IDLE if name in IDLE else SPEAKING
    values = {other: float(trait(make_clip(other)[:, COLUMN[channel]])) for other in kind}
    if name == "speaking_1":  # brows that ask (speaking_7) go as high; lively ones move more often
        del values["speaking_7"]
    assert max(values, key=values.__getitem__) == name


def test_slow_and_lively_speech_differ_in_speed() -> None:
    speed = {name: np.abs(np.diff(make_clip(name)[:, :3], axis=0)).mean() for name in SPEAKING}
    assert min(speed, key=speed.__getitem__) == "speaking_3"
    assert max(speed, key=speed.__getitem__) == "speaking_1"


def test_sway_is_the_same_on_every_machine() -> None:
    assert sway(300, 1.0, 0.4, 7)[[0, 100, 200]] == pytest.approx(SWAY)
    assert np.sqrt(np.mean(sway(300, 0.6, 0.4, 7) ** 2)) == pytest.approx(0.6)


def test_pinned_curves_pass_through_zero_at_rest() -> None:
    curve = pinned(sway(300, 1.0, 0.6, 5))
    assert curve[0] == 0.0
    assert curve[1] - curve[-1] == pytest.approx(0.0, abs=1e-4)


def test_strokes_wrap_around_the_end() -> None:
    late = strokes(100, [(95, 10, 0, 10, 2.0)])
    assert late[5] == pytest.approx(2.0)
    assert np.array_equal(np.roll(late, 20), strokes(100, [(15, 10, 0, 10, 2.0)]))


def test_a_stroke_of_an_unknown_channel_is_refused() -> None:
    manner = Manner(
        seconds=8, seed=1, sway=0.5, tempo=0.4, gaze=((0, 0.0, 0.0),), head_follows=4.0, blinks=(30,), breaths=2,
        strokes={"chin": ((10, 5, 5, 5, 1.0),)},
    )  # fmt: skip
    with pytest.raises(ValueError, match="chin"):
        perform(manner)


def test_speaking_is_livelier_than_idle() -> None:
    idle, speaking = make_clip("idle_0"), make_clip("speaking_0")
    for name in ("yaw", "pitch", "brow"):
        assert speaking[:, COLUMN[name]].std() > idle[:, COLUMN[name]].std()


def test_unknown_name_lists_the_allowed_ones() -> None:
    with pytest.raises(KeyError, match=r"idle_0.*action_2"):
        make_clip("idle_9")
