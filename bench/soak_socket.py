"""A WebSocket (RFC 6455) with its rough edges in reach: half frames, resets, raw bytes.

Nothing of it is shared with the server.
"""

import asyncio
import base64
import json
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
ANSWER_SECONDS = 30.0
CODES = frozenset(
    (
        "INVALID_MESSAGE",
        "INVALID_SESSION",
        "MODEL_NOT_FOUND",
        "PROCESSING_ERROR",
        "RATE_LIMIT_EXCEEDED",
        "INTERNAL_ERROR",
    )
)
"""All there are."""
_HEADER = struct.Struct(">2sBBIIIHBBI")
_NO_AUDIO = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """What a frame message says, in either form."""

    session_id: str | None
    sequence_number: int
    timestamp_ms: int
    audio_ms: int | None
    is_key: bool
    access_unit: bytes


def handshake(user_id: str) -> bytes:
    """The client's part."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /musetalk/v1/ws/{user_id} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def frame(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """One frame; the mask is zero, since there is no proxy here to be guarded (10.3)."""
    size = len(payload)
    first, mask = opcode | (0x80 if fin else 0), 0x80 if masked else 0
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 1 << 16:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def message(kind: str, session_id: str | None, data: dict[str, Any]) -> bytes:
    """A client message."""
    body = {"type": kind, "data": data} | ({} if session_id is None else {"session_id": session_id})
    return json.dumps(body).encode()


def speech(session_id: str | None, pcm: bytes) -> bytes:
    """A GENERATE of 16 kHz mono s16le."""
    chunk = {"format": "pcm_s16le", "sample_rate": 16000, "channels": 1, "data": base64.b64encode(pcm).decode()}
    return message("GENERATE", session_id, {"audio_chunk": chunk})


class Parser:
    """Bytes to the handshake's status line, then to (opcode, payload)."""

    def __init__(self, *, upgraded: bool = False) -> None:
        self._buffer = bytearray()
        self.status: int | None = 101 if upgraded else None

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Servers neither mask nor, here, fragment."""
        self._buffer += data
        buffer, place = self._buffer, 0
        if self.status is None:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self.status = int(buffer[9:12])
            place = end + 4
        while self.status == 101 and len(buffer) - place >= 2:
            opcode, length, head = buffer[place] & 15, buffer[place + 1], 2
            if length >= 126:
                head = 4 if length == 126 else 10
                length = int.from_bytes(buffer[place + 2 : place + head], "big")
            end = place + head + length
            if len(buffer) < max(end, place + head):
                break
            yield opcode, bytes(buffer[place + head : end])
            place = end
        del buffer[:place]


def read_binary_frame(payload: bytes) -> VideoFrame:
    """A frame in the binary form; raises ``ValueError`` when it is none."""
    magic, version, flags, sequence, timestamp, audio, _, _, _, size = _HEADER.unpack_from(payload)
    unit = payload[_HEADER.size :]
    if magic != b"MF" or version != 1 or len(unit) != size:
        raise ValueError("not a frame message")
    return VideoFrame(None, sequence, timestamp, None if audio == _NO_AUDIO else audio, bool(flags & 1), unit)


def read_json_frame(body: dict[str, Any]) -> VideoFrame:
    """A VIDEO_FRAME or ACTION_FRAME."""
    data = body["data"]
    return VideoFrame(
        body["session_id"],
        data["sequence_number"],
        data["frame_timestamp"],
        data["audio_timestamp"],
        data["is_keyframe"],
        base64.b64decode(data["frame_data"]),
    )


class Peer(asyncio.Protocol):
    """One client. Keeps its frames when ``keep``; what is not right is noted in :attr:`faults`."""

    def __init__(self, user_id: str, *, keep: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._user_id = user_id
        self._keep = keep
        self._parser = Parser()
        self._room = asyncio.Event()
        self._room.set()
        self._marks: dict[str, asyncio.Future[None]] = {}
        self._mark = 0
        self.transport: asyncio.Transport
        self.upgraded: asyncio.Future[int] = loop.create_future()
        """The handshake's HTTP status."""
        self.started: asyncio.Future[dict[str, Any]] = loop.create_future()
        """INIT_SUCCESS's data."""
        self.ended: asyncio.Future[int | None] = loop.create_future()
        """The close code; None where the connection just went."""
        self.session_id: str | None = None
        self.frames: list[VideoFrame] = []
        self.frames_seen = 0
        self.holes = 0
        self._last: VideoFrame | None = None
        self.codes: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        self.internal: list[str] = []
        self.faults: list[str] = []
        self._close_code: int | None = None

    @classmethod
    async def connect(cls, port: int, user_id: str, *, keep: bool = False) -> "Peer":
        """An open WebSocket, before INIT. Raises ``ConnectionError`` where it is refused."""
        loop = asyncio.get_running_loop()
        _, peer = await loop.create_connection(lambda: cls(user_id, keep=keep), "127.0.0.1", port)
        peer.transport.write(handshake(user_id))
        status = await asyncio.wait_for(asyncio.shield(peer.upgraded), ANSWER_SECONDS)
        if status != 101:
            peer.transport.abort()
            raise ConnectionError(f"the handshake is answered with {status}")
        return peer

    async def init(self, data: dict[str, Any] | None = None) -> None:
        """INIT and its answer."""
        self.send(message("INIT", None, data or {}))
        await asyncio.wait_for(asyncio.shield(self.started), ANSWER_SECONDS)

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        self.transport.write(frame(opcode, payload))

    async def drain(self) -> None:
        """Wait for room in the transport: the server takes what it has time for."""
        await self._room.wait()

    async def barrier(self) -> None:
        """Returns when all that was sent before has been handled: an unknown type's name is echoed."""
        self._mark += 1
        name = f"MARK_{self._mark}_"
        future = self._marks[name] = asyncio.get_running_loop().create_future()
        self.send(message(name, None, {}))
        await asyncio.wait_for(future, ANSWER_SECONDS)

    async def close(self) -> None:
        """CLOSE, CLOSE_ACK, the closing handshake, the end."""
        self.send(message("CLOSE", None, {}))
        code = await asyncio.wait_for(asyncio.shield(self.ended), ANSWER_SECONDS)
        if code != 1000 or self.types["CLOSE_ACK"] != 1:
            self.faults.append(f"CLOSE was answered with code {code} and {self.types['CLOSE_ACK']} CLOSE_ACKs")

    def reset(self) -> None:
        """End with a TCP reset."""
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        for opcode, payload in self._parser.feed(data):
            self._take(opcode, payload)
        if self._parser.status is not None and not self.upgraded.done():
            self.upgraded.set_result(self._parser.status)

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.set()
        if not self.ended.done():
            self.ended.set_result(self._close_code)
        gone = ConnectionError(f"the connection ended: close code {self._close_code}, {exc}")
        for future in (self.upgraded, self.started, *self._marks.values()):
            if not future.done():
                future.set_exception(gone)
                future.exception()  # whoever waits for it hears of it; nobody has to

    # --- helpers ---

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.send(payload, PONG)
        elif opcode == CLOSE:
            self._close_code = int.from_bytes(payload[:2], "big") if payload else None
            self.transport.write(frame(CLOSE, payload[:2]))
        elif opcode == BINARY:
            self._take_frame(read_binary_frame(payload))
        elif opcode == TEXT:
            self._take_text(json.loads(payload))

    def _take_text(self, body: dict[str, Any]) -> None:
        kind = body["type"]
        self.types[kind] += 1
        if kind in ("VIDEO_FRAME", "ACTION_FRAME"):
            self._take_frame(read_json_frame(body))
            return
        if kind == "INIT_SUCCESS":
            if self.started.done():
                self.faults.append("a second INIT_SUCCESS")
                return
            self.session_id = body["session_id"]
            self.started.set_result(body["data"])
        elif kind == "ERROR":
            self._take_error(body["data"])
        if self.session_id is not None and body["session_id"] != self.session_id:
            self.faults.append(f"{kind} of another session")

    def _take_error(self, data: dict[str, Any]) -> None:
        mark = next((name for name in self._marks if name in data["message"] + str(data.get("details"))), None)
        if mark is not None:
            self._marks.pop(mark).set_result(None)
            return
        self.codes[data["code"]] += 1
        if data["code"] not in CODES:
            self.faults.append(f"an unknown code: {data['code']}")
        if data["code"] == "INTERNAL_ERROR":
            self.internal.append(data["message"])

    def _take_frame(self, got: VideoFrame) -> None:
        self.frames_seen += 1
        if got.session_id is not None and got.session_id != self.session_id:
            self.faults.append("a frame of another session")
        if self._last is not None:
            self.holes += (got.timestamp_ms - self._last.timestamp_ms) // 40 - 1
            if got.sequence_number != self._last.sequence_number + 1:
                self.faults.append(f"sequence_number {self._last.sequence_number} is followed by {got.sequence_number}")
        self._last = got
        if self._keep:
            self.frames.append(got)
