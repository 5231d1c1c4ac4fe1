"""The WebSocket transport, tuned for a live stream: what waits, waits where it can still be dropped.

Left alone, the kernel takes megabytes from a client that does not read, and seconds of old frames
with them. Here little is buffered below the outbox, which then knows how far behind a client is.
"""

import asyncio
import contextlib
import socket

from starlette.websockets import WebSocket
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

_UNSENT_BYTES = 16_384
"""Bytes the kernel keeps unsent, and as many in the transport: about four frames."""
_ABORT_AFTER_S = 3.0
"""A closed transport waits for its unsent bytes; behind a peer that takes none, it would for ever."""
_STATE_KEY = "live_websocket"


class LiveWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, with small buffers and a way for the application to wait for room."""

    _abort_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):  # not a TCP socket
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)

    def handle_connect(self, event: Request) -> None:
        # The scope is made from app_state, one connection a protocol object.
        self.app_state = {**self.app_state, _STATE_KEY: self}
        super().handle_connect(event)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()  # nobody has answered a ping: nobody will take what is unsent

    def eof_received(self) -> None:
        self._abort_later()  # half closed: what is queued may still go out, but not for long

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._abort_later()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)

    def _abort_later(self) -> None:
        if self._abort_timer is None and not self.disconnected:
            self._abort_timer = self.loop.call_later(_ABORT_AFTER_S, self.transport.abort)

    def send_now(self, message: str | bytes) -> bool:
        """Write a message without waiting; False, and nothing written, where there is no room or no peer."""
        open_ = self.handshake_complete and not self.close_sent and not self.disconnected
        if not open_ or not self.writable.is_set() or self.transport.is_closing():
            return False
        if isinstance(message, str):
            self.conn.send_text(message.encode())
        else:
            self.conn.send_binary(message)
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:  # RFC 6455, section 8.1; uvicorn would log a stack trace
                self.frames = []
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # refused, but answered: uvicorn 0.54 logs an error without it


def live_protocol(websocket: WebSocket) -> LiveWebSocketProtocol | None:
    """The transport of a connection; None where another server or a test serves it."""
    protocol = (websocket.scope.get("state") or {}).get(_STATE_KEY)
    return protocol if isinstance(protocol, LiveWebSocketProtocol) else None
