"""Where a film is made: one engine host, with MuseTalk a painter too, started and fed as a server does it."""

import asyncio
import contextlib
import itertools
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Final

from musetalk_service.bus import messages as bus
from musetalk_service.config import Settings
from musetalk_service.engines.builtin.network import LOOK_AHEADS
from musetalk_service.errors import EngineError
from musetalk_service.models.media import FRAME_SECONDS
from musetalk_service.render.script import EPOCH, SESSION
from musetalk_service.render.subject import Subject
from musetalk_service.services.host_pool import Host, HostPool, Inbox
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.painter_process import PainterProcess
from musetalk_service.utils.clock import MonotonicClock

_PATIENCE_MS: Final = 600_000
"""For one frame of MuseTalk: beyond this it has failed."""
_IN_FLIGHT: Final = 3
"""Frames that are asked for and not there: enough to keep painter and host both at work."""
_LARGEST_BATCH: Final = 2
"""Of that many frames never more go through the networks at once; larger batches need not be warmed up."""
_HOP_FRAMES: Final = 5
"""That share one pass over the sound: as many as may."""
_START_S: Final = 60.0
_LOOK_S: Final = 0.2
"""A host that has ended is noticed after this."""


class _Arrivals(deque[bus.Frame]):
    """An inbox's frames, which can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()

    def append(self, frame: bus.Frame) -> None:
        super().append(frame)
        self.came.set()


class Studio:
    """The processes that make one film. An asynchronous context manager."""

    def __init__(self, settings: Settings, subject: Subject) -> None:
        """Starts nothing yet."""
        self._subject = subject
        self._clock, metrics = MonotonicClock(), Metrics()
        text = _for_film(settings, subject).for_hosts()
        paints = subject.engine == "musetalk"
        self._painters = [PainterProcess(text, self._clock, metrics, threads=_cores())] if paints else []
        self._pool = HostPool(1, text, self._clock, metrics, self._painters)
        self._inbox = Inbox(EPOCH, frames=_Arrivals())
        self._host: Host

    async def __aenter__(self) -> "Studio":
        """Wait until the engine is ready. Raises :class:`EngineError` when it will not be."""
        try:
            await self._start()
        except BaseException:
            await self._pool.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._pool.close()

    @property
    def look_ahead(self) -> int:
        """Samples that the host hears beyond a frame's begin."""
        status = self._host.engine_status(self._subject.engine)
        assert status is not None
        return status.look_ahead_samples

    async def film(self, orders: Iterable[bus.Render]) -> AsyncIterator[bytes]:
        """The access units of a script's frames, in order, however long each takes.

        Raises :class:`EngineError` for the first frame that the chosen engine has not made.
        """
        script = iter(orders)
        first = next(script)
        subject = self._subject
        self._host.inboxes[SESSION] = self._inbox
        # What is shown first is what was shown before: the film begins without a movement of its own.
        opening = bus.Open(
            SESSION, EPOCH, subject.avatar, subject.engine, subject.rendition, first.pose, every_frame=True
        )
        self._host.send(opening, self._clock.now())
        script = itertools.chain([first], script)
        waited_for = 0
        while True:
            for render in itertools.islice(script, _IN_FLIGHT - waited_for):
                self._host.send(render, self._clock.now())
                waited_for += 1
            if not waited_for:
                return
            yield self._checked(await self._next())
            waited_for -= 1

    async def _start(self) -> None:
        await self._pool.start()
        for painter in self._painters:
            if painter.failure is not None:
                raise EngineError(f"MuseTalk cannot be had: {painter.failure}")
            if painter.sessions is None:
                raise EngineError("MuseTalk's process has ended before it was ready")
        try:
            self._host = await asyncio.wait_for(self._pool.first(), _START_S)
        except asyncio.TimeoutError:
            raise EngineError(f"no engine host is there after {_START_S:g} s") from None
        if self._subject.engine not in {status.name for status in self._host.ready.engines}:
            raise EngineError(f"the engine host has no engine {self._subject.engine!r}")

    async def _next(self) -> bus.Frame:
        arrivals = self._inbox.frames
        assert isinstance(arrivals, _Arrivals)
        while not arrivals:
            if self._inbox.failure is not None:
                raise EngineError(f"the picture cannot be made: {self._inbox.failure}")
            if not self._host.alive:
                raise EngineError("the engine host has ended")
            arrivals.came.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(arrivals.came.wait(), _LOOK_S)
        return arrivals.popleft()

    def _checked(self, frame: bus.Frame) -> bytes:
        if frame.engine != self._subject.engine or frame.held:
            why = self._inbox.change or "LOG_LEVEL=debug tells why"
            at = frame.frame * FRAME_SECONDS
            raise EngineError(f"{self._subject.engine} has not made frame {frame.frame} ({at:.2f} s): {why}")
        return frame.access_unit


def _for_film(settings: Settings, subject: Subject) -> Settings:
    """What the processes are to know: there is one session, and no hurry."""
    return settings.model_copy(
        update={
            "engine": subject.engine,
            "video_sizes": [f"{subject.rendition.size}"],
            "musetalk_timeout_ms": _PATIENCE_MS,
            # Nobody waits for a film, so hearing farther ahead costs nothing.
            "builtin_look_ahead_ms": LOOK_AHEADS[-1],
            "musetalk_hop_frames": _HOP_FRAMES,
            "musetalk_max_batch": min(settings.musetalk_max_batch, _LARGEST_BATCH),
            # What they would tell an operator is not for the terminal of somebody who makes a film.
            "log_level": "debug" if settings.log_level == "debug" else "error",
        }
    )


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
