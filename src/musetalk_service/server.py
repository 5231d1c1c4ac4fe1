"""Composition root of the front: builds the object graph, the routes, and the server around them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from musetalk_service import __version__
from musetalk_service.config import Settings
from musetalk_service.engine_choice import choose_engine
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.errors import ServiceError
from musetalk_service.handlers import openapi
from musetalk_service.handlers.avatars_handler import AvatarsHandler
from musetalk_service.handlers.connection_handler import ConnectionHandler
from musetalk_service.handlers.http_handler import HttpHandler, answer_service_error
from musetalk_service.handlers.message_handler import MessageHandler
from musetalk_service.handlers.uploads import Uploads
from musetalk_service.handlers.websocket_protocol import LiveWebSocketProtocol
from musetalk_service.models.media import make_renditions
from musetalk_service.models.preparation import PREPARE_COMMAND
from musetalk_service.services.authentication import Authenticator
from musetalk_service.services.avatar_service import AvatarService
from musetalk_service.services.frame_clock import FrameClock
from musetalk_service.services.host_pool import HostPool
from musetalk_service.services.live_session import SessionSettings
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.official_avatars import OfficialAvatars
from musetalk_service.services.painter_process import PainterProcess
from musetalk_service.services.preparation_service import PreparationService, PreparationSettings
from musetalk_service.services.rate_limits import RateLimiter, RateLimits
from musetalk_service.services.session_service import SessionService
from musetalk_service.utils.certificates import check_key_pair
from musetalk_service.utils.clock import Clock, MonotonicClock

log = logging.getLogger(__name__)

_DESCRIPTION = (
    "Send speech over a WebSocket, get back a continuous stream of a face that speaks it: "
    "H.264 at 25 frames a second, 512x512 unless another size is asked for. All faces shown are synthetic."
)
_EXPIRY_PERIOD_S = 1.0


class Front:
    """The front's object graph, and its life."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        hosts: HostPool | None = None,
        prepare_command: Sequence[str] = PREPARE_COMMAND,
    ) -> None:
        self.settings = settings = choose_engine(settings)
        self.clock = clock or MonotonicClock()
        self.metrics = Metrics()
        self.hosts = hosts or _host_pool(settings, self.clock, self.metrics)
        renditions = make_renditions(settings.video_crf, settings.video_max_kbps, settings.frame_sizes)
        self.avatars = AvatarService(
            settings.cache_dir,
            renditions,
            AvatarLibrary(settings.avatars_dir),
            default_enabled=settings.default_avatar_enabled,
            memory_bytes=settings.avatar_memory_mb << 20,
        )
        self.frame_clock = FrameClock(self.clock, self.metrics)
        self.preparations = PreparationService(self.avatars, _preparation_settings(settings), prepare_command)
        self.official = OfficialAvatars(
            self.avatars.library,
            self.preparations,
            require_consent=settings.require_consent,
            retry_after_s=settings.retry_after_s,
        )
        self.sessions = SessionService(
            _session_settings(settings),
            avatars=self.avatars,
            official=self.official,
            hosts=self.hosts,
            frame_clock=self.frame_clock,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.authenticator = _authenticator(settings)
        self.messages = MessageHandler(self.sessions)
        self.connections = ConnectionHandler(
            self.sessions,
            self.messages,
            self.metrics,
            origins=settings.cors_origins,
            max_message_bytes=settings.max_message_bytes,
            close_timeout_s=settings.shutdown_timeout_s,
            authenticator=self.authenticator,
            limiter=RateLimiter(_rate_limits(settings)),
            faces=self.preparations,
            require_consent=settings.require_consent,
        )
        self._janitor: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Hosts, idle packets, clock; sessions are admitted when this returns."""
        _explain_environment(self.settings)
        await self.hosts.start()
        await self.avatars.prepare(self.hosts, self.settings.preload_avatars)
        await self.hosts.first()
        self.frame_clock.start()
        self.official.start()
        self._janitor = asyncio.create_task(self._expire(), name="janitor")

    async def close(self) -> None:
        """Everything that :meth:`start` began. Twice is fine."""
        self.sessions.drain()
        if self._janitor is not None:
            self._janitor.cancel()
        await self.official.close()
        await self.preparations.close()
        await self.avatars.close()
        await self.frame_clock.close()
        await self.hosts.close()

    async def _expire(self) -> None:
        while True:
            now = self.clock.now()
            self.sessions.look_after(now)
            self.hosts.check(now)
            await self.clock.sleep_until(now + _EXPIRY_PERIOD_S)


def create_app(settings: Settings, front: Front | None = None) -> FastAPI:
    """The ASGI application. ``front`` is given by tests that bring their own clock and hosts."""
    front = front or Front(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await front.start()
            yield
        finally:
            await front.close()

    app = FastAPIOffline(
        title="MuseTalk WebSocket Service",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        favicon_url="/static/favicon.svg",
    )
    app.state.front = front
    app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"])
    app.add_exception_handler(ServiceError, answer_service_error)
    http = HttpHandler(
        front.sessions,
        front.avatars,
        front.hosts,
        front.metrics,
        front.authenticator,
        front.settings.engine,
        time.monotonic(),
    )
    app.include_router(http.router())
    app.include_router(_avatars_handler(settings, front).router())

    @app.get(
        "/openapi.yaml",
        response_class=PlainTextResponse,
        responses={200: {"content": {"application/yaml": {}}, "description": "OpenAPI 3.1"}},
        summary="This description",
    )
    async def openapi_yaml() -> PlainTextResponse:
        return PlainTextResponse(openapi.to_yaml(app.openapi()), media_type="application/yaml")

    @app.websocket("/musetalk/v1/ws/{user_id}")
    async def websocket(socket: WebSocket, user_id: str) -> None:
        await front.connections.serve(socket, user_id)

    with resources.as_file(resources.files("musetalk_service") / "web") as web:
        app.mount("/static", _WebFiles(directory=web), name="static")

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi.describe(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


class _WebFiles(StaticFiles):
    """The page's modules belong together: a browser asks each time whether its copies are current."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


class _Server(uvicorn.Server):
    """Sessions hear of a shutdown before uvicorn closes their sockets."""

    def __init__(self, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self._front = front

    def handle_exit(self, sig: int, frame: Any) -> None:
        if not self.started:  # still waiting for a first host: nothing to say goodbye to
            raise SystemExit(128 + sig)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host = self.config.host if self.config.host not in ("0.0.0.0", "::") else "localhost"
            port = self.servers[0].sockets[0].getsockname()[1]
            scheme = "https" if self.config.is_ssl else "http"
            print(f"MuseTalk service {__version__} is ready: {scheme}://{host}:{port}/", flush=True)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        self._front.sessions.drain()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._front.sessions.emptied(), self._front.settings.shutdown_timeout_s)
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Run until a signal ends it.

    Raises ``SystemExit`` when the port cannot be had, :class:`ConfigurationError` for a useless certificate.
    """
    if settings.tls_certfile is not None and settings.tls_keyfile is not None:
        check_key_pair(settings.tls_certfile, settings.tls_keyfile)
    front = Front(settings)
    config = uvicorn.Config(
        create_app(settings, front),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_certfile,
        ssl_keyfile=settings.tls_keyfile,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        ws=LiveWebSocketProtocol,
        ws_per_message_deflate=False,  # H.264 does not compress further; deflate costs ten times the send
        ws_max_size=4 * settings.max_message_bytes,  # a typed error up to here, close code 1009 beyond
        ws_ping_interval=settings.ping_interval_s,
        ws_ping_timeout=settings.ping_timeout_s,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_s)),
        log_config=None,
        access_log=False,
    )
    _Server(config, front).run()


def _host_pool(settings: Settings, clock: Clock, metrics: Metrics) -> HostPool:
    text = settings.for_hosts()
    gpus: list[int | None] = [*range(settings.musetalk_gpus)] if settings.musetalk_gpus > 1 else [None]
    painters = [PainterProcess(text, clock, metrics, gpu) for gpu in gpus] if settings.engine == "musetalk" else []
    return HostPool(settings.host_count, text, clock, metrics, painters)


def _session_settings(settings: Settings) -> SessionSettings:
    return SessionSettings(
        engine=settings.engine,
        musetalk_sessions=settings.musetalk_sessions,
        refuse_overflow=settings.musetalk_overflow == "refuse",
        max_sessions=settings.max_sessions,
        retry_after_s=settings.retry_after_s,
        audio_backlog_s=settings.audio_backlog_s,
        audio_chunk_max_ms=settings.audio_chunk_max_ms,
        audio_jitter_ms=settings.audio_jitter_ms,
        speech_end_ms=settings.speech_end_ms,
        silence_hold_ms=settings.silence_hold_ms,
        outbox_max_frames=settings.outbox_max_frames,
        late_limit_s=settings.host_late_limit_ms / 1000,
        init_timeout_s=settings.init_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        resume_grace_s=settings.resume_grace_s,
    )


def _preparation_settings(settings: Settings) -> PreparationSettings:
    return PreparationSettings(
        settings.preparation_limits(),
        timeout_s=settings.preparation_timeout_s,
        jobs=settings.preparation_jobs,
        queue=settings.preparation_queue,
        retry_after_s=settings.retry_after_s,
        models=settings.preparation_models(),
    )


def _avatars_handler(settings: Settings, front: Front) -> AvatarsHandler:
    return AvatarsHandler(
        front.avatars,
        front.preparations,
        front.official,
        front.sessions,
        front.hosts,
        front.authenticator,
        Uploads(settings.cache_dir / "uploads", settings.upload_max_mb << 20),
        require_consent=settings.require_consent,
        source_dir=settings.upload_source_dir,
    )


def _authenticator(settings: Settings) -> Authenticator:
    secret = settings.auth_secret
    return Authenticator(
        secret=None if secret is None else secret.get_secret_value(),
        jwks=settings.auth_jwks,
        audience=settings.auth_audience,
        leeway_s=settings.auth_leeway_s,
        jwks_max_age_s=settings.auth_jwks_max_age_s,
    )


def _rate_limits(settings: Settings) -> RateLimits:
    return RateLimits(
        user_messages_per_s=settings.rate_user_messages_per_s,
        user_bytes_per_s=settings.rate_user_bytes_per_s,
        user_sessions=settings.rate_user_sessions,
        address_messages_per_s=settings.rate_address_messages_per_s,
        address_bytes_per_s=settings.rate_address_bytes_per_s,
        address_sessions=settings.rate_address_sessions,
        address_handshakes_per_min=settings.rate_address_handshakes_per_min,
        audio_backlog_s=settings.audio_backlog_s,
        max_message_bytes=settings.max_message_bytes,
    )


def _explain_environment(settings: Settings) -> None:
    """Say once what is not there and what that means, instead of failing over it."""
    if settings.auth_secret is None and settings.auth_jwks is None:
        log.info("authentication is off: whoever reaches this port may use it (AUTH_SECRET or AUTH_JWKS)")
    if not settings.model_path.is_dir():
        log.info(
            "MODEL_PATH is not there; the built-in engine needs no models",
            extra={"path": str(settings.model_path)},
        )
    if not settings.avatars_dir.is_dir():
        log.info(
            "AVATARS_DIR is not there; every user is answered by the default avatar",
            extra={"path": str(settings.avatars_dir)},
        )
