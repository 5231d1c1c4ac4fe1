"""A host's sessions: epochs, held frames, the pose across clips, the mouth at the end of speech."""

import wave
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.bus import messages as bus
from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.builtin.engine import BuiltinEngine
from musetalk_service.engines.builtin.network import load_network
from musetalk_service.engines.static import StaticEngine
from musetalk_service.engines.voice import Voice
from musetalk_service.errors import ModelNotFoundError
from musetalk_service.models.media import ClipPosition, FrameSize, make_renditions
from musetalk_service.services.dissolve import Dissolve
from musetalk_service.services.engine_host import EngineHost, PoseEaser
from musetalk_service.services.engine_scheduler import EngineScheduler
from musetalk_service.utils import h264
from support.engines import SHUT, GreyEngine, OrderedGreyEngine, ShutEngine, tone
from support.in_process import default_avatar
from support.video import decode, greys

START = ClipPosition("idle_0", 0)
RENDITION = make_renditions(23, 1500)[0]
FINE = make_renditions(12, 20_000)[0]


def _avatars(name: str) -> Avatar:
    if name != "default":
        raise ModelNotFoundError(f"no avatar {name!r}")
    return default_avatar()


@pytest.fixture
def engine() -> GreyEngine:
    return GreyEngine()


@pytest.fixture
def host(engine: GreyEngine) -> EngineHost:
    scheduler = EngineScheduler({"builtin": engine, "static": ShutEngine()}, lambda: 0.0)
    return EngineHost(scheduler, _avatars, _voice)


def _voice() -> Voice:
    return Voice(load_network())


def _open(session: str = "s", epoch: int = 1, engine: str = "builtin") -> bus.Open:
    return bus.Open(session, epoch, "default", engine, RENDITION, START)


def _render(
    frame: int, session: str = "s", epoch: int = 1, grey: int | None = None, force_idr: bool = False
) -> bus.Render:
    pcm = b"" if grey is None else tone(grey, 0.04).tobytes()
    position = None if grey is None else 640 * frame
    place = ClipPosition("idle_0", frame)
    return bus.Render(session, epoch, frame, place, force_idr, position, 640 * frame, pcm)


def _frames(replies: list[bus.DownMessage]) -> list[bus.Frame]:
    return [reply for reply in replies if isinstance(reply, bus.Frame)]


def test_each_request_is_one_frame_beginning_with_an_idr(host: EngineHost) -> None:
    frames = [_frames(host.handle([message])) for message in (_open(), *(_render(n, grey=40) for n in range(5)))]
    assert [len(made) for made in frames] == [0, 1, 1, 1, 1, 1]
    made = [frame for step in frames for frame in step]
    assert [frame.frame for frame in made] == list(range(5))
    assert [frame.is_idr for frame in made] == [True, False, False, False, False]
    assert not any(frame.held for frame in made)
    assert greys([frame.access_unit for frame in made]) == [40] * 5
    label = h264.read_user_data(made[0].access_unit, h264.SYNTHETIC_UUID)
    assert label is not None and "engine=builtin" in label


def test_requests_that_piled_up_repeat_the_last_picture(host: EngineHost, engine: GreyEngine) -> None:
    (first,) = _frames(host.handle([_open(), _render(0, grey=40)]))
    made = _frames(host.handle([_render(n, grey=40 * n) for n in range(1, 5)]))
    assert [frame.frame for frame in made] == [1, 2, 3, 4]
    assert [frame.held for frame in made] == [True, True, True, False]
    assert engine.batches == [1, 1]
    assert greys([first.access_unit, *(frame.access_unit for frame in made)]) == [40, 40, 40, 40, 160]


def test_pile_at_the_opening_renders_once(host: EngineHost, engine: GreyEngine) -> None:
    made = _frames(host.handle([_open(), *(_render(n, grey=40) for n in range(6))]))
    assert [frame.frame for frame in made] == list(range(6))
    assert engine.batches == [1]
    assert greys([frame.access_unit for frame in made]) == [40] * 6


def test_sessions_that_wait_together_are_one_batch(host: EngineHost, engine: GreyEngine) -> None:
    host.handle([_open("a"), _open("b"), _open("c")])
    made = _frames(host.handle([_render(0, name, grey=grey) for name, grey in (("a", 16), ("b", 100), ("c", 200))]))
    assert engine.batches == [3]
    assert {frame.session: greys([frame.access_unit])[0] for frame in made} == {"a": 16, "b": 100, "c": 200}


def test_other_epochs_are_not_served(host: EngineHost) -> None:
    host.handle([_open(epoch=2)])
    assert host.handle([_render(0, epoch=1), _render(0, "nobody")]) == []
    host.handle([bus.Shut("s", 1)])  # late, of the time before
    assert len(host.handle([_render(0, epoch=2)])) == 1
    host.handle([bus.Shut("s", 2)])
    assert host.handle([_render(1, epoch=2)]) == []


def test_reopening_begins_anew_with_an_idr(host: EngineHost) -> None:
    host.handle([_open(epoch=1), _render(0), _render(1)])
    made = _frames(host.handle([_open(epoch=2), _render(2, epoch=2)]))
    assert [frame.is_idr for frame in made] == [True]


def test_unknown_avatar_is_a_failed_session(host: EngineHost) -> None:
    (reply,) = host.handle([bus.Open("s", 1, "nobody", "builtin", RENDITION, START)])
    assert isinstance(reply, bus.SessionFailed) and (reply.session, reply.epoch) == ("s", 1)


def test_encoder_that_fails_costs_only_its_session(host: EngineHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.handle([_open("a"), _open("b")])

    def fail(*_: object, **__: object) -> None:
        raise OSError("encoder")

    monkeypatch.setattr(host._speakers["a"].encoder, "encode", fail)
    replies = host.handle([_render(0, "a"), _render(0, "b")])
    assert [type(reply).__name__ for reply in replies] == ["SessionFailed", "Frame"]
    assert [reply.session for reply in replies] == ["a", "b"]


def test_change_of_engine_is_told_before_its_frame(host: EngineHost, engine: GreyEngine) -> None:
    host.handle([_open()])
    engine.all_broken = True
    replies = host.handle([_render(0, grey=40)])
    assert [type(reply).__name__ for reply in replies] == ["EngineChanged", "Frame"]
    assert _frames(replies)[0].engine == "static"
    assert greys([_frames(replies)[0].access_unit]) == [SHUT]


# --- frames that are made elsewhere ---


@pytest.fixture
def slow() -> OrderedGreyEngine:
    return OrderedGreyEngine()


@pytest.fixture
def slow_host(slow: OrderedGreyEngine, engine: GreyEngine) -> EngineHost:
    engines = {"musetalk": slow, "builtin": engine, "static": ShutEngine()}
    return EngineHost(EngineScheduler(engines, lambda: 0.0), _avatars, _voice)


def test_frames_made_elsewhere_come_later_and_hold_nobody_up(slow_host: EngineHost, slow: OrderedGreyEngine) -> None:
    assert slow_host.handle([_open("s", engine="musetalk"), _open("b")]) == []
    assert slow_host.filenos() == []
    made = _frames(slow_host.handle([_render(0, "s", grey=40), _render(0, "b", grey=200)]))
    assert [frame.session for frame in made] == ["b"]
    assert slow_host.filenos() == [99]
    assert _frames(slow_host.handle([_render(1, "s", grey=80)])) == []
    assert [position for _, position in slow.orders] == [0, 640]
    slow.ready.add(640)
    assert slow_host.handle([]) == []  # the one before it is not there
    slow.ready.add(0)
    made = _frames(slow_host.handle([]))
    assert [(frame.frame, frame.is_idr, frame.held) for frame in made] == [(0, True, False), (1, False, False)]
    assert greys([frame.access_unit for frame in made]) == [40, 80]
    assert slow_host.filenos() == []


def test_no_more_than_three_are_in_the_making_and_the_rest_is_held(
    slow_host: EngineHost, slow: OrderedGreyEngine
) -> None:
    slow_host.handle([_open(engine="musetalk")])
    for n in range(7):
        assert slow_host.handle([_render(n, grey=40 * n)]) == []
    assert [position for _, position in slow.orders] == [0, 640, 1280]
    slow.ready.update((0, 640, 1280))
    made = _frames(slow_host.handle([]))
    assert [frame.frame for frame in made] == [0, 1, 2]
    assert [position for _, position in slow.orders] == [0, 640, 1280, 6 * 640]
    slow.all_ready = True
    made += _frames(slow_host.handle([]))
    assert [frame.held for frame in made] == [False] * 3 + [True] * 3 + [False]
    assert greys([frame.access_unit for frame in made]) == [0, 40, 80, 80, 80, 80, 240]


def test_a_size_that_the_face_does_not_fit_does_not_end_the_host(host: EngineHost, engine: GreyEngine) -> None:
    host.warm_up("default", [FrameSize(128, 160)])
    assert len(_frames(host.handle([_open(), _render(0, grey=40)]))) == 1


def test_a_film_has_every_frame_however_many_wait(slow_host: EngineHost, slow: OrderedGreyEngine) -> None:
    opening = bus.Open("s", 1, "default", "musetalk", RENDITION, START, every_frame=True)
    slow_host.handle([opening, *(_render(n, grey=40 * n) for n in range(5))])
    assert [position for _, position in slow.orders] == [0, 640, 1280]
    slow.ready.add(0)
    made = _frames(slow_host.handle([]))
    assert [position for _, position in slow.orders] == [0, 640, 1280, 1920]
    slow.all_ready = True
    made += _frames(slow_host.handle([]))
    assert [(frame.frame, frame.held) for frame in made] == [(n, False) for n in range(5)]
    assert greys([frame.access_unit for frame in made]) == [0, 40, 80, 120, 160]


def test_what_is_in_the_making_goes_with_its_session(slow_host: EngineHost, slow: OrderedGreyEngine) -> None:
    slow_host.handle([_open(engine="musetalk"), _render(0, grey=40)])
    slow_host.handle([bus.Shut("s", 1)])
    assert slow_host.filenos() == []
    slow_host.handle([_open(epoch=2, engine="musetalk"), _render(1, epoch=2, grey=90)])
    slow.all_ready = True
    (frame,) = _frames(slow_host.handle([]))
    assert (frame.epoch, frame.frame, frame.is_idr) == (2, 1, True)


def test_another_engine_takes_over_what_is_in_the_making(slow_host: EngineHost, slow: OrderedGreyEngine) -> None:
    slow_host.handle([_open(engine="musetalk"), _render(0, grey=40)])
    made = _frames(slow_host.handle([bus.Switch("s", 1, "builtin"), _render(1, grey=80)]))
    assert [(frame.frame, frame.engine) for frame in made] == [(0, "builtin"), (1, "builtin")]
    assert greys([frame.access_unit for frame in made]) == [40, 80]
    slow_host.handle([bus.Switch("s", 1, "musetalk"), _render(2, grey=120)])
    slow.all_broken = True  # it will not come
    (frame,) = _frames(slow_host.handle([]))
    assert (frame.frame, frame.engine) == (2, "builtin")


def test_a_video_runs_on_while_frames_are_in_the_making() -> None:
    """The place of a frame follows the one that was asked for before it, which may not have been shown yet."""
    dissolve = Dissolve(_RunningOn(), RENDITION.size, ClipPosition("idle_0", 4))
    assert dissolve.follow(ClipPosition("idle_0", 5)).index == 5
    assert dissolve.follow(ClipPosition("idle_0", 6)).index == 6
    assert [dissolve.follow(ClipPosition("speaking_0", n)).index for n in range(3)] == [7, 8, 9]


class _RunningOn:
    """An avatar whose clips are all of one video."""

    class base_video:
        alike = staticmethod(lambda one, other: True)


# --- clips ---


def test_clip_is_made_in_all_forms_a_frame_at_a_time(host: EngineHost) -> None:
    forms = [rendition for rendition in make_renditions(23, 1500) if rendition.name in ("512", "256-low")]
    assert host.handle([bus.PrepareClip("default", "action_1", forms)]) == []
    replies: list[bus.DownMessage] = []
    steps = 0
    while host.has_background_work:
        replies += host.work_in_background()
        steps += 1
    frames = default_avatar().clip_frames("action_1")
    assert steps == frames
    assert [reply.rendition for reply in replies if isinstance(reply, bus.ClipPackets)] == ["512", "256-low"]
    for reply, size in zip(replies, (512, 256), strict=True):
        assert isinstance(reply, bus.ClipPackets)
        assert [n for n, unit in enumerate(reply.access_units) if h264.is_idr(unit)] == list(range(0, frames, 25))
        assert {luma.shape for luma in decode(reply.access_units)} == {(size, size)}


def test_urgent_clip_goes_first_and_does_not_wait_for_silence(host: EngineHost) -> None:
    forms = [RENDITION]
    host.handle([bus.PrepareClip("default", "action_1", forms), _open(), _render(0)])
    assert not host.has_background_work
    host.handle([bus.PrepareClip("default", "action_2", forms, urgent=True)])
    assert host.has_background_work
    replies: list[bus.DownMessage] = []
    while host.has_background_work:
        replies += host.work_in_background()
    assert [reply.clip for reply in replies if isinstance(reply, bus.ClipPackets)] == ["action_2"]
    host.handle([bus.Shut("s", 1)])
    assert host.has_background_work


# --- the pose ---


def test_pose_runs_on_over_every_change_of_clip() -> None:
    """No step at a change of clip is bigger than the clips' own biggest steps and a little easing."""
    avatar = default_avatar()
    own = _largest_steps(avatar)
    for before in avatar.clips:
        for after in set(avatar.clips) - {before}:
            easer = PoseEaser(avatar, ClipPosition(before, 20))
            poses = [easer.pose(ClipPosition(before, 20 + n)) for n in range(1, 15)]
            poses += [easer.pose(ClipPosition(after, n)) for n in range(30)]
            steps = np.abs(np.diff(poses, axis=0)).max(axis=0)
            jump = np.abs(np.subtract(avatar.pose(ClipPosition(before, 34)), avatar.pose(ClipPosition(after, 0))))
            # smoothstep over k frames is steepest in its middle, 1.5 / k of the whole; the eyes have 4 frames.
            eyes = np.array([name in ("blink", "gaze_x", "gaze_y") for name in type(poses[0])._fields])
            allowed = own + jump * 1.5 / np.where(eyes, 4, 12)
            assert (steps <= allowed + 1e-6).all()
            target = avatar.pose(ClipPosition(after, 29))
            assert np.allclose(poses[-1], target, atol=1e-6)


def _largest_steps(avatar: Avatar) -> np.ndarray:
    """The biggest step between neighbours in any clip, per field of the pose."""
    largest = []
    for clip in avatar.clips:
        poses = [avatar.pose(ClipPosition(clip, n)) for n in range(avatar.clip_frames(clip))]
        largest.append(np.abs(np.diff(poses, axis=0)).max(axis=0))
    return np.max(largest, axis=0)


# --- with the real engine ---


@pytest.fixture(scope="module")
def real_host() -> EngineHost:
    scheduler = EngineScheduler({"builtin": BuiltinEngine(), "static": StaticEngine()}, lambda: 0.0)
    return EngineHost(scheduler, _avatars, _voice)


def _mouth_box() -> tuple[slice, slice]:
    """Around the lips (landmarks 61 and 291 are the mouth's corners, 0 and 17 its upper and lower edge)."""
    points = default_avatar().landmarks
    return (
        slice(int(points[0, 1]) - 10, int(points[17, 1]) + 30),
        slice(int(points[61, 0]) - 10, int(points[291, 0]) + 10),
    )


def test_mouth_moves_with_speech_and_is_shut_two_frames_after_it(real_host: EngineHost) -> None:
    path = Path(__file__).parents[3] / "fixtures" / "speech_like_2s.wav"
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(32_000), "<i2")
    pose = ClipPosition("idle_0", 0)  # the head stands still, so that only the mouth differs
    real_host.handle([bus.Open("r", 1, "default", "builtin", FINE, pose)])
    frames: list[bus.Frame] = []
    for n in range(60):
        speaks = n < 50
        sent = pcm[640 * n + 3200 : 640 * n + 3840] if n else pcm[:3840]
        start = 640 * n + 3200 if n else 0
        position, data = (640 * n, sent.tobytes()) if speaks else (None, b"")
        render = bus.Render("r", 1, n, pose, n == 0, position, start, data)
        frames += _frames(real_host.handle([render]))
    box = _mouth_box()
    mouths = np.array([luma[box].astype(int) for luma in decode([frame.access_unit for frame in frames])])
    shut = mouths[-1]
    open_by = np.abs(mouths - shut).mean(axis=(1, 2))
    assert open_by[:50].max() > 6
    assert open_by[52:].max() < 1.5
