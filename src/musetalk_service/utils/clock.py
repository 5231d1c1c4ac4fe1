"""One injected clock. Deadlines are ``start + n / 25``; nothing in the stream sleeps for a period."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, and waiting for a point in them."""

    def now(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Return at ``deadline``, or at the next loop turn when it has passed."""
        ...


class MonotonicClock:
    """The real one."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))
