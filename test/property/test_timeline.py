"""The audio timeline under any order of pushes, ticks, ends and interruptions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from musetalk_service.errors import RateLimitError
from musetalk_service.services.audio_service import AudioTimeline

LIMIT = 16_000 * 3
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from([1, 320, 640, 641, 1024, 16_000]), st.booleans()),
        st.tuples(st.just("tick"), st.integers(1, 30), st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 1500), st.booleans()),
        st.just(("end", 0, False)),
        st.just(("interrupt", 0, False)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps=steps, look_ahead=st.sampled_from([0, 1600, 3333]), jitter=st.sampled_from([0, 320]))
def test_playhead_never_runs_wild(steps: list[tuple[str, int, bool]], look_ahead: int, jitter: int) -> None:
    timeline = AudioTimeline(look_ahead=look_ahead, jitter=jitter, backlog_limit=LIMIT)
    now, accepted, last = 0.0, 0, -1
    for kind, amount, silent in steps:
        if kind == "push":
            samples = np.full(amount, 0 if silent else 8000, np.int16)
            try:
                timeline.check_room(amount)
            except RateLimitError as refusal:
                assert timeline.queued + amount > LIMIT
                assert int(str(refusal.details["retry_after_ms"])) > 0
            else:
                timeline.push(samples, now)
                accepted += amount
        elif kind == "tick":
            for _ in range(amount):
                before, trimmed = timeline.playhead, timeline.trimmed
                position = timeline.next_position(now)
                if position is not None:
                    assert last < position < timeline.accepted
                    assert position - before == timeline.trimmed - trimmed
                    assert 0 < timeline.playhead - position <= 640
                    last = position
                else:
                    assert timeline.playhead == before + timeline.trimmed - trimmed
                now += 0.04
        elif kind == "wait":
            now += amount / 1000
        elif kind == "end":
            timeline.end_of_speech()
        else:
            queued = timeline.queued
            assert timeline.interrupt()[1] == queued
            assert timeline.queued == 0
        assert timeline.accepted == accepted
        assert 0 <= timeline.queued <= LIMIT
        assert sum(len(piece.samples) for piece in timeline._pieces) <= timeline.queued + 16_000 + 640


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=30))
def test_everything_accepted_is_played_in_the_end(sizes: list[int]) -> None:
    timeline = AudioTimeline(look_ahead=1600, jitter=320, backlog_limit=10**9)
    for size in sizes:
        timeline.push(np.full(size, 8000, np.int16), 0.0)
    positions = [timeline.next_position(0.04 * n) for n in range(sum(sizes) // 640 + 20)]
    assert timeline.playhead == timeline.accepted == sum(sizes)
    assert [p for p in positions if p is not None] == list(range(0, sum(sizes), 640))
