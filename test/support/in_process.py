"""The whole service in the test's own process: no sockets, no host processes, time by hand."""

import asyncio
import base64
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocket

from musetalk_service.bus import messages as bus
from musetalk_service.config import Settings, default_settings
from musetalk_service.engines.avatar import Avatar, load_default_avatar
from musetalk_service.engines.base import Engine
from musetalk_service.engines.builtin.network import load_network
from musetalk_service.engines.voice import Voice
from musetalk_service.errors import BusClosedError
from musetalk_service.host import ready_message
from musetalk_service.models.messages import ActionFrame, ServerMessage, VideoFrame, parse_server_message
from musetalk_service.server import Front
from musetalk_service.services.engine_host import EngineHost
from musetalk_service.services.engine_scheduler import EngineScheduler
from musetalk_service.services.host_pool import Host, HostPool
from musetalk_service.services.metrics import Metrics
from musetalk_service.utils.clock import Clock
from support import preparation_child
from support.engines import GreyEngine, ShutEngine
from support.manual_clock import ManualClock, settle

FRAME_S = 0.04
_avatars: dict[str, Avatar] = {}


def default_avatar() -> Avatar:
    """Loaded once: it never changes, and its renderer takes a moment to make."""
    if not _avatars:
        _avatars["default"] = load_default_avatar()
    return _avatars["default"]


class InProcessHost:
    """One engine host and the link to it; replies come at once, later, or never."""

    def __init__(
        self, engines: dict[str, Engine], clock: Clock, avatars: Callable[[str], Avatar] = lambda _: default_avatar()
    ) -> None:
        self.engines = engines
        scheduler = EngineScheduler(engines, clock.now)
        self.engine_host = EngineHost(scheduler, avatars, lambda: Voice(load_network()))
        self.received: list[bus.UpMessage] = []
        self.all_forms = False
        """Whether idle clips are made beyond the one that the service cannot do without."""
        self.borrowed: list[bytes] = []
        """Packets for the first clip of prepared avatars: drawing them would take seconds."""
        self.hung = False
        self.dead = False
        self.lagging = False
        """Replies wait for :meth:`flush`."""
        self._late: deque[bus.DownMessage] = deque()
        self._clock = clock
        self.host: Host
        self.metrics: Metrics

    @property
    def engine(self) -> GreyEngine:
        """The engine of a host that was made with the grey one."""
        engine = self.engines["builtin"]
        assert isinstance(engine, GreyEngine)
        return engine

    def connect(self, metrics: Metrics) -> Host:
        """A new connection, as after a restart."""
        self.dead = self.hung = False
        self.metrics = metrics
        self.host = Host(self, ready_message(self.engines), self._clock.now())
        return self.host

    def flush(self) -> None:
        """Deliver what lags."""
        while self._late:
            self.host.receive(self._late.popleft(), self.metrics)

    # The link's interface.

    def send(self, message: bus.UpMessage) -> None:
        if self.dead:
            raise BusClosedError
        self.received.append(message)
        if self.hung:
            return
        if isinstance(message, bus.PrepareClip) and not self._makes(message):
            return
        if isinstance(message, bus.PrepareClip) and self.borrowed:
            for form in message.renditions:
                self.host.receive(bus.ClipPackets(message.avatar, message.clip, form.name, self.borrowed), self.metrics)
            return
        replies = self.engine_host.handle([bus.decode_up(bus.encode(message))])
        while self.engine_host.has_background_work:
            replies += self.engine_host.work_in_background()
        self._late.extend(bus.decode_down(bus.encode(reply)) for reply in replies)
        if not self.lagging:
            self.flush()

    def _makes(self, wanted: bus.PrepareClip) -> bool:
        """The first clip in its best form; at most two clips in all forms. Making more would take a minute."""
        return len(wanted.renditions) == 1 or (self.all_forms and wanted.clip in ("idle_0", "idle_1"))

    async def messages(self) -> AsyncIterator[bus.DownMessage]:
        raise NotImplementedError("replies come by themselves")
        yield

    def close(self) -> None:
        self.dead = True


class InProcessPool(HostPool):
    """A pool whose hosts live in this process."""

    def __init__(self, hosts: list[InProcessHost], clock: Clock, metrics: Metrics) -> None:
        super().__init__(0, "{}", clock, metrics)
        self.members = hosts

    async def start(self) -> None:
        for member in self.members:
            self.add(member.connect(self._metrics))

    def kill(self, member: InProcessHost) -> None:
        """The host's process ends: its link breaks."""
        member.dead = True
        self.remove(member.host)

    def revive(self, member: InProcessHost) -> None:
        """A new process takes its place."""
        self.add(member.connect(self._metrics))


def grey_engines() -> dict[str, Engine]:
    """A fast engine and its stand-in."""
    return {"builtin": GreyEngine(), "static": ShutEngine()}


class Client:
    """The far end of one WebSocket connection, in memory."""

    def __init__(self, service: "Service", user_id: str, headers: Mapping[str, str]) -> None:
        self._service = service
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        self._reading = asyncio.Event()
        self._reading.set()
        self.texts: list[tuple[float, str]] = []
        """(time of arrival, message)."""
        self.close_code: int | None = None
        self.refusal: tuple[int, dict[str, str], Any] | None = None
        """(status, headers, body) of a handshake that was denied."""
        self.session_id = "00000000-0000-4000-8000-000000000000"
        scope = {
            "type": "websocket",
            "path": f"/musetalk/v1/ws/{user_id}",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "query_string": b"",
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }
        socket = WebSocket(scope, self._incoming.get, self._sent)
        self.connection = asyncio.create_task(service.front.connections.serve(socket, user_id))

    async def _sent(self, event: dict[str, Any]) -> None:
        await self._reading.wait()
        match event["type"]:
            case "websocket.send":
                self.texts.append((self._service.clock.now(), event["text"]))
            case "websocket.close":
                self.close_code = event.get("code")
            case "websocket.http.response.start":
                headers = {name.decode(): value.decode() for name, value in event["headers"]}
                self.refusal = (event["status"], headers, None)
            case "websocket.http.response.body":
                assert self.refusal is not None
                self.refusal = (*self.refusal[:2], json.loads(event["body"]))

    # What the client does.

    def stop_reading(self) -> None:
        """Take nothing more: the server's writer blocks, as behind a full TCP window."""
        self._reading.clear()

    def go_on_reading(self) -> None:
        self._reading.set()

    def send_text(self, text: str) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "text": text})

    def send_bytes(self, data: bytes) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "bytes": data})

    def send(self, kind: str, data: Mapping[str, Any] | None = None) -> None:
        self.send_text(json.dumps({"type": kind, "session_id": self.session_id, "data": data or {}}))

    def disconnect(self, code: int = 1006) -> None:
        """The connection is gone: broken, or closed with a handshake, which brings a reason."""
        event = {"type": "websocket.disconnect", "code": code}
        self._incoming.put_nowait(event if code == 1006 else event | {"reason": ""})

    async def open(self, **init: Any) -> ServerMessage:
        """INIT and its answer; the id in it is used from then on."""
        self.send("INIT", init)
        await settle()
        started = self.answers("INIT_SUCCESS")[0]
        self.session_id = started.session_id
        return started

    def speak(self, pcm: NDArray[np.int16], **video_state: Any) -> None:
        """The whole of ``pcm`` at once, in chunks of 40 ms."""
        for start in range(0, len(pcm), 640):
            data: dict[str, Any] = {"audio_chunk": audio_chunk(pcm[start : start + 640])}
            self.send("GENERATE", data | ({"video_state": video_state} if video_state else {}))

    # What it has got.

    @property
    def messages(self) -> list[ServerMessage]:
        return [parse_server_message(text) for _, text in self.texts]

    @property
    def frames(self) -> list[VideoFrame | ActionFrame]:
        return [message for message in self.messages if isinstance(message, VideoFrame | ActionFrame)]

    @property
    def units(self) -> list[bytes]:
        """The access units, in order."""
        return [base64.b64decode(frame.data.frame_data) for frame in self.frames]

    def answers(self, kind: str) -> list[Any]:
        return [message for message in self.messages if message.type == kind]

    @property
    def errors(self) -> list[str]:
        """Codes of the errors."""
        return [error.data.code for error in self.answers("ERROR")]


class Service:
    """A started service and the clock that it lives by."""

    def __init__(self, front: Front, clock: ManualClock, hosts: list[InProcessHost]) -> None:
        self.front = front
        self.clock = clock
        self.hosts = hosts

    @property
    def pool(self) -> InProcessPool:
        assert isinstance(self.front.hosts, InProcessPool)
        return self.front.hosts

    def connect(self, user_id: str = "alice", **headers: str) -> Client:
        return Client(self, user_id, headers)

    async def session(self, user_id: str = "alice", **init: Any) -> Client:
        """A client whose session has begun, with these data in its INIT."""
        client = self.connect(user_id)
        await client.open(**init)
        return client

    async def lend_packets(self) -> None:
        """Prepared avatars get the default one's idle packets instead of waiting for their own."""
        default = await self.front.avatars.obtain("nobody-has-this-id")
        best = self.front.avatars.renditions[0].name
        for host in self.hosts:
            host.borrowed = [packet.access_unit for packet in default.idle[best]["idle_0"]]

    async def run(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    def count(self, result: str) -> float:
        """The frames metric."""
        return float(self.front.metrics.frames.labels(result)._value.get())


@asynccontextmanager
async def started_service(
    cache_dir: Path,
    *,
    hosts: int = 1,
    engines: Callable[[], dict[str, Engine]] = grey_engines,
    all_forms: bool = False,
    prepare_command: Sequence[str] = preparation_child.COMMAND,
    avatars: Callable[[str], Avatar] = lambda _: default_avatar(),
    **settings: Any,
) -> AsyncIterator[Service]:
    """A service on a manual clock with ``hosts`` hosts; ends with everything given back.

    Hosts show the default avatar whatever is asked for, unless ``avatars`` finds others.
    Lost connections end their session at once, unless ``resume_grace_s`` says otherwise. Of the idle clips
    only the first is made, in its best form, unless ``all_forms`` are wanted (of two clips then).
    """
    clock = ManualClock()
    folder = cache_dir / ("in-process-forms" if all_forms else "in-process")
    chosen: Settings = default_settings().model_copy(update={"cache_dir": folder, "resume_grace_s": 0.0, **settings})
    members = [InProcessHost(engines(), clock, avatars) for _ in range(hosts)]
    for member in members:
        member.all_forms = all_forms
    metrics = Metrics()
    front = Front(chosen, clock=clock, hosts=InProcessPool(members, clock, metrics), prepare_command=prepare_command)
    await front.start()
    service = Service(front, clock, members)
    try:
        yield service
    finally:
        await front.close()
        await settle()


def audio_chunk(pcm: NDArray[np.int16], sample_rate: int = 16_000) -> dict[str, Any]:
    """The ``audio_chunk`` of a message."""
    return {
        "format": "pcm_s16le",
        "sample_rate": sample_rate,
        "channels": 1,
        "duration_ms": len(pcm) * 1000 / sample_rate,
        "data": base64.b64encode(pcm.astype("<i2").tobytes()).decode(),
    }


def gaps(positions: list[int]) -> list[int]:
    """Differences of neighbours."""
    return [later - earlier for earlier, later in itertools.pairwise(positions)]
