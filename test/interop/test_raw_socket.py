"""A WebSocket client of the test's own, byte by byte from RFC 6455: nothing shared with the server."""

import base64
import hashlib
import json
import os
import socket
import struct
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.server_process import ServerProcess

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class RawClient:
    """Blocking, one frame a message (section 5.2)."""

    def __init__(self, server: str, user_id: str) -> None:
        address = urllib.parse.urlsplit(server)
        assert address.hostname is not None and address.port is not None
        self._socket = socket.create_connection((address.hostname, address.port), timeout=10)
        self._file = self._socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            (
                f"GET /musetalk/v1/ws/{user_id} HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            ).encode()
        )
        self.status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        assert self.status != 101 or headers["sec-websocket-accept"] == accept

    def send(self, opcode: int, payload: bytes) -> None:
        mask = os.urandom(4)
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
        self._socket.sendall(bytes([0x80 | opcode]) + length + mask + masked)

    def send_message(self, kind: str, session_id: str, data: dict[str, Any]) -> None:
        self.send(_TEXT, json.dumps({"type": kind, "session_id": session_id, "data": data}).encode())

    def receive(self) -> tuple[int, bytes]:
        first, second = self._file.read(2)
        assert first & 0x80 and not second & 0x80  # whole, and servers do not mask
        size = second
        if size >= 126:
            size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
        return first & 15, self._file.read(size)

    def messages(self) -> Iterator[dict[str, Any]]:
        while True:
            opcode, payload = self.receive()
            if opcode == _CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big")
                return
            if opcode == _TEXT:
                yield json.loads(payload)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture
def client(live_server: str) -> Iterator[RawClient]:
    client = RawClient(live_server, "raw")
    assert client.status == 101
    yield client
    client.close()


def test_whole_session(client: RawClient) -> None:
    client.send_message("INIT", "", {})
    messages = client.messages()
    started = next(messages)
    assert started["type"] == "INIT_SUCCESS"
    frames = [next(messages) for _ in range(10)]
    assert [frame["data"]["frame_timestamp"] for frame in frames] == [40 * n for n in range(10)]
    assert base64.b64decode(frames[0]["data"]["frame_data"]).startswith(b"\0\0\0\1\x67")
    client.send_message("CLOSE", started["session_id"], {})
    assert [message["type"] for message in messages][-1] == "CLOSE_ACK"
    assert client.close_code == 1000


def test_ping_is_answered(client: RawClient) -> None:
    client.send(_PING, b"are you there")
    assert client.receive() == (_PONG, b"are you there")


def test_broken_utf8_ends_the_connection_without_a_stack_trace(tmp_path: Path, cache_dir: Path) -> None:
    server = ServerProcess(tmp_path, cache_dir)
    try:
        client = RawClient(server.url, "raw")
        client.send(_TEXT, b"\xff\xfe")
        opcode, payload = client.receive()
        client.close()
    finally:
        server.stop()
    assert opcode == _CLOSE and int.from_bytes(payload[:2], "big") == 1007
