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
_GIVE_UP_SECONDS = 1.0
"""After a stall longer than this (a suspended machine) the clock starts anew instead of catching up."""


class Ticked(Protocol):
    """What the clock drives."""

    @property
    def waiting(self) -> bool:
        """Whether something that was due is still to be sent."""
        ...

    def tick(self, now: float) -> None:
        """One frame period has passed."""
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
        self._task: asyncio.Task[None] | None = None

    def add(self, member: Ticked) -> None:
        """Into the slot with the fewest members."""
        min(self._slots, key=len)[member] = None

    def remove(self, member: Ticked) -> None:
        """Twice is fine."""
        for slot in self._slots:
            slot.pop(member, None)

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
            if now - deadline > _GIVE_UP_SECONDS:
                log.warning("frame clock stalled, starting anew", extra={"stalled_s": round(now - deadline, 3)})
                start, count = now, count % SLOTS
            self._metrics.frame_latency.observe(max(0.0, now - deadline))
            self.run_slot(count % SLOTS, now)
            count += 1

    def run_slot(self, index: int, now: float) -> None:
        """Tick the slot's members, and let the others send what has come late."""
        for number, slot in enumerate(self._slots):
            for member in tuple(slot):
                try:
                    if number == index:
                        member.tick(now)
                    elif member.waiting:
                        member.catch_up(now)
                except Exception as error:
                    member.fail(error)
