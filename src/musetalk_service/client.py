"""A small asynchronous client of the service, for programs and tests.

Speak a recording and keep the video that comes back::

    import asyncio
    from musetalk_service.client import MuseTalkClient

    async def main(pcm: bytes) -> None:  # 16 kHz mono, signed 16 bit
        async with MuseTalkClient.connect("ws://localhost:8000", user_id="alice") as client:
            await client.send_audio(pcm)
            await client.end_of_speech()
            with open("alice.h264", "wb") as video:
                async for frame in client.frames():
                    video.write(frame.access_unit)
                    if frame.timestamp_ms > 5000:
                        break

Nothing is read in the background: iterate while the session lives, or the server takes the client
for a slow one and drops frames. Sending from one task and iterating in another is fine.
"""

import asyncio
import base64
import contextlib
import itertools
import math
import ssl as tls
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedOK, WebSocketException

from musetalk_service.client_audio import CHUNK_MS, SentAudio, cut, duration_ms
from musetalk_service.client_connection import Target, envelope, open_session
from musetalk_service.client_messages import (
    ActionTriggered,
    CloseAck,
    EngineSwitched,
    Event,
    Interrupted,
    OtherMessage,
    ReceivedFrame,
    ServerError,
    ServerMessage,
    SessionStarted,
    StateChanged,
    read_server_message,
)

__all__ = [
    "ActionTriggered",
    "CloseAck",
    "EngineSwitched",
    "Event",
    "Interrupted",
    "MuseTalkClient",
    "OtherMessage",
    "ReceivedFrame",
    "ServerError",
    "ServerMessage",
    "SessionStarted",
    "StateChanged",
]

State = Literal["idle", "speaking", "action"]
FrameForm = Literal["json", "binary"]

_RETRY_S = (0.0, 0.1, 0.2, 0.5, 1.0)
"""Waits before the attempts to reconnect; the last one repeats."""
NO_PONG = 1011  # WebSocket close code of a keepalive that failed; the session itself may be well


class MuseTalkClient:
    """One session. Make it with `connect`, which also ends it."""

    def __init__(
        self,
        target: Target,
        connection: ClientConnection,
        started: SessionStarted,
        *,
        resume: bool = False,
        stall_timeout: float = 5.0,
    ) -> None:
        self._target = target
        self._connection = connection
        self._started = started
        self._resume = resume and started.resume_token is not None
        self._stall_timeout = stall_timeout if self._resume else None
        self._receiving = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._sent = SentAudio()
        self._inbox: deque[ServerMessage] = deque()
        self._taking_up: tuple[ClientConnection, asyncio.Task[None]] | None = None
        self._close_ack: CloseAck | None = None
        self._closing = False
        self.session_id = started.session_id
        self.available_videos = started.available_videos
        self.default_video = started.default_video
        self.engine = started.engine
        """What moves the mouth, as the server names it; empty from a 1.0 or 1.1 server."""
        self.codec = started.codec
        """The stream's codec string as WebCodecs wants it, for example "avc1.42C01F"."""
        self.delay_ms = started.delay_ms
        """From audio received to the frame that speaks it, in ms, when audio comes in real time."""
        self.width = started.width
        self.height = started.height
        self.fps = started.fps
        self.max_kbps = started.max_kbps
        """Peak rate of the video in kbit/s; None where the server does not say."""
        self.init_data: Mapping[str, Any] = started.data
        """All of INIT_SUCCESS's data, for what has no attribute here."""

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        server: str,
        user_id: str,
        *,
        auth_token: str | None = None,
        session_id: str | None = None,
        resolution: str | None = None,
        max_kbps: int | None = None,
        frames: FrameForm = "binary",
        events: bool = False,
        blendshapes: bool = False,
        engine: str | None = None,
        resume: bool = False,
        stall_timeout: float = 5.0,
        ssl: tls.SSLContext | None = None,
        options: Mapping[str, Any] | None = None,
        timeout: float = 15.0,
        close_timeout: float = 5.0,
    ) -> AsyncIterator["MuseTalkClient"]:
        """Opens a session as `user_id` on `server` ("ws://host:port" or "wss://host"); closes it at the end.

        Args:
            auth_token: a JSON Web Token; goes into the handshake's Authorization header, and into INIT.
            session_id: a UUID v4; one is made when absent.
            resolution: of the video, "<width>x<height>"; the server's default when absent. What it may be is
                in the `resolutions` of `GET /health`; `width` and `height` say what the server gives.
            max_kbps: the peak rate that this client can take, in kbit/s, 50 or more.
            frames: how frames travel; binary ones need a quarter less. What the iteration yields is the same.
            events: whether `Event` messages are wanted.
            blendshapes: whether an `Event` named blendshapes is wanted with each frame in which the mouth moves.
            engine: what is to move the mouth, one of the `engines` of `GET /health`; the server's choice when absent.
            resume: whether to reconnect by itself when the connection breaks, within the time that the server
                waits for it; audio that had not arrived is sent again, and a `SessionStarted` whose `resumed` is
                true says when it happened.
            stall_timeout: with `resume`, seconds without any message after which the connection counts as lost.
            ssl: how to check the server of a "wss" address; the system's certificates when absent.
            options: more INIT data.
            timeout: seconds for the handshake, and as many for INIT_SUCCESS.
            close_timeout: seconds for CLOSE_ACK.

        Raises ServerError when the server refuses the session or is full (`retry_after_ms` then says
        for how long), TimeoutError, OSError, ValueError, or websockets.exceptions.WebSocketException.
        """
        target = Target(server, user_id, auth_token, ssl, timeout, close_timeout)
        video: dict[str, Any] = {"fps": 25} if resolution is None else {"resolution": resolution, "fps": 25}
        if max_kbps is not None:
            video["max_kbps"] = max_kbps
        data = target.init_data() | {"video_config": video, "frames": frames, "events": events}
        if blendshapes:
            data["blendshapes"] = True
        if engine is not None:
            data["engine"] = engine
        connection, started = await open_session(target, data | dict(options or {}), session_id)
        client = cls(target, connection, started, resume=resume, stall_timeout=stall_timeout)
        try:
            yield client
        finally:
            await client.close(close_timeout)

    async def send_audio(
        self,
        pcm: bytes,
        *,
        sample_rate: int = 16_000,
        state: State = "speaking",
        base_video: str | None = None,
    ) -> None:
        """Sends mono signed 16-bit little-endian `pcm` at once, cut to chunks of 40 ms.

        The server plays it at normal speed, whatever the speed at which it comes. `base_video` is what
        the body does meanwhile; the avatar's first speaking clip when absent. Raises ValueError for an
        odd number of bytes.
        """
        for chunk in cut(pcm, sample_rate):
            await self._send_chunk(chunk, sample_rate, state, base_video)

    async def send_paced(
        self,
        pcm: bytes,
        *,
        sample_rate: int = 16_000,
        state: State = "speaking",
        base_video: str | None = None,
    ) -> None:
        """Sends as `send_audio` does, but as a microphone would: one chunk each 40 ms."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        for index, chunk in enumerate(cut(pcm, sample_rate)):
            delay = start + index * CHUNK_MS / 1000 - loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
            await self._send_chunk(chunk, sample_rate, state, base_video)

    async def end_of_speech(self) -> None:
        """Says that this utterance is complete, so that its tail is not held back for look-ahead."""
        await self._send("END_OF_SPEECH", {}, self._sent.add_end_of_speech)

    async def interrupt(self) -> None:
        """Drops all speech that waits or plays (barge-in); the answer is an `Interrupted` message."""
        await self._send("INTERRUPT", {}, self._sent.add_interrupt)

    async def change_state(self, state: State, base_video: str | None = None) -> None:
        """Asks for another state and base clip; the answer is a `StateChanged` message.

        The first clip of its kind plays when `base_video` is absent.
        """
        clip = {} if base_video is None else {"base_video": base_video}
        await self._send("STATE_CHANGE", {"target_state": state} | clip)

    async def action(self, index: int) -> None:
        """Plays action 1 or 2; the answer is `ActionTriggered`, or INVALID_MESSAGE while one plays."""
        await self._send("ACTION", {"action_index": index})

    async def switch_engine(self, engine: str) -> None:
        """Another engine from the next frame on; the answer is `EngineSwitched`, or INVALID_MESSAGE."""
        await self._send("SWITCH_ENGINE", {"engine": engine})

    async def __aiter__(self) -> AsyncIterator[ServerMessage]:
        """Yields what the server sends, in order, until the session has ended.

        An ERROR is yielded as a `ServerError` and not raised: it refuses one message, and the stream
        goes on. Raises websockets.exceptions.ConnectionClosedError when the connection breaks; with
        `resume` only when the session cannot be taken up again, and its cause says why.
        """
        while self._close_ack is None:
            try:
                message = await self._receive()
            except ConnectionClosedOK:
                return
            except ConnectionClosed:
                if self._closing:
                    return
                raise
            if message is not None:
                yield message

    async def frames(self) -> AsyncIterator[ReceivedFrame]:
        """Yields the frames only. Raises ServerError at an ERROR; call `frames` again to go on."""
        async for message in self:
            if isinstance(message, ReceivedFrame):
                yield message
            elif isinstance(message, ServerError):
                raise message

    async def close(self, timeout: float = 5.0) -> CloseAck | None:
        """Ends the session and waits for the server's CLOSE_ACK, at most `timeout` seconds.

        Returns None when it did not come. Frames still on the way are dropped. Closing twice is fine.
        """
        said, self._closing = self._closing, True
        if self._taking_up is not None and self._taking_up[1].cancel():
            await asyncio.wait([self._taking_up[1]])
        try:
            await asyncio.wait_for(self._say_goodbye(said), timeout)
        except (asyncio.TimeoutError, ConnectionClosed):
            pass
        finally:
            await self._connection.close()
        return self._close_ack

    async def _say_goodbye(self, said: bool) -> None:
        if not said:
            await self._send("CLOSE", {})
        while self._close_ack is None:
            await self._receive()

    # --- receiving ---

    async def _receive(self) -> ServerMessage | None:
        """The next message; None when there is none to be had just now, or ever again."""
        # The lock lets `close` read on while another task iterates; who comes second may find the end read.
        async with self._receiving:
            if self._close_ack is not None:
                return None
            if self._inbox:
                return self._inbox.popleft()
            connection = self._connection
            try:
                raw = await asyncio.wait_for(connection.recv(), self._stall_timeout)
            except asyncio.TimeoutError:
                # A stream of 25 frames a second has stopped: a ping would find out much later.
                connection.transport.abort()
                return None
            except ConnectionClosed as lost:
                await self._reconnect(connection, lost)
                return None
            message = read_server_message(raw, time.monotonic())
            self._note(message)
            return message

    def _note(self, message: ServerMessage) -> None:
        match message:
            case ReceivedFrame(audio_timestamp_ms=int(position)):
                self._sent.played(position)
            case ServerError() if "queued_ms" in message.details:
                self._sent.refused()
            case CloseAck():
                self._close_ack = message
            case _:
                pass

    # --- sending ---

    async def _send_chunk(self, chunk: bytes, sample_rate: int, state: State, base_video: str | None) -> None:
        length_ms = duration_ms(chunk, sample_rate)
        audio = {
            "format": "pcm_s16le",
            "sample_rate": sample_rate,
            "channels": 1,
            "duration_ms": math.ceil(length_ms),
            "data": base64.b64encode(chunk).decode(),
        }
        video = {"type": state, "base_video": base_video or self._first_video(state)}
        await self._send(
            "GENERATE",
            {"audio_chunk": audio, "video_state": video},
            lambda text: self._sent.add_audio(text, length_ms, sample_rate),
        )

    def _first_video(self, state: State) -> str:
        return next((name for name in self.available_videos if name.startswith(state)), self.default_video)

    async def _send(self, kind: str, data: Mapping[str, Any], keep: Callable[[str], None] | None = None) -> None:
        """Sends one message; `keep` notes it for a resumed session, which is sent it again by itself."""
        text = envelope(kind, self.session_id, data)
        while True:
            async with self._sending:
                connection = self._connection
                if keep is not None and self._resume:
                    keep(text)
                try:
                    await connection.send(text)
                    return
                except ConnectionClosed as closed:
                    lost = closed
            await self._reconnect(connection, lost)
            if keep is not None:
                return

    # --- resuming ---

    async def _reconnect(self, broken: ClientConnection, lost: ConnectionClosed) -> None:
        """Takes the session up again, once for all who wait for it. Raises `lost` where that cannot be."""
        if self._connection is not broken:
            return
        if self._taking_up is None or self._taking_up[0] is not broken:
            if not self._may_resume(lost):
                raise lost
            self._taking_up = broken, asyncio.create_task(self._take_up(broken, lost))
        task = self._taking_up[1]
        await asyncio.wait([task])  # unlike awaiting it: who is cancelled here does not take it along
        if task.cancelled():
            raise lost
        task.result()

    def _may_resume(self, lost: ConnectionClosed) -> bool:
        broken = lost.rcvd is None or lost.rcvd.code == NO_PONG
        return self._resume and not self._closing and broken

    async def _take_up(self, broken: ClientConnection, lost: ConnectionClosed) -> None:
        async with self._sending:
            await self._drain(broken)
            connection, started = await self._open_again(lost)
            self._connection, self._started = connection, started
            self._inbox.append(started)
            with contextlib.suppress(ConnectionClosed):  # then whoever comes next resumes once more
                for text in self._sent.unreceived(started.audio_received_ms):
                    await connection.send(text)

    async def _drain(self, broken: ClientConnection) -> None:
        """Keeps what had come before the connection broke."""
        with contextlib.suppress(ConnectionClosed, ConcurrencyError):  # the latter: another task is reading it
            while True:
                message = read_server_message(await broken.recv(), time.monotonic())
                self._note(message)
                self._inbox.append(message)

    async def _open_again(self, lost: ConnectionClosed) -> tuple[ClientConnection, SessionStarted]:
        data = self._target.init_data() | {"resume_token": self._started.resume_token}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._started.resume_grace_s
        failure: Exception = lost
        for wait_s in itertools.chain(_RETRY_S, itertools.repeat(_RETRY_S[-1])):
            left_s = deadline - loop.time() - wait_s
            if left_s <= 0:
                break
            await asyncio.sleep(wait_s)
            try:
                connection, started = await asyncio.wait_for(open_session(self._target, data, self.session_id), left_s)
            except ServerError as refusal:
                failure = refusal
                if refusal.code != "RATE_LIMIT_EXCEEDED":
                    break
            except (asyncio.TimeoutError, OSError, WebSocketException) as problem:
                failure = problem
            else:
                if started.resumed:
                    return connection, started
                await connection.close()
                failure = ServerError("INVALID_SESSION", "the server has begun a new session instead", {})
                break
        raise lost from (None if failure is lost else failure)
