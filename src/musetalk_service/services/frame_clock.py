"""The frame clock: one task that ticks every session at 25 fps on absolute deadlines.

The period is cut into slots and sessions are spread over them, so that their work (and their IDRs)
do not fall on one moment. A deadline is ``start + k * slot``: being late once never shifts the next.
"""

import asyncio
import logging
from typing import Protocol

from musetalk_service.models.media import FRAME_SECONDS
from musetalk_service.services.metrics import Metrics
from musetalk_service.utils.clock import Clock

log = logging.getLogger(__name__)

SLOTS = 4
"""Slots of 10 ms in the period of 40 ms."""
_SKIP_PERIODS = 5
"""Up to so many frame periods are caught up with; when more are missed, they are left out."""


class Ticked(Protocol):
    """What the clock drives."""

    @property
    def waiting(self) -> bool:
        """Whether something that was due is still to be sent."""
        ...

    def tick(self, now: float, missed: int) -> None:
        """One frame period has passed, after ``missed`` ones in which there was no time for a tick."""
        ...

    def catch_up(self, now: float) -> None:
        """Send what has come late."""
        ...

    def fail(self, error: Exception) -> None:
        """A tick raised: end this one, the others go on."""
        ...


class FrameClock:
    """Members are ticked in their slot until they are removed."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._slots: tuple[dict[Ticked, None], ...] = tuple({} for _ in range(SLOTS))
        self._last_counts = [slot - SLOTS for slot in range(SLOTS)]
        self._waiting: dict[Ticked, None] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, member: Ticked) -> None:
        """Into the slot with the fewest members."""
        min(self._slots, key=len)[member] = None

    def remove(self, member: Ticked) -> None:
        """Twice is fine."""
        for slot in self._slots:
            slot.pop(member, None)
        self._waiting.pop(member, None)

    def start(self) -> None:
        """Begin to tick."""
        self._task = asyncio.create_task(self._run(), name="frame-clock")

    async def close(self) -> None:
        """Stop ticking. Twice is fine."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        start, count = self._clock.now(), 0
        while True:
            deadline = start + count * FRAME_SECONDS / SLOTS
            await self._clock.sleep_until(deadline)
            now = self._clock.now()
            late = now - deadline
            self._metrics.frame_latency.observe(max(0.0, late))
            periods = int(late / FRAME_SECONDS)
            if periods >= _SKIP_PERIODS:  # far behind: leave frames out, so that the grid stays where it is
                log.warning("frame clock was held up", extra={"late_ms": round(late * 1000)})
                count += periods * SLOTS
            self.run_slot(count, now)
            count += 1

    def run_slot(self, count: int, now: float) -> None:
        """Tick the members of slot ``count`` modulo the number of slots; the others send what has come late."""
        index = count % SLOTS
        missed = (count - self._last_counts[index]) // SLOTS - 1
        self._last_counts[index] = count
        for member in tuple(self._slots[index]):
            try:
                member.tick(now, missed)
            except Exception as error:
                member.fail(error)
            if member.waiting:
                self._waiting[member] = None
        for member in tuple(self._waiting):
            try:
                member.catch_up(now)
            except Exception as error:
                member.fail(error)
            if not member.waiting:
                self._waiting.pop(member, None)
