"""How the client library reaches a server: the handshake, INIT, and the answer to it."""

import asyncio
import contextlib
import json
import ssl as tls
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response

from musetalk_service.client_messages import CloseAck, ServerError, SessionStarted, read_server_message

TRY_AGAIN_LATER = 1013  # WebSocket close code, IANA registry of RFC 6455 section 7.4
_BUSY = (429, 503)


@dataclass(frozen=True)
class Target:
    """Which server, as whom, and how to reach it."""

    server: str
    """"ws://host:port" or "wss://host"; http and https are read as ws and wss."""
    user_id: str
    auth_token: str | None = field(default=None, repr=False)
    ssl: tls.SSLContext | None = None
    """None: whatever the address says, with the system's certificates."""
    timeout: float = 15.0
    """Seconds for the handshake, and as many for INIT_SUCCESS."""
    close_timeout: float = 5.0

    @property
    def url(self) -> str:
        """Of the user's WebSocket."""
        server = "ws" + self.server.removeprefix("http") if self.server.startswith("http") else self.server
        return f"{server.rstrip('/')}/musetalk/v1/ws/{quote(self.user_id, safe='')}"

    @property
    def headers(self) -> dict[str, str]:
        """Of the handshake. Raises ValueError for a token that cannot stand in a header."""
        if self.auth_token is None:
            return {}
        if not self.auth_token.isascii() or not self.auth_token.isprintable() or " " in self.auth_token:
            raise ValueError("auth_token must be visible ASCII characters without spaces")
        return {"Authorization": f"Bearer {self.auth_token}"}

    def init_data(self) -> dict[str, Any]:
        """INIT data that is the same for a new session and for a resumed one."""
        return {"user_id": self.user_id} | ({} if self.auth_token is None else {"auth_token": self.auth_token})


async def open_session(
    target: Target, data: Mapping[str, Any], session_id: str | None = None
) -> tuple[ClientConnection, SessionStarted]:
    """Connects and sends INIT with `data`; the caller closes the connection.

    Raises ServerError when the server refuses (`retry_after_ms` says for how long where it is full), TimeoutError,
    OSError, ValueError, or websockets.exceptions.WebSocketException.
    """
    secure: dict[str, Any] = {} if target.ssl is None else {"ssl": target.ssl}
    try:
        connection = await websocket_connect(
            target.url,
            compression=None,
            additional_headers=target.headers,
            open_timeout=target.timeout,
            close_timeout=target.close_timeout,
            **secure,
        )
    except InvalidStatus as refusal:
        error = _refusal(refusal.response)
        if error is None:
            raise
        raise error from None
    try:
        with contextlib.suppress(ConnectionClosed):  # refused already: what was said before is still to be read
            await connection.send(envelope("INIT", session_id or str(uuid.uuid4()), data))
        return connection, await asyncio.wait_for(_wait_for_start(connection), target.timeout)
    except BaseException:
        await connection.close()
        raise


def envelope(kind: str, session_id: str, data: Mapping[str, Any]) -> str:
    """One message as JSON text."""
    return json.dumps({"type": kind, "session_id": session_id, "data": data}, separators=(",", ":"))


async def _wait_for_start(connection: ClientConnection) -> SessionStarted:
    while True:
        try:
            message = read_server_message(await connection.recv(), time.monotonic())
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == TRY_AGAIN_LATER:
                raise _at_capacity(None) from None
            raise
        if isinstance(message, SessionStarted):
            return message
        if isinstance(message, ServerError):
            raise message
        if isinstance(message, CloseAck):
            raise ServerError("INVALID_SESSION", f"the server closed the session: {message.reason}", {})


def _refusal(response: Response) -> ServerError | None:
    """A handshake's refusal as the server words it; None for one that is not the service's."""
    try:
        body = json.loads(response.body or b"")
        return ServerError(body["code"], body["message"], body.get("details") or {})
    except (ValueError, KeyError, TypeError, AttributeError):
        # A proxy in between has words of its own.
        busy = response.status_code in _BUSY
        return _at_capacity(response.headers.get("Retry-After")) if busy else None


def _at_capacity(retry_after_s: str | None) -> ServerError:
    # Retry-After may also be a date (RFC 9110 section 10.2.3); the service sends seconds.
    known = retry_after_s is not None and retry_after_s.isdigit()
    details = {"retry_after_ms": int(retry_after_s or 0) * 1000} if known else {}
    return ServerError("RATE_LIMIT_EXCEEDED", "the server is at capacity", details)
