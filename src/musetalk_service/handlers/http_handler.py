"""The REST routes: the page, health, sessions, metrics, and the description of all this."""

import asyncio
import math
import time
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from musetalk_service import __version__
from musetalk_service.errors import ServiceError
from musetalk_service.models.messages import USER_ID_PATTERN, StateName
from musetalk_service.services.authentication import Authenticator, Scope, read_credentials, require
from musetalk_service.services.avatar_service import AvatarService
from musetalk_service.services.host_pool import HostPool
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.session_service import SessionService

UserId = Annotated[str, Path(pattern=USER_ID_PATTERN, description="1 to 64 letters, digits, hyphens, underscores.")]


Status = Literal["ok", "degraded", "starting", "draining"]
_NOT_READY = ("starting", "draining")
Authorization = Annotated[str | None, Header(description="Bearer and a JSON Web Token, where authentication is on.")]


class EngineHealth(BaseModel):
    """One engine as the hosts declare it."""

    name: str
    version: str
    device: str
    look_ahead_samples: int


class Health(BaseModel):
    """``ok``: takes sessions. ``degraded``: takes them, but no engine host is up. ``starting``, ``draining``: not."""

    status: Status
    version: str
    model_loaded: bool
    engine: str
    engines: list[EngineHealth]
    hosts_ready: int
    sessions_active: int
    max_sessions: int
    musetalk_sessions: int | None = Field(
        description="Of them MuseTalk keeps up with so many, as was measured at the start; null where it was not."
    )
    resolutions: list[str] = Field(description="What video_config.resolution may ask for, the default one first.")
    uptime_s: float


class SessionInfo(BaseModel):
    """One live session."""

    session_id: str
    user_id: str
    state: StateName | Literal["opening", "closed"]
    engine: str
    avatar: str
    started_at: float = Field(description="Unix time in seconds.")
    frames_sent: int
    frames_dropped: int
    bytes_sent: int
    audio_received_ms: int
    audio_queued_ms: int


class SessionList(BaseModel):
    """All live sessions, with the sums that monitoring asks for."""

    active: int
    max_sessions: int
    sessions: list[SessionInfo]


class ErrorBody(BaseModel):
    """What a refused request gets, on every route."""

    code: str
    message: str
    details: dict[str, object] = {}


@dataclass(frozen=True)
class HttpHandler:
    """The routes' dependencies."""

    sessions: SessionService
    avatars: AvatarService
    hosts: HostPool
    metrics: Metrics
    authenticator: Authenticator
    engine: str
    started: float

    def router(self) -> APIRouter:
        """All REST routes."""
        router = APIRouter()
        admin = [Depends(self.admin_only)]
        refusals: dict[int | str, dict[str, Any]] = {401: {"model": ErrorBody}, 403: {"model": ErrorBody}}
        router.head("/", include_in_schema=False)(self.page)
        router.get("/", response_class=HTMLResponse, summary="The page to look at and try")(self.page)
        router.get("/health", response_model=Health, responses={503: {"model": Health}}, summary="Health")(self.health)
        router.get("/livez", response_class=PlainTextResponse, summary="Alive: the process answers")(self.alive)
        router.get(
            "/readyz",
            response_class=PlainTextResponse,
            responses={503: {"description": "Starting or draining."}},
            summary="Ready: new sessions are taken",
        )(self.is_ready)
        router.get(
            "/sessions", response_model=SessionList, dependencies=admin, responses=refusals, summary="Live sessions"
        )(self.list_sessions)
        router.get(
            "/metrics",
            response_class=PlainTextResponse,
            dependencies=admin,
            responses=refusals,
            summary="Prometheus metrics",
        )(self.read_metrics)
        return router

    async def admin_only(self, authorization: Authorization = None) -> None:
        """Where authentication is on: the scope admin."""
        await self._require(authorization, None, "admin")

    async def _require(self, authorization: str | None, user_id: str | None, scope: Scope) -> None:
        if self.authenticator.enabled:
            require(await self.authenticator.check(read_credentials(authorization, []).token), user_id, scope)

    async def page(self) -> HTMLResponse:
        """The demonstration page."""
        page = resources.files("musetalk_service") / "web" / "index.html"
        return HTMLResponse(page.read_text("utf-8"), headers={"Cache-Control": "no-cache"})

    def _status(self) -> Status:
        if self.sessions.draining:
            return "draining"
        if not self.avatars.ready:
            return "starting"
        return "ok" if self.hosts.hosts else "degraded"

    async def alive(self) -> str:
        """Whoever reads this knows that the event loop turns."""
        return "alive"

    async def is_ready(self, response: Response) -> str:
        """200 while new sessions are taken, else 503: for load balancers."""
        status = self._status()
        if status in _NOT_READY:
            response.status_code = 503
        return status

    async def health(self, response: Response) -> Health:
        """Whether the service can take sessions: 200 when it can, else 503."""
        hosts = self.hosts.hosts
        status = self._status()
        if status in _NOT_READY:
            response.status_code = 503
        engines = {engine.name: engine for host in hosts for engine in host.ready.engines}
        return Health(
            status=status,
            version=__version__,
            model_loaded=bool(hosts),
            engine=self.engine,
            engines=[
                EngineHealth(name=e.name, version=e.version, device=e.device, look_ahead_samples=e.look_ahead_samples)
                for e in engines.values()
            ],
            hosts_ready=len(hosts),
            sessions_active=len(self.sessions),
            max_sessions=self.sessions.settings.max_sessions,
            musetalk_sessions=self.hosts.musetalk_sessions,
            resolutions=self.sessions.resolutions,
            uptime_s=round(time.monotonic() - self.started, 1),
        )

    async def list_sessions(self) -> SessionList:
        """Every live session."""
        infos = [
            SessionInfo(
                session_id=live.protocol.session_id,
                user_id=live.protocol.user_id,
                state=live.protocol.state.value,
                engine=live.stream.engine if live.stream is not None else self.engine,
                avatar=live.avatar.name,
                started_at=live.created,
                frames_sent=live.outbox.frames_sent,
                frames_dropped=live.outbox.frames_dropped,
                bytes_sent=live.outbox.bytes_sent,
                audio_received_ms=live.timeline.accepted_ms,
                audio_queued_ms=live.timeline.queued_ms,
            )
            for live in self.sessions
        ]
        return SessionList(active=len(infos), max_sessions=self.sessions.settings.max_sessions, sessions=infos)

    async def read_metrics(self) -> Response:
        """The Prometheus exposition format."""
        self.metrics.event_loop_tasks.set(len(asyncio.all_tasks()))
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def answer_service_error(_: Request, error: Exception) -> JSONResponse:
    """Typed errors as JSON with their status."""
    assert isinstance(error, ServiceError)
    body = {"code": error.wire_code, "message": error.message, "details": dict(error.details)}
    wait_ms = error.details.get("retry_after_ms")
    headers = {"Retry-After": str(math.ceil(wait_ms / 1000))} if isinstance(wait_ms, int) else None
    return JSONResponse(body, error.http_status, headers)
