"""One WebSocket from handshake to close. The protocol is elsewhere; this is its adapter to the socket."""

import asyncio
import contextlib
import logging
import math
import re
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from musetalk_service.errors import (
    AtCapacityError,
    AuthenticationError,
    ForbiddenOriginError,
    InternalError,
    InvalidMessageError,
    RateLimitError,
    ServiceError,
)
from musetalk_service.handlers.message_handler import MessageHandler
from musetalk_service.handlers.websocket_protocol import live_protocol
from musetalk_service.models import messages as wire
from musetalk_service.models.messages import USER_ID_PATTERN
from musetalk_service.models.session import State
from musetalk_service.services.authentication import Authenticator, Scope, read_credentials, require
from musetalk_service.services.live_session import LiveSession
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.preparation_service import PreparationService
from musetalk_service.services.rate_limits import RateLimiter
from musetalk_service.services.session_service import SessionService
from musetalk_service.utils import logs

log = logging.getLogger(__name__)

_CLOSE_CODES = {"client_request": 1000, "server_shutdown": 1001, "timeout": 1008, "error": 1011}
"""RFC 6455, section 7.4.1."""
# What a send to a peer that is gone raises, depending on how far its departure has got.
_GONE = (WebSocketDisconnect, OSError, RuntimeError)


def check_origin(origin: str | None, host: str | None, allowed: Sequence[str]) -> None:
    """Refuse pages of other origins: CORS does not cover WebSockets (RFC 6455, section 10.2).

    Programs send no Origin and are let in; so is the page that this server itself has served.
    Raises :class:`ForbiddenOriginError`.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return
    with contextlib.suppress(ValueError):  # an Origin that is no URL is nobody's
        if host is not None and urlsplit(origin).netloc == host:
            return
    raise ForbiddenOriginError("this origin may not use the service", allowed=list(allowed))


class ConnectionHandler:
    """Serves all WebSocket connections."""

    def __init__(
        self,
        sessions: SessionService,
        messages: MessageHandler,
        metrics: Metrics,
        *,
        origins: Sequence[str],
        max_message_bytes: int,
        close_timeout_s: float,
        authenticator: Authenticator,
        limiter: RateLimiter,
        faces: PreparationService,
        require_consent: bool,
    ) -> None:
        self._sessions = sessions
        self._messages = messages
        self._metrics = metrics
        self._origins = origins
        self._max_message_bytes = max_message_bytes
        self._close_timeout_s = close_timeout_s
        self._authenticator = authenticator
        self._limiter = limiter
        self._faces = faces
        self._require_consent = require_consent

    async def serve(self, socket: WebSocket, user_id: str) -> None:
        """The whole life of a connection; returns when it is over and everything is given back."""
        logs.bind(request_id=secrets.token_hex(6), trace_id=logs.trace_id(socket.headers.get("traceparent")))
        try:
            live = await self._admit(socket, user_id)
        except ServiceError as error:
            await _refuse(socket, error)
            return
        tasks: list[asyncio.Task[None]] = []
        try:
            credentials = read_credentials(socket.headers.get("authorization"), socket.scope.get("subprotocols") or [])
            if credentials.token is not None:
                await self._authenticate(live, credentials.token)
            await socket.accept(credentials.subprotocol)
            tasks = [
                asyncio.create_task(self._write(socket, live), name="writer"),
                asyncio.create_task(self._read(socket, live), name="reader"),
                asyncio.create_task(_wait(live.ended), name="ended"),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            live.outbox.close()
            # The goodbye is written within a deadline, whatever the client does.
            await asyncio.wait(tasks[:1], timeout=self._close_timeout_s)
            if live.connection_lost:
                self._sessions.detach(live)
        finally:
            for task in tasks:
                task.cancel()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:  # also when this very wait is cancelled
                if live.detached_at is None:
                    self._sessions.release(live)
            log.info("connection closed", extra={"session_id": live.protocol.session_id})

    async def _admit(self, socket: WebSocket, user_id: str) -> LiveSession:
        if not re.fullmatch(USER_ID_PATTERN, user_id):
            self._metrics.rejected.labels("user_id").inc()
            raise InvalidMessageError(
                "user_id must be 1 to 64 letters, digits, hyphens or underscores", allowed=USER_ID_PATTERN
            )
        address = socket.client.host if socket.client is not None else None
        now = self._sessions.clock.now()
        try:
            self._limiter.check_handshake(address, now)
            check_origin(socket.headers.get("origin"), socket.headers.get("host"), self._origins)
        except (ForbiddenOriginError, RateLimitError) as error:
            self._metrics.rejected.labels("origin" if isinstance(error, ForbiddenOriginError) else "rate").inc()
            raise
        live = self._sessions.admit(user_id, await self._sessions.find_avatar(user_id))
        live.address = address
        try:
            live.on_release = self._limiter.open_session(user_id, address)
        except RateLimitError:
            self._metrics.rejected.labels("rate").inc()
            self._sessions.release(live)
            raise
        return live

    async def _authenticate(self, live: LiveSession, token: str | None) -> None:
        """Note who the client is; a bad token ends the connection with ERROR and close code 4401."""
        if not self._authenticator.enabled:
            return
        try:
            principal = await self._authenticator.check(token)
            require(principal, live.protocol.user_id, "view")
            live.principal = principal
        except ServiceError as error:
            self._answer_error(live, error)
            live.refuse(AuthenticationError.close_code)

    async def _write(self, socket: WebSocket, live: LiveSession) -> None:
        protocol = live_protocol(socket)
        if protocol is not None:
            live.outbox.send_now = protocol.send_now
        with contextlib.suppress(*_GONE):
            while (message := await live.outbox.next()) is not None:
                if isinstance(message, str):
                    await socket.send_text(message)
                else:
                    await socket.send_bytes(message)
                if protocol is not None:
                    await protocol.writable.wait()
            await socket.close(live.close_code or _CLOSE_CODES.get(live.close_reason or "error", 1011))

    async def _read(self, socket: WebSocket, live: LiveSession) -> None:
        with contextlib.suppress(*_GONE):
            while live.protocol.state is not State.CLOSED:
                event = await socket.receive()
                if event["type"] == "websocket.disconnect":
                    # A closing handshake brings a reason, be it empty; without one the connection broke.
                    live.connection_lost = "reason" not in event
                    live.outbox.abandon()
                    return
                text = event.get("text")
                if (
                    self._authenticator.enabled
                    and live.principal is None
                    and (token := _token_of_init(text)) is not None
                ):
                    await self._authenticate(live, token or None)
                message = self._check(live, text)
                if isinstance(message, wire.Init) and message.data.face_image is not None:
                    await self._show_face(live, message)
                elif message is not None:
                    self._apply(live, message)

    def receive(self, live: LiveSession, text: str | None) -> None:
        """One incoming message (None: it was binary) that needs no waiting. Errors become answers."""
        message = self._check(live, text)
        if message is not None:
            self._apply(live, message)

    def _check(self, live: LiveSession, text: str | None) -> wire.ClientMessage | None:
        """The typed message, where it may be applied; else its sender is told why not."""
        live.touch()
        if live.ended.is_set():  # its goodbye is on the way
            return None
        try:
            if text is None:
                raise InvalidMessageError("messages are JSON text, not binary", allowed=["text"])
            size = len(text) if text.isascii() else len(text.encode())
            if size > self._max_message_bytes:
                raise InvalidMessageError(
                    f"the message has {size} bytes; at most {self._max_message_bytes} are allowed",
                    max_bytes=self._max_message_bytes,
                )
            # Without authentication a user id is a word that anybody can say: then a session is the user.
            user = live.protocol.user_id if self._authenticator.enabled else live.protocol.session_id
            self._limiter.check_message(user, live.address, size, self._sessions.clock.now())
            message = wire.parse_client_message(text)
            if self._authenticator.enabled:
                scope: Scope = "view" if isinstance(message, wire.Init | wire.Close) else "drive"
                if live.principal is not None:
                    require(live.principal, live.protocol.user_id, scope)
                elif isinstance(message, wire.Init):  # the reader has asked for its token before
                    raise AuthenticationError("this service wants a token", reason="missing")
            self._metrics.messages.labels(message.type).inc()
            return message
        except ServiceError as error:
            self._answer_error(live, error)
            return None

    async def _show_face(self, live: LiveSession, message: wire.Init) -> None:
        """INIT with a face of its own: the session begins when that is ready; what comes meanwhile waits."""
        try:
            if live.protocol.state is State.OPENING and message.data.resume_token is None:
                if self._require_consent:
                    raise InvalidMessageError(
                        "face_image is refused here: upload the picture and say who agreed", field="data.face_image"
                    )
                await self._sessions.show_face(live, self._faces.make_face(message.data.face() or b""))
        except ServiceError as error:
            self._answer_error(live, error)
        except Exception:
            log.exception("face failed", extra={"session_id": live.protocol.session_id})
            self._answer_error(live, InternalError("internal error"))
        else:
            if not live.ended.is_set():
                self._apply(live, message)

    def _apply(self, live: LiveSession, message: wire.ClientMessage) -> None:
        try:
            self._messages.handle(live, message)
        except ServiceError as error:
            self._answer_error(live, error)
        except Exception:
            log.exception("message failed", extra={"session_id": live.protocol.session_id})
            self._answer_error(live, InternalError("internal error; the stream goes on"))

    @staticmethod
    def _answer_error(live: LiveSession, error: ServiceError) -> None:
        data = wire.ErrorData.model_validate(
            {"code": error.wire_code, "message": error.message, "details": dict(error.details) or None}
        )
        live.answer(wire.Error(session_id=live.protocol.session_id, data=data))


def _token_of_init(text: str | None) -> str | None:
    """The token of an INIT, "" where it brings none; None for any other message."""
    try:
        message = wire.parse_client_message(text or "")
    except InvalidMessageError:
        return None
    return message.data.auth_token or "" if isinstance(message, wire.Init) else None


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _refuse(socket: WebSocket, error: ServiceError) -> None:
    """Answer the handshake with an HTTP status instead of a socket."""
    headers = {}
    if isinstance(error, AtCapacityError | RateLimitError):
        retry_ms = error.details.get("retry_after_ms")
        headers["Retry-After"] = str(math.ceil(retry_ms / 1000) if isinstance(retry_ms, int) else 1)
    body = {"code": error.wire_code, "message": error.message, "details": dict(error.details)}
    with contextlib.suppress(*_GONE):
        await socket.send_denial_response(JSONResponse(body, error.http_status, headers))
