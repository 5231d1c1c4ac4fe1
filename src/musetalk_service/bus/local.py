"""The bus on one machine: length-prefixed MessagePack over a connected stream socket.

The front makes a socket pair and hands one end to the host it spawns, so there is no path, port or
password to protect, and the end of either process is seen by the other at once.
"""

import asyncio
import contextlib
import select
import socket
import struct
from collections.abc import AsyncIterator, Sequence

from musetalk_service.bus.messages import DownMessage, UpMessage, decode_down, decode_up, encode
from musetalk_service.errors import BusClosedError

_LENGTH = struct.Struct(">I")
_READ_BYTES = 1 << 18


class SocketFrontLink:
    """The front's end: asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, end: socket.socket) -> "SocketFrontLink":
        """Take over one end of a socket pair."""
        reader, writer = await asyncio.open_connection(sock=end, limit=_READ_BYTES)
        return cls(reader, writer)

    def send(self, message: UpMessage) -> None:
        if self._writer.is_closing():
            raise BusClosedError
        payload = encode(message)
        self._writer.write(_LENGTH.pack(len(payload)) + payload)

    async def messages(self) -> AsyncIterator[DownMessage]:
        async for payload in read_payloads(self._reader):
            yield decode_down(payload)

    def close(self) -> None:
        self._writer.close()


async def read_payloads(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What a :class:`PayloadSocket` sends, until its end."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            yield await reader.readexactly(length)


class SocketHostLink:
    """The host's end: a blocking socket, read in one gulp so that a batch sees all that has come."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = PayloadSocket(end)

    def receive(self, *, wait: bool = True, others: Sequence[int] = ()) -> Sequence[UpMessage]:
        payloads: list[bytes] = []
        while not payloads:
            readable = select.select([self._socket.fileno(), *others], [], [], None if wait else 0.0)[0]
            if self._socket.fileno() not in readable:
                break
            payloads = self._socket.receive()
        return [decode_up(payload) for payload in payloads]

    def send(self, messages: Sequence[DownMessage]) -> None:
        self._socket.send([encode(message) for message in messages])


class PayloadSocket:
    """Length-prefixed payloads over a blocking stream socket. Whatever fails on it is :class:`BusClosedError`."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = bytearray()

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def readable(self, timeout_s: float = 0.0) -> bool:
        """Whether something has come, or the end."""
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def receive(self) -> list[bytes]:
        """All payloads that have come, oldest first; waits for some bytes, but not for a whole payload."""
        self._read()
        while self.readable():
            self._read()
        payloads: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            payloads.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return payloads

    def send(self, payloads: Sequence[bytes]) -> None:
        """All of them, in order."""
        out = b"".join(_LENGTH.pack(len(payload)) + payload for payload in payloads)
        try:
            self._socket.sendall(out)
        except OSError as error:
            raise BusClosedError from error

    def close(self) -> None:
        """Twice is fine."""
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except OSError as error:
            raise BusClosedError from error
        if not data:
            raise BusClosedError
        self._buffer += data
