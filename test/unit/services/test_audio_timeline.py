"""The playhead: when it starts, waits, ends, and what it leaves out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.errors import RateLimitError
from musetalk_service.services.audio_service import AudioTimeline, make_timeline
from support.engines import tone

FRAME = 640
LOOK_AHEAD = 1600
JITTER = 320


def _timeline(backlog_s: float = 60.0) -> AudioTimeline:
    return AudioTimeline(look_ahead=LOOK_AHEAD, jitter=JITTER, backlog_limit=round(16_000 * backlog_s))


def _play(timeline: AudioTimeline, frames: int, start: float = 0.0) -> list[int | None]:
    return [timeline.next_position(start + 0.04 * n) for n in range(frames)]


def _push_burst(timeline: AudioTimeline, samples: NDArray[np.int16], now: float) -> None:
    for start in range(0, len(samples), FRAME):
        timeline.push(samples[start : start + FRAME], now)


def _numbered(samples: int) -> NDArray[np.int16]:
    return (np.arange(samples) % 30_000).astype(np.int16)


def test_burst_plays_at_normal_speed() -> None:
    timeline = _timeline()
    timeline.push(tone(9, 6.0), 0.0)
    assert _play(timeline, 152) == [*(FRAME * n for n in range(150)), None, None]


def test_settings_in_their_own_units() -> None:
    timeline = make_timeline(LOOK_AHEAD, 20, 1.5)
    assert (timeline.look_ahead, timeline.jitter, timeline.target_delay) == (1600, 320, 1920)
    timeline.check_room(24_000)
    with pytest.raises(RateLimitError):
        timeline.check_room(24_001)


def test_live_audio_starts_after_the_target_delay() -> None:
    timeline = _timeline()
    positions = []
    for n in range(10):
        timeline.push(tone(9, 0.04), 0.04 * n)
        positions.append(timeline.next_position(0.04 * n + 0.001))
    # With the third chunk the look-ahead of 80 ms and the jitter of 40 ms are there.
    assert positions == [None, None, *(FRAME * n for n in range(8))]


def test_live_audio_waits_for_the_jitter_once_its_look_ahead_is_there() -> None:
    timeline = _timeline()
    timeline.push(tone(9, LOOK_AHEAD / 16_000), 0.5)
    waited = 0.5 + JITTER / 16_000
    assert timeline.next_position(waited - 0.001) is None
    assert timeline.next_position(waited + 0.001) == 0


def test_a_lone_short_chunk_is_shown_after_the_target_delay() -> None:
    timeline = _timeline()
    timeline.push(tone(9, 0.01), 0.0)
    assert timeline.next_position(0.119) is None
    assert timeline.next_position(0.121) == 0
    assert timeline.next_position(0.161) is None


def test_end_of_speech_plays_the_tail_at_once() -> None:
    timeline = _timeline()
    timeline.push(tone(9, 0.05), 0.0)
    assert timeline.next_position(0.0) is None
    timeline.end_of_speech()
    assert _play(timeline, 3) == [0, FRAME, None]
    assert timeline.playhead == timeline.accepted == 800


def test_what_follows_an_end_of_speech_is_buffered_again() -> None:
    timeline = _timeline()
    timeline.end_of_speech()
    timeline.push(tone(9, 0.04), 0.0)
    assert timeline.next_position(0.0) is None


def test_underrun_waits_and_loses_nothing() -> None:
    timeline = _timeline()
    timeline.push(tone(9, 0.4), 0.0)
    assert _play(timeline, 12) == [*(FRAME * n for n in range(10)), None, None]
    timeline.push(tone(9, 0.4), 2.0)
    assert _play(timeline, 11, 2.0) == [*(6400 + FRAME * n for n in range(10)), None]


def test_interrupt_skips_what_is_queued() -> None:
    timeline = _timeline()
    timeline.push(tone(9, 2.0), 0.0)
    _play(timeline, 5)
    assert timeline.interrupt() == (5 * FRAME, 32_000 - 5 * FRAME)
    assert timeline.queued == 0
    assert timeline.next_position(0.2) is None
    timeline.push(tone(9, 1.0), 0.3)
    assert timeline.next_position(0.3) == 32_000
    assert timeline.interrupt() == (32_640, 15_360)
    assert timeline.interrupt() == (48_000, 0)


def test_refusal_takes_nothing_and_says_when_to_come_again() -> None:
    timeline = _timeline(backlog_s=1.0)
    timeline.push(tone(9, 1.0), 0.0)
    with pytest.raises(RateLimitError) as refusal:
        timeline.check_room(1000)
    assert timeline.accepted == 16_000
    wait_ms = refusal.value.details["retry_after_ms"]
    assert isinstance(wait_ms, int) and 63 <= wait_ms <= 160
    _play(timeline, wait_ms // 40)
    timeline.check_room(1000)


def test_audio_is_given_back_as_it_came() -> None:
    timeline = _timeline()
    whole = _numbered(10_000)
    for start in range(0, 10_000, 777):
        timeline.push(whole[start : start + 777], 0.0)
    for first, last in ((0, 10_000), (5, 6), (640, 1280), (776, 778), (9_990, 10_000)):
        position, samples = timeline.audio(first, last)
        assert position == first and np.array_equal(samples, whole[first:last])
    assert timeline.audio(9_000, 99_999)[1].size == 1000
    assert timeline.audio(20_000, 30_000)[1].size == 0


def test_a_second_behind_the_playhead_is_kept_and_no_more() -> None:
    timeline = _timeline()
    whole = _numbered(16_000 * 50)
    _push_burst(timeline, whole, 0.0)
    _play(timeline, 40 * 25)
    position, samples = timeline.audio(0, 16_000 * 40)
    assert 16_000 * 39 - FRAME <= position <= 16_000 * 39
    assert np.array_equal(samples, whole[position : 16_000 * 40])
    _play(timeline, 11 * 25)
    assert timeline.audio(0, 16_000 * 50)[1].size <= 16_000 + FRAME


def test_silence_of_a_late_live_stream_is_trimmed() -> None:
    """A network stall of half a second is made up for in the pause that follows, not in the words."""
    timeline = _timeline()
    now, positions = 0.0, []
    for _n in range(25):  # on time
        timeline.push(tone(9, 0.04), now)
        positions.append(timeline.next_position(now))
        now += 0.04
    for _n in range(12):  # nothing comes
        positions.append(timeline.next_position(now))
        now += 0.04
    for _ in range(12):  # then all at once
        timeline.push(tone(9, 0.04), now)
    for _n in range(50):
        timeline.push(np.zeros(FRAME, np.int16), now)
        positions.append(timeline.next_position(now))
        now += 0.04
    shown = [p for p in positions if p is not None]
    steps = np.diff(shown)
    assert set(steps.tolist()) == {FRAME, 2 * FRAME}
    assert min(p for p, step in zip(shown, steps, strict=False) if step == 2 * FRAME) >= 36 * FRAME
    # Back at the target delay, within the tolerance of two frames.
    assert timeline.queued <= timeline.target_delay + 3 * FRAME
    assert timeline.trimmed == sum(steps == 2 * FRAME) * FRAME


def test_pauses_of_a_burst_are_kept() -> None:
    timeline = _timeline()
    pause = np.zeros(16_000, np.int16)
    _push_burst(timeline, np.concatenate([tone(9, 1.0), pause, tone(9, 1.0), pause, tone(9, 1.0)]), 0.0)
    assert _play(timeline, 125) == [FRAME * n for n in range(125)]
    assert timeline.trimmed == 0


def test_pauses_between_bursts_of_sentences_are_kept() -> None:
    """A TTS that sends sentence after sentence, each faster than it is spoken."""
    timeline = _timeline()
    sentence = np.concatenate([tone(9, 1.0), np.zeros(8_000, np.int16)])
    now, shown = 0.0, []
    for n in range(300):
        if n % 25 == 0 and n < 250:
            _push_burst(timeline, sentence, now)
        shown.append(timeline.next_position(now))
        now += 0.04
    positions = [p for p in shown if p is not None]
    assert set(np.diff(positions).tolist()) == {FRAME}


def test_voice_is_told_from_silence_and_from_noise() -> None:
    rng = np.random.default_rng(3)
    timeline = _timeline()
    timeline.push(np.zeros(FRAME * 5, np.int16), 0.0)
    assert not timeline.voice_until(FRAME * 5)
    timeline.push(tone(9, 0.2), 0.0)
    assert timeline.voice_until(FRAME * 6)
    fan = rng.normal(0, 400, 16_000 * 24).astype(np.int16)
    timeline.push(fan, 0.0)
    _play(timeline, 25 * 20)
    assert not timeline.voice_until(timeline.playhead + LOOK_AHEAD)
