"""The painter as the front sees it: the one process that owns the networks, spawned, waited for and replaced."""

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path

from musetalk_service.bus.local import read_payloads
from musetalk_service.bus.patch_memory import PainterBeat, PainterFailed, PainterReady, decode_answer
from musetalk_service.services.child_process import THREAD_COUNTS, end_process, keep_alive, spawn
from musetalk_service.services.metrics import Metrics
from musetalk_service.utils.clock import Clock

log = logging.getLogger(__name__)

_HUNG_S = 60.0
"""A painter that has been ready and says nothing for this long is ended."""


def visible_gpu(index: int, environment: Mapping[str, str]) -> str:
    """What ``CUDA_VISIBLE_DEVICES`` is to be for one GPU alone, of those that this process may use."""
    names = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return names[index] if index < len(names) else "" if names else str(index)


class PainterProcess:
    """``musetalk-service painter``, which hosts reach on a Unix socket that only this user can open."""

    def __init__(
        self, settings_json: str, clock: Clock, metrics: Metrics, gpu: int | None = None, threads: int | None = None
    ) -> None:
        """Starts nothing yet.

        Args:
            settings_json: for the process.
            clock: tells when it hangs.
            metrics: count what it does.
            gpu: which of several GPUs is its own; None: the first.
            threads: of its networks where they run on a CPU; None: one, since live sessions need the other cores.
        """
        self._environment = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": visible_gpu(gpu, os.environ)}
        if threads is not None:
            # Threads that wait for each other sleep: where a core is busy with something else, spinning costs ten times
            # what the networks do.
            self._environment |= {**dict.fromkeys(THREAD_COUNTS, str(threads)), "OMP_WAIT_POLICY": "PASSIVE"}
        self._metrics = metrics
        self._beat = PainterBeat(0, 0, 0)
        self._heard_at: float | None = None
        self._process: Process | None = None
        self._settings_json = settings_json
        self._clock = clock
        self._folder: Path | None = None
        self._task: asyncio.Task[None] | None = None
        self._known = asyncio.Event()
        self.sessions: int | None = None
        """That it can serve at once, as measured; None until it has been ready."""
        self.failure: str | None = None
        """Why there will never be one, as it said itself."""

    @property
    def host_arguments(self) -> Sequence[str]:
        """What tells a host where the painter is; nothing when there will never be one."""
        return [] if self._folder is None or self.failure is not None else ["--painter", str(self._socket)]

    async def start(self) -> None:
        """Spawn it, and wait until it is warm, has given up, or has ended for the first time."""
        self._folder = Path(tempfile.mkdtemp(prefix="musetalk-"))
        self._task = asyncio.create_task(keep_alive("painter", self._run_one, self._clock), name="painter")
        await self._known.wait()

    async def close(self) -> None:
        """End it. Twice is fine."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        """Of the process that is ready; None while there is none."""
        return None if self._process is None or self._heard_at is None else self._process.pid

    def check(self, now: float) -> None:
        """End a painter that hangs."""
        if self._process is not None and self._heard_at is not None and now - self._heard_at > _HUNG_S:
            log.error("painter hangs, ending it", extra={"pid": self._process.pid})
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    @property
    def _socket(self) -> Path:
        assert self._folder is not None
        return self._folder / "painter"

    async def _run_one(self) -> None:
        """One painter from spawn to end; for ever, when it said that it cannot be."""
        process, end = await spawn(["painter", "--listen", str(self._socket)], self._settings_json, self._environment)
        reader, writer = await asyncio.open_connection(sock=end)
        self._process = process
        try:
            async for payload in read_payloads(reader):
                self._receive(decode_answer(payload))
        finally:
            self._known.set()  # who starts goes on without one that has ended before it was ready
            self._process = self._heard_at = None
            writer.close()
            await end_process(process)
        if self.failure is not None:
            await asyncio.Event().wait()

    def _receive(self, message: object) -> None:
        if not isinstance(message, PainterFailed):
            self._heard_at = self._clock.now()
        match message:
            case PainterBeat():
                self._count(message)
            case PainterReady():
                self._beat = PainterBeat(0, 0, 0)
                self.sessions = message.sessions
                log.info("MuseTalk is ready", extra={"device": message.device, "sessions": message.sessions})
            case PainterFailed():
                self.failure = message.reason
                log.error("MuseTalk is left out: %s", message.reason)
        self._known.set()

    def _count(self, beat: PainterBeat) -> None:
        for result, now, before in (
            ("painted", beat.frames, self._beat.frames),
            ("late", beat.late, self._beat.late),
            ("batches", beat.batches, self._beat.batches),
        ):
            self._metrics.painter.labels(result).inc(now - before)
        self._beat = beat
