"""What the next frame is: where live begins, where it may end, how actions run."""

import itertools

import numpy as np
import pytest

from musetalk_service.models.media import ClipPosition
from musetalk_service.models.session import Trigger
from musetalk_service.services.audio_service import AudioTimeline
from musetalk_service.services.director import Director, Plan
from musetalk_service.services.idle_playlist import IdlePlaylist
from support.engines import tone
from support.in_process import default_avatar

CLIPS = {"idle_1": 250, "idle_3": 300} | {clip: default_avatar().clip_frames(clip) for clip in default_avatar().clips}
ACTION_1 = CLIPS["action_1"]


class Run:
    """A director driven frame by frame."""

    def __init__(self, *ready: str) -> None:
        ready = ready or ("idle_0",)
        self.timeline = AudioTimeline(look_ahead=1600, jitter=320, backlog_limit=16_000 * 60)
        playlist = IdlePlaylist(CLIPS, ready, seed=1)
        self.director = Director(self.timeline, CLIPS, playlist, speech_end_s=0.2, silence_hold_s=1.0)
        self.plans: list[Plan] = []
        self.triggers: list[tuple[int, Trigger]] = []
        self.host = True
        self.request_idr = False

    @property
    def now(self) -> float:
        return 100.0 + 0.04 * len(self.plans)

    def speak(self, seconds: float) -> None:
        pcm = tone(9, seconds)
        for start in range(0, len(pcm), 640):
            self.timeline.push(pcm[start : start + 640], self.now)

    def go(self, frames: int) -> list[Plan]:
        for _ in range(frames):
            frame = len(self.plans)
            plan, triggers = self.director.plan(frame, self.now, host=self.host, request_idr=self.request_idr)
            self.plans.append(plan)
            self.triggers += [(frame, trigger) for trigger in triggers]
        self.check()
        return self.plans[-frames:]

    def check(self) -> None:
        """What holds for every run: a decoder and a viewer are never surprised."""
        for before, plan in itertools.pairwise(self.plans):
            assert plan.frame == before.frame + 1
            if plan.live and not before.live:
                assert plan.force_idr
            if not plan.live:
                assert plan.place.clip.startswith("idle_")
                follows = plan.place.clip == before.place.clip and plan.place.index == before.place.index + 1
                assert follows or plan.place.index % 25 == 0
                assert before.live is False or plan.place.index % 25 == 0
        keys = [plan.frame for plan in self.plans if (plan.force_idr if plan.live else plan.place.index % 25 == 0)]
        assert max(np.diff([*keys, len(self.plans)]), default=0) <= 25


@pytest.mark.parametrize("start", [0, 1, 24, 25, 26, 499, 500])
def test_speech_goes_live_at_once_and_back_at_a_key_frame(start: int) -> None:
    run = Run()
    run.go(start)
    run.speak(2.0)
    spoken = run.go(50)
    assert all(plan.live and plan.speaking for plan in spoken)
    assert [plan.audio_position for plan in spoken] == [640 * n for n in range(50)]
    assert {plan.place.clip for plan in spoken} == {"idle_0"}
    after = run.go(60)
    back = next(plan for plan in after if not plan.live)
    assert back.place.index % 25 == 0
    assert after[3].state == "speaking" and after[6].state == "idle"
    ((frame, trigger),) = run.triggers
    assert trigger is Trigger.SPEECH_ENDED and frame - (start + 50) in (4, 5)
    # A pose and mouth that ease back need 14 frames; then the next key frame is taken.
    assert 14 <= back.frame - (start + 50) <= 14 + 5 + 25


def test_idle_is_not_live() -> None:
    run = Run()
    assert not any(plan.live for plan in run.go(600))
    assert [plan.place.index for plan in run.plans] == [n % CLIPS["idle_0"] for n in range(600)]


def test_speaking_clip_lies_under_the_words() -> None:
    run = Run()
    run.director.set_speech_clip("speaking_0")
    run.speak(1.0)
    assert {plan.place.clip for plan in run.go(25)} == {"speaking_0"}


def test_base_clip_plays_when_nothing_else_does() -> None:
    run = Run()
    run.director.set_base("speaking_0")
    shown = run.go(30)
    assert all(plan.live and plan.state == "speaking" and plan.audio_position is None for plan in shown)
    run.director.set_base("idle_0")
    assert not run.go(60)[-1].live
    run.director.set_base(None)
    assert not any(plan.live for plan in run.go(60))


def test_action_plays_from_its_first_frame_to_its_last() -> None:
    run = Run()
    run.go(10)
    run.director.start_action(1, len(run.plans))
    shown = run.go(ACTION_1)
    assert [plan.place for plan in shown] == [ClipPosition("action_1", n) for n in range(ACTION_1)]
    assert {plan.state for plan in shown} == {"action"}
    assert [plan.action_progress for plan in shown] == [pytest.approx((n + 1) / ACTION_1) for n in range(ACTION_1)]
    after = run.go(60)
    assert after[0].action_progress is None and after[0].state == "idle"
    assert run.triggers == [(10 + ACTION_1, Trigger.ACTION_ENDED)]
    assert not after[-1].live


def test_action_with_longer_audio_lasts_until_it_is_spoken() -> None:
    run = Run()
    run.speak(ACTION_1 / 25 + 1.0)
    run.director.start_action(1, 0)
    run.director.extend_action(run.timeline.accepted)
    shown = run.go(ACTION_1 + 25)
    assert {plan.state for plan in shown} == {"action"}
    assert all(plan.action_progress == 1.0 for plan in shown[ACTION_1 - 1 :])
    assert run.go(1)[0].action_progress is None


def test_short_audio_does_not_shorten_an_action() -> None:
    run = Run()
    run.speak(0.4)
    run.director.start_action(1, 0)
    run.director.extend_action(run.timeline.accepted)
    assert {plan.state for plan in run.go(ACTION_1)} == {"action"}


def test_interrupted_audio_does_not_hold_an_action() -> None:
    run = Run()
    run.speak(20.0)
    run.director.start_action(1, 0)
    run.director.extend_action(run.timeline.accepted)
    run.go(10)
    run.timeline.interrupt()
    run.go(ACTION_1)
    assert run.triggers[-1][1] is Trigger.ACTION_ENDED


def test_speech_in_an_action_moves_the_mouth() -> None:
    run = Run()
    run.director.start_action(2, 0)
    run.go(5)
    run.speak(1.0)
    shown = run.go(25)
    assert all(plan.state == "action" and plan.speaking for plan in shown)


@pytest.mark.parametrize("moment", [3, 24, 25, 40])
def test_without_a_host_idle_packets_serve_from_a_key_frame(moment: int) -> None:
    run = Run()
    run.go(7)
    run.speak(8.0)
    run.go(moment)
    run.host = False
    alone = run.go(60)
    assert not any(plan.live for plan in alone)
    assert alone[0].place.index % 25 == 0
    assert {plan.state for plan in alone} == {"speaking"}
    run.host = True
    again = run.go(10)
    assert all(plan.live for plan in again) and again[0].force_idr


def test_viewer_who_lost_frames_gets_a_key_frame() -> None:
    run = Run()
    run.speak(2.0)
    run.go(10)
    run.request_idr = True
    assert run.go(1)[0].force_idr
    run.request_idr = False
    assert not run.go(1)[0].force_idr


def test_long_silence_in_the_audio_is_idle_and_words_wake_it() -> None:
    run = Run()
    run.speak(1.0)
    for _ in range(250):
        run.timeline.push(np.zeros(640, np.int16), run.now)
    run.speak(1.0)
    run.go(25)
    silent = run.go(250)
    assert not silent[100].live and silent[100].audio_position is not None and not silent[100].speaking
    words = run.go(25)
    assert all(plan.live and plan.speaking for plan in words)
    assert [plan.audio_position for plan in run.plans] == [640 * n for n in range(300)]


def test_pinned_idle_clip_is_eased_into_and_then_served_from_packets() -> None:
    run = Run("idle_0", "idle_3")
    run.go(10)
    run.director.set_base("idle_3")
    shown = run.go(60)
    assert shown[0].live and shown[0].force_idr and shown[0].place.clip == "idle_3"
    back = next(n for n, plan in enumerate(shown) if not plan.live)
    assert 14 <= back <= 14 + 25
    assert {plan.place.clip for plan in shown} == {"idle_3"}
    assert {plan.place.clip for plan in run.go(1000)} == {"idle_3"}


def test_pinned_clip_without_packets_leaves_the_variation() -> None:
    run = Run("idle_0", "idle_1")
    run.director.set_base("idle_5")
    assert {plan.place.clip for plan in run.go(1500)} <= {"idle_0", "idle_1"}


def test_pinning_without_a_host_jumps_at_a_key_frame() -> None:
    run = Run("idle_0", "idle_3")
    run.host = False
    run.go(33)
    run.director.set_base("idle_3")
    shown = run.go(30)
    assert shown[0].place.clip == "idle_3" and shown[0].place.index % 25 == 0
    assert not any(plan.live for plan in shown)
