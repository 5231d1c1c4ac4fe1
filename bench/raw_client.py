"""A WebSocket client (RFC 6455) that costs so little that hundreds of them do not measure themselves.

It takes what a server may send to a client that offered no extension: unmasked, unfragmented text or binary
messages, pings, a close.
"""

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

FRAME_MS = 40
CHUNK_BYTES = 1280
"""40 ms at 16 kHz, 16 bit."""

FrameHandler = Callable[[bytes, float], None]
"""Called with a frame message, JSON or binary, and `time.monotonic()` at its arrival."""

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_FRAME_START = (b'{"type":"VIDEO_FRAME"', b'{"type":"ACTION_FRAME"')
_HEAD_BYTES = 400
"""A frame message's fields other than the picture lie within its first bytes."""
_BINARY_START = b"MF"
_BINARY_HEAD = 24
_NO_AUDIO = 0xFFFFFFFF
_ANSWER_SECONDS = 20.0
_RECEIVED = memoryview(bytearray(1 << 18))
"""Every connection reads into it and takes the bytes out at once: a buffer for each read costs more than the rest."""


class RawClient(asyncio.BufferedProtocol):
    """One session. Make it with :meth:`open`."""

    def __init__(self, path: str, on_frame: FrameHandler, init: Mapping[str, Any]) -> None:
        self._path = path
        self._init = init
        self._on_frame = on_frame
        self._buffer = bytearray()
        self._upgraded = False
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self._ended = asyncio.get_running_loop().create_future()
        self.started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        """INIT_SUCCESS's data."""
        self.errors: list[str] = []
        """ERROR messages, and an end of the connection that nobody asked for."""
        self.bytes_received = 0

    @classmethod
    async def open(
        cls, host: str, port: int, user_id: str, on_frame: FrameHandler, init: Mapping[str, Any] | None = None
    ) -> "RawClient":
        """Connect and INIT with the data of `init`. Raises ``ConnectionError`` when the server refuses the session."""
        loop = asyncio.get_running_loop()
        path = f"/musetalk/v1/ws/{user_id}"
        _, client = await loop.create_connection(lambda: cls(path, on_frame, init or {}), host, port)
        await asyncio.wait_for(asyncio.shield(client.started), _ANSWER_SECONDS)
        return client

    def send(self, kind: str, data: Mapping[str, Any]) -> None:
        """One message of the protocol."""
        self._write(_TEXT, json.dumps({"type": kind, "data": data}).encode())

    def send_audio(self, pcm: bytes, clip: str = "speaking_0") -> None:
        """One GENERATE of at most a second of 16 kHz mono s16le; the body plays `clip` meanwhile."""
        chunk = {"format": "pcm_s16le", "sample_rate": 16000, "channels": 1, "data": base64.b64encode(pcm).decode()}
        video = {"type": clip.partition("_")[0], "base_video": clip}
        self.send("GENERATE", {"audio_chunk": chunk, "video_state": video})

    async def close(self) -> None:
        """CLOSE, then wait for the server to end the connection."""
        self._closing = True
        self.send("CLOSE", {})
        await asyncio.wait([self._ended], timeout=_ANSWER_SECONDS)
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.BufferedProtocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {self._path} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def get_buffer(self, _: int) -> memoryview:
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        now = time.monotonic()
        self.bytes_received += nbytes
        self._buffer += _RECEIVED[:nbytes]
        if not self._upgraded and not self._read_upgrade():
            return
        self._read_messages(now)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self.errors.append(f"connection lost: {exc}")
        if not self.started.done():
            self.started.set_exception(ConnectionError("the server ended the connection before INIT_SUCCESS"))
        if not self._ended.done():
            self._ended.set_result(None)

    # --- helpers ---

    def _read_upgrade(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = bytes(self._buffer[: self._buffer.index(b"\r\n")]).decode()
        del self._buffer[: end + 4]
        if " 101 " not in status:
            self._closing = True
            self.started.set_exception(ConnectionError(f"the server answers the handshake with {status}"))
            return False
        self._upgraded = True
        self.send("INIT", self._init)
        return True

    def _read_messages(self, now: float) -> None:
        buffer, place = self._buffer, 0
        while len(buffer) - place >= 2:
            opcode, length, head = buffer[place] & 0x0F, buffer[place + 1], 2
            if length >= 126:
                head = 4 if length == 126 else 10
                length = int.from_bytes(buffer[place + 2 : place + head], "big")
            end = place + head + length
            if len(buffer) < max(end, place + head):
                break
            self._take(opcode, bytes(buffer[place + head : end]), now)
            place = end
        del buffer[:place]

    def _take(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == _BINARY or (opcode == _TEXT and payload.startswith(_FRAME_START)):
            self._on_frame(payload, now)
        elif opcode == _PING:
            self._write(_PONG, payload)
        elif opcode == _CLOSE and not self._closing:
            self.errors.append("the server closed the session")
        elif opcode == _TEXT:
            self._take_answer(json.loads(payload))

    def _take_answer(self, message: dict[str, Any]) -> None:
        if message["type"] == "INIT_SUCCESS":
            self.started.set_result(message["data"])
        elif message["type"] == "ERROR":
            self.errors.append(f"{message['data']['code']}: {message['data']['message']}")

    def _write(self, opcode: int, payload: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        size = len(payload)
        if size < 126:
            head = bytes((0x80 | opcode, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
        # Masked with zeros: the mask guards proxies against pages (RFC 6455, 10.3); there is neither here.
        self._transport.write(head + bytes(4) + payload)


def timestamp_of(frame: bytes) -> int:
    """`frame_timestamp` in ms of a frame message."""
    if frame.startswith(_BINARY_START):
        return int.from_bytes(frame[8:12], "big")
    return int(_field(frame, b'"frame_timestamp":'))


def audio_timestamp_of(frame: bytes) -> int | None:
    """`audio_timestamp` in ms of a frame message."""
    if frame.startswith(_BINARY_START):
        number = int.from_bytes(frame[12:16], "big")
        return None if number == _NO_AUDIO else number
    value = _field(frame, b'"audio_timestamp":')
    return None if value == b"null" else int(value)


def access_unit_of(frame: bytes) -> bytes:
    """The H.264 access unit of a frame message."""
    if frame.startswith(_BINARY_START):
        return frame[_BINARY_HEAD:]
    start = frame.index(b'"frame_data":"', 0, _HEAD_BYTES) + 14
    return base64.b64decode(frame[start : frame.index(b'"', start)])


def _field(frame: bytes, name: bytes) -> bytes:
    start = frame.index(name, 0, _HEAD_BYTES) + len(name)
    return frame[start : frame.index(b",", start)]


async def pace(client: RawClient, chunks: list[bytes], start: float, clip: str = "speaking_0") -> list[float]:
    """Send chunks as a microphone would, one each 40 ms from `start` on; returns when each was sent (monotonic)."""
    sent = []
    for index, chunk in enumerate(chunks):
        await asyncio.sleep(max(0.0, start + index * FRAME_MS / 1000 - time.monotonic()))
        sent.append(time.monotonic())
        client.send_audio(chunk, clip)
    return sent


def cut(pcm: bytes) -> list[bytes]:
    """Chunks of 40 ms; a shorter rest is padded with silence."""
    pcm += bytes(-len(pcm) % CHUNK_BYTES)
    return [pcm[start : start + CHUNK_BYTES] for start in range(0, len(pcm), CHUNK_BYTES)]
