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
import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus

from musetalk_service.client_messages import (
    ActionTriggered,
    CloseAck,
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
    "Interrupted",
    "MuseTalkClient",
    "OtherMessage",
    "ReceivedFrame",
    "ServerError",
    "ServerMessage",
    "SessionStarted",
    "StateChanged",
]

CHUNK_MS = 40
BYTES_PER_SAMPLE = 2
TRY_AGAIN_LATER = 1013  # WebSocket close code, IANA registry of RFC 6455 section 7.4

State = Literal["idle", "speaking", "action"]


class MuseTalkClient:
    """One session. Make it with `connect`, which also ends it."""

    def __init__(self, connection: ClientConnection, started: SessionStarted) -> None:
        self._connection = connection
        self._receiving = asyncio.Lock()
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
        options: Mapping[str, Any] | None = None,
        timeout: float = 15.0,
        close_timeout: float = 5.0,
    ) -> AsyncIterator["MuseTalkClient"]:
        """Opens a session as `user_id` on `server` ("ws://host:port" or "wss://host"); closes it at the end.

        `session_id`: a UUID v4, one is made when absent. `options`: more INIT data. Waits `timeout`
        seconds for INIT_SUCCESS and `close_timeout` seconds for CLOSE_ACK.

        Raises ServerError when the server refuses the session or is full (`retry_after_ms` then says
        for how long), TimeoutError, OSError, or websockets.exceptions.WebSocketException.
        """
        address = f"{_websocket_scheme(server).rstrip('/')}/musetalk/v1/ws/{quote(user_id, safe='')}"
        data: dict[str, Any] = {"user_id": user_id, "video_config": {"resolution": "512x512", "fps": 25}}
        if auth_token is not None:
            data["auth_token"] = auth_token
        data.update(options or {})
        wanted_id = session_id or str(uuid.uuid4())
        try:
            connection = await websocket_connect(
                address, compression=None, open_timeout=timeout, close_timeout=close_timeout
            )
        except InvalidStatus as refusal:
            if refusal.response.status_code != 503:
                raise
            raise _busy(refusal.response.headers.get("Retry-After")) from None
        async with connection:
            await connection.send(_envelope("INIT", wanted_id, data))
            started = await asyncio.wait_for(_wait_for_start(connection), timeout)
            client = cls(connection, started)
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
        for chunk in _chunks(pcm, sample_rate):
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
        for index, chunk in enumerate(_chunks(pcm, sample_rate)):
            delay = start + index * CHUNK_MS / 1000 - loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
            await self._send_chunk(chunk, sample_rate, state, base_video)

    async def end_of_speech(self) -> None:
        """Says that this utterance is complete, so that its tail is not held back for look-ahead."""
        await self._send("END_OF_SPEECH", {})

    async def interrupt(self) -> None:
        """Drops all speech that waits or plays (barge-in); the answer is an `Interrupted` message."""
        await self._send("INTERRUPT", {})

    async def change_state(self, state: State, base_video: str) -> None:
        """Asks for another state and base clip; the answer is a `StateChanged` message."""
        await self._send("STATE_CHANGE", {"target_state": state, "base_video": base_video})

    async def action(self, index: int) -> None:
        """Plays action 1 or 2; the answer is `ActionTriggered`, or INVALID_MESSAGE while one plays."""
        await self._send("ACTION", {"action_index": index})

    async def __aiter__(self) -> AsyncIterator[ServerMessage]:
        """Yields what the server sends, in order, until the session has ended.

        An ERROR is yielded as a `ServerError` and not raised: it refuses one message, and the stream
        goes on. Raises websockets.exceptions.ConnectionClosedError when the connection breaks.
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
        try:
            await asyncio.wait_for(self._say_goodbye(), timeout)
        except (asyncio.TimeoutError, ConnectionClosed):
            pass
        finally:
            await self._connection.close()
        return self._close_ack

    async def _say_goodbye(self) -> None:
        if not self._closing:
            self._closing = True
            await self._send("CLOSE", {})
        while self._close_ack is None:
            await self._receive()

    async def _receive(self) -> ServerMessage | None:
        # The lock lets `close` read on while another task iterates; who comes second may find the end read.
        async with self._receiving:
            if self._close_ack is not None:
                return None
            raw = await self._connection.recv()
            message = read_server_message(raw, time.monotonic())
            if isinstance(message, CloseAck):
                self._close_ack = message
            return message

    async def _send_chunk(self, chunk: bytes, sample_rate: int, state: State, base_video: str | None) -> None:
        audio = {
            "format": "pcm_s16le",
            "sample_rate": sample_rate,
            "channels": 1,
            "duration_ms": math.ceil(len(chunk) / BYTES_PER_SAMPLE * 1000 / sample_rate),
            "data": base64.b64encode(chunk).decode(),
        }
        video = {"type": state, "base_video": base_video or self._first_video(state)}
        await self._send("GENERATE", {"audio_chunk": audio, "video_state": video})

    def _first_video(self, state: State) -> str:
        return next((name for name in self.available_videos if name.startswith(state)), self.default_video)

    async def _send(self, kind: str, data: Mapping[str, Any]) -> None:
        await self._connection.send(_envelope(kind, self.session_id, data))


async def _wait_for_start(connection: ClientConnection) -> SessionStarted:
    while True:
        try:
            message = read_server_message(await connection.recv(), time.monotonic())
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == TRY_AGAIN_LATER:
                raise _busy(None) from None
            raise
        if isinstance(message, SessionStarted):
            return message
        if isinstance(message, ServerError):
            raise message
        if isinstance(message, CloseAck):
            raise ServerError("INVALID_SESSION", f"the server closed the session: {message.reason}", {})


def _busy(retry_after_s: str | None) -> ServerError:
    # Retry-After may also be a date (RFC 9110 section 10.2.3); the service sends seconds.
    known = retry_after_s is not None and retry_after_s.isdigit()
    details = {"retry_after_ms": int(retry_after_s or 0) * 1000} if known else {}
    return ServerError("RATE_LIMIT_EXCEEDED", "the server is at capacity", details)


def _chunks(pcm: bytes, sample_rate: int) -> list[bytes]:
    if len(pcm) % BYTES_PER_SAMPLE:
        raise ValueError(f"16-bit samples need an even number of bytes, not {len(pcm)}")
    size = sample_rate * CHUNK_MS // 1000 * BYTES_PER_SAMPLE
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]


def _envelope(kind: str, session_id: str, data: Mapping[str, Any]) -> str:
    return json.dumps({"type": kind, "session_id": session_id, "data": data}, separators=(",", ":"))


def _websocket_scheme(server: str) -> str:
    return "ws" + server.removeprefix("http") if server.startswith("http") else server
