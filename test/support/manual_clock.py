"""A clock that stands still until a test turns it."""

import asyncio
import heapq
import itertools

_SETTLE_TURNS = 12
"""Event loop turns in which tasks that wake one another (clock, stream, writer, client) come to rest."""


async def settle() -> None:
    """Let all tasks run until nothing is left that needs no time."""
    for _ in range(_SETTLE_TURNS):
        await asyncio.sleep(0)


class ManualClock:
    """Implements ``utils.clock.Clock``."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep_until(self, deadline: float) -> None:
        if deadline <= self._now:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (deadline, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Wake the sleepers of the next ``seconds`` one after the other, each at its own time."""
        end = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end + 1e-9:
            deadline, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, deadline)
            if not future.done():
                future.set_result(None)
            await settle()
        self._now = end

    def leap(self, seconds: float) -> None:
        """Let time pass without waking anybody: for tests that drive by themselves what the clock would."""
        self._now += seconds
