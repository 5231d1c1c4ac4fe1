"""Ticks on absolute deadlines, spread over slots; one member's trouble is its own."""

import numpy as np
import pytest

from musetalk_service.services.frame_clock import SLOTS, FrameClock
from musetalk_service.services.metrics import Metrics
from support.manual_clock import ManualClock, settle


class Member:
    def __init__(self) -> None:
        self.ticks: list[float] = []
        self.missed: list[int] = []
        self.catches: list[float] = []
        self.failures: list[Exception] = []
        self.waiting = False
        self.error: Exception | None = None

    def tick(self, now: float, missed: int) -> None:
        if self.error is not None:
            raise self.error
        self.ticks.append(now)
        self.missed.append(missed)

    def catch_up(self, now: float) -> None:
        self.catches.append(now)

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


async def test_25_ticks_a_second_without_drift() -> None:
    clock = ManualClock()
    frame_clock = FrameClock(clock, Metrics())
    member = Member()
    frame_clock.add(member)
    frame_clock.start()
    await clock.advance(99.999)
    assert len(member.ticks) == 2500
    assert np.allclose(np.diff(member.ticks), 0.04, atol=1e-9)
    await frame_clock.close()
    await frame_clock.close()
    await clock.advance(1.0)
    assert len(member.ticks) == 2500


async def test_members_are_spread_over_the_slots() -> None:
    clock = ManualClock()
    frame_clock = FrameClock(clock, Metrics())
    members = [Member() for _ in range(2 * SLOTS)]
    for member in members:
        frame_clock.add(member)
    frame_clock.start()
    await clock.advance(0.039)
    moments = sorted(round(member.ticks[0] - 1000.0, 6) for member in members)
    assert moments == [0.0, 0.0, 0.01, 0.01, 0.02, 0.02, 0.03, 0.03]
    await frame_clock.close()


async def test_who_waits_is_asked_in_every_slot() -> None:
    clock = ManualClock()
    frame_clock = FrameClock(clock, Metrics())
    waiting, content = Member(), Member()
    waiting.waiting = True
    frame_clock.add(waiting)
    frame_clock.add(content)
    frame_clock.start()
    await clock.advance(0.039)
    assert len(waiting.catches) == SLOTS and not content.catches
    await frame_clock.close()


async def test_member_that_raises_is_told_and_the_others_go_on() -> None:
    clock = ManualClock()
    frame_clock = FrameClock(clock, Metrics())
    bad, good = Member(), Member()
    bad.error = RuntimeError("x")
    frame_clock.add(bad)
    frame_clock.add(good)
    frame_clock.start()
    await clock.advance(0.399)
    assert len(good.ticks) == 10
    assert bad.failures == [bad.error] * 10
    frame_clock.remove(bad)
    frame_clock.remove(bad)
    await clock.advance(0.4)
    assert len(bad.failures) == 10
    await frame_clock.close()


@pytest.mark.parametrize(("stall_s", "left_out"), [(0.03, 0), (0.15, 0), (0.5, 10), (60.0, 1000)])
async def test_short_stall_is_caught_up_and_a_long_one_is_left_out(stall_s: float, left_out: int) -> None:
    clock = ManualClock()
    frame_clock = FrameClock(clock, Metrics())
    member = Member()
    frame_clock.add(member)
    frame_clock.start()
    await clock.advance(0.1)
    clock._now += stall_s  # the loop was blocked for so long
    await clock.advance(0.0)
    for _ in range(10):
        await settle()
    await clock.advance(0.399)
    # The grid stays: no frame period is lost or counted twice.
    assert len(member.ticks) + sum(member.missed) == int((clock.now() - 1000.0) / 0.04) + 1
    assert sum(member.missed) >= left_out
    assert (sum(member.missed) == 0) == (left_out == 0)
    offsets = [(at - 1000.0) / 0.04 for at in member.ticks[-5:]]
    assert all(abs(offset - round(offset)) < 1e-6 for offset in offsets)
    await frame_clock.close()
