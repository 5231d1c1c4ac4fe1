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
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                yield decode_down(await self._reader.readexactly(length))

    def close(self) -> None:
        self._writer.close()


class SocketHostLink:
    """The host's end: a blocking socket, read in one gulp so that a batch sees all that has come."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = bytearray()

    def receive(self, *, wait: bool = True) -> Sequence[UpMessage]:
        messages: list[UpMessage] = []
        while not messages:
            if not wait and not self._pending():
                break
            self._read()
            while self._pending():
                self._read()
            messages = self._parse()
        return messages

    def send(self, messages: Sequence[DownMessage]) -> None:
        out = bytearray()
        for message in messages:
            payload = encode(message)
            out += _LENGTH.pack(len(payload)) + payload
        try:
            self._socket.sendall(out)
        except OSError as error:
            raise BusClosedError from error

    def _pending(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except OSError as error:
            raise BusClosedError from error
        if not data:
            raise BusClosedError
        self._buffer += data

    def _parse(self) -> list[UpMessage]:
        messages: list[UpMessage] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(decode_up(bytes(self._buffer[start + _LENGTH.size : end])))
            start = end
        del self._buffer[:start]
        return messages
