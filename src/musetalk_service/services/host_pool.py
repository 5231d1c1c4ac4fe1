"""The engine hosts as the front sees them: spawned, watched, replaced, and handed out to sessions."""

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from typing_extensions import assert_never

from musetalk_service.bus import messages as bus
from musetalk_service.bus.base import FrontLink
from musetalk_service.bus.local import SocketFrontLink
from musetalk_service.errors import BusClosedError, InvalidMessageError
from musetalk_service.services.child_process import end_process, keep_alive, spawn
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.painter_process import PainterProcess
from musetalk_service.utils.clock import Clock

log = logging.getLogger(__name__)

_SLOW_S = 0.3
"""A host that owes frames for this long gets no new sessions while there is another."""
_HUNG_S = 2.0
"""A host that owes frames and has sent none for this long is ended."""


@dataclass
class Inbox:
    """Frames of one session from its host, in order; the stream empties it at its ticks."""

    epoch: int
    frames: deque[bus.Frame] = field(default_factory=deque)
    engine: str | None = None
    change: str | None = None
    """Why the engine changed last."""
    failure: str | None = None


class Host:
    """A connected host."""

    def __init__(self, link: FrontLink, ready: bus.HostReady, now: float) -> None:
        self.link = link
        self.ready = ready
        self.alive = True
        self.inboxes: dict[str, Inbox] = {}
        self.owed_since: float | None = None
        """Since when a frame has been asked for and nothing has come."""
        self.clips: dict[tuple[str, str, str], asyncio.Future[list[bytes]]] = {}
        """Packets that are waited for, by avatar, clip and rendition."""
        self.connected_at = now

    def owes_for(self, now: float) -> float:
        """Seconds since a frame was asked for and nothing has come."""
        return 0.0 if self.owed_since is None else now - self.owed_since

    def engine_status(self, name: str) -> bus.EngineStatus | None:
        """What the host said of an engine, or of its stand-in where it could not load it."""
        engines = self.ready.engines
        return next((status for status in engines if status.name == name), engines[0] if engines else None)

    def send(self, message: bus.UpMessage, now: float) -> None:
        """Send; a host that is gone is only marked, its reader tells the rest."""
        try:
            self.link.send(message)
        except BusClosedError:
            self.alive = False
        if isinstance(message, bus.Render) and self.owed_since is None:
            self.owed_since = now

    def receive(self, message: bus.DownMessage, metrics: Metrics) -> None:
        """Sort one message into the inbox of its session."""
        self.owed_since = None
        match message:
            case bus.HostReady():
                self.ready = message
            case bus.ClipPackets():
                waiter = self.clips.pop((message.avatar, message.clip, message.rendition), None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(message.access_units)
            case bus.Frame() | bus.EngineChanged() | bus.SessionFailed():
                inbox = self.inboxes.get(message.session)
                if inbox is not None and inbox.epoch == message.epoch:
                    self._deliver(inbox, message, metrics)
            case _:
                assert_never(message)

    @staticmethod
    def _deliver(inbox: Inbox, message: bus.Frame | bus.EngineChanged | bus.SessionFailed, metrics: Metrics) -> None:
        match message:
            case bus.Frame():
                inbox.frames.append(message)
                inbox.engine = message.engine
                if not message.held:
                    metrics.stage_seconds.labels("render").observe(message.render_ms / 1000)
                metrics.stage_seconds.labels("encode").observe(message.encode_ms / 1000)
            case bus.EngineChanged():
                inbox.change = message.reason
                metrics.engine_changes.labels(message.engine).inc()
                log.warning(
                    "engine changed",
                    extra={"session_id": message.session, "engine": message.engine, "reason": message.reason},
                )
            case bus.SessionFailed():
                inbox.failure = message.reason
            case _:
                assert_never(message)

    def lose(self) -> None:
        """The link has ended."""
        self.alive = False
        for waiter in self.clips.values():
            if not waiter.done():
                waiter.set_exception(BusClosedError())
        self.clips.clear()


class HostPool:
    """``count`` host processes, each started with ``settings_json`` on its standard input."""

    def __init__(
        self,
        count: int,
        settings_json: str,
        clock: Clock,
        metrics: Metrics,
        painters: Sequence[PainterProcess] = (),
    ) -> None:
        self._painters = painters
        self._count = max(count, len(painters))
        self._settings_json = settings_json
        self._clock = clock
        self._metrics = metrics
        self._hosts: list[Host] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: dict[Host, asyncio.subprocess.Process] = {}
        self._some_host = asyncio.Event()

    @property
    def hosts(self) -> Sequence[Host]:
        """Those that are connected."""
        return self._hosts

    async def start(self) -> None:
        """Spawn the hosts; returns at once, or when the painters that they need are ready or have failed."""
        await asyncio.gather(*(painter.start() for painter in self._painters))
        self._tasks = [
            asyncio.create_task(keep_alive("host", functools.partial(self._run_one, i), self._clock), name=f"host-{i}")
            for i in range(self._count)
        ]

    async def first(self) -> Host:
        """Wait for a connected host."""
        while not self._hosts:
            self._some_host.clear()
            await self._some_host.wait()
        return self._hosts[0]

    @property
    def available(self) -> bool:
        """Whether there is a host to assign."""
        return any(host.alive for host in self._hosts)

    @property
    def musetalk_sessions(self) -> int | None:
        """As many as the painters have measured that they can serve; None: not known."""
        known = [painter.sessions for painter in self._painters if painter.sessions is not None]
        return sum(known) if known else None

    def look_ahead_of(self, engine: str) -> int:
        """Samples that an engine hears ahead. Raises :class:`InvalidMessageError` for one that no host has loaded."""
        loaded = {status.name: status for host in self._hosts for status in host.ready.engines}
        if engine not in loaded:
            raise InvalidMessageError(
                f"engine {engine!r} is not served here; allowed: {', '.join(loaded)}",
                field="data.engine",
                allowed=list(loaded),
            )
        return loaded[engine].look_ahead_samples

    def assign(self) -> Host | None:
        """The live host with the fewest sessions, or None; one that does not answer comes last."""
        now = self._clock.now()
        alive = [host for host in self._hosts if host.alive]
        return min(alive, key=lambda host: (host.owes_for(now) > _SLOW_S, len(host.inboxes)), default=None)

    def check(self, now: float) -> None:
        """End hosts that owe frames and send nothing, and silent painters: their process hangs."""
        for painter in self._painters:
            painter.check(now)
        for host, process in self._processes.items():
            if host.owes_for(now) >= _HUNG_S:
                log.error("host hangs, ending it", extra={"pid": process.pid})
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def close(self) -> None:
        """End all hosts. Twice is fine."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await asyncio.gather(*(painter.close() for painter in self._painters))

    def add(self, host: Host) -> None:
        """Take a connected host into the pool."""
        self._hosts.append(host)
        self._some_host.set()
        self._metrics.worker_slots.labels("ready").set(len(self._hosts))

    def remove(self, host: Host) -> None:
        """Take a host out; its sessions notice at their next tick."""
        host.lose()
        if host in self._hosts:
            self._hosts.remove(host)
        self._metrics.worker_slots.labels("ready").set(len(self._hosts))

    # --- processes ---

    async def _run_one(self, index: int) -> None:
        """One host from spawn to end; the painters are dealt out in turn."""
        painter = self._painters[index % len(self._painters)].host_arguments if self._painters else []
        process, end = await spawn(["worker", *painter], self._settings_json)
        link: SocketFrontLink | None = None
        host: Host | None = None
        try:
            link = await SocketFrontLink.connect(end)
            async for message in link.messages():
                if host is None and isinstance(message, bus.HostReady):
                    host = Host(link, message, self._clock.now())
                    self._processes[host] = process
                    self.add(host)
                elif host is not None:
                    host.receive(message, self._metrics)
        finally:
            if host is not None:
                self.remove(host)
                self._processes.pop(host, None)
            if link is not None:
                link.close()
            await end_process(process)
