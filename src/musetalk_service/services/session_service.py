"""Sessions: admission, the registry, resuming, expiry, draining."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Iterator
from dataclasses import replace

from musetalk_service.engines.avatar import DEFAULT_AVATAR
from musetalk_service.errors import AtCapacityError, InvalidMessageError, InvalidSessionError, ModelNotFoundError
from musetalk_service.models import messages as wire
from musetalk_service.models.session import Session, State, Trigger, adopt_session_id
from musetalk_service.services.avatar_service import AvatarService, ReadyAvatar
from musetalk_service.services.frame_clock import FrameClock
from musetalk_service.services.host_pool import HostPool
from musetalk_service.services.live_session import LiveSession, SessionContext, SessionSettings
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.official_avatars import OfficialAvatars
from musetalk_service.utils.clock import Clock

log = logging.getLogger(__name__)


class SessionService:
    """All live sessions of this front."""

    def __init__(
        self,
        settings: SessionSettings,
        *,
        avatars: AvatarService,
        official: OfficialAvatars,
        hosts: HostPool,
        frame_clock: FrameClock,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = metrics
        self._context = SessionContext(settings, avatars.renditions, frame_clock, clock, metrics)
        self._avatars = avatars
        self._official = official
        self._hosts = hosts
        self._sessions: dict[str, LiveSession] = {}
        self._draining = False
        self._empty = asyncio.Event()
        self._look_ahead = 0

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(tuple(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def resolutions(self) -> list[str]:
        """The picture sizes that a client may ask for, the default one first."""
        return self._context.resolutions

    @property
    def draining(self) -> bool:
        """Whether the server is going down."""
        return self._draining

    def _look_ahead_samples(self) -> int:
        """Of the engine that sessions get by themselves; as the hosts declare it, or did last."""
        for host in self._hosts.hosts:
            status = host.engine_status(self.settings.engine)
            if status is not None:
                self._look_ahead = status.look_ahead_samples
        return self._look_ahead

    async def find_avatar(self, user_id: str) -> ReadyAvatar:
        """The avatar that answers a user; may have to be made ready.

        Raises :class:`AtCapacityError` (HTTP 503, Retry-After), :class:`ModelNotFoundError` or
        :class:`ProcessingError`.
        """
        self._check_up()
        self._official.check(user_id)
        ready = await self._avatars.obtain(user_id)
        there = {engine.name for host in self._hosts.hosts for engine in host.ready.engines}
        if not ready.has_face and "musetalk" not in there:
            raise ModelNotFoundError(
                "this user's avatar is ready for MuseTalk only, which does not run here", user_id=user_id
            )
        return ready

    def admit(self, user_id: str, avatar: ReadyAvatar) -> LiveSession:
        """A slot for a new connection, before its handshake is answered.

        Raises :class:`AtCapacityError` (HTTP 503, Retry-After).
        """
        self._check_up()
        if len(self._sessions) >= self.settings.max_sessions and not self._release_longest_detached():
            raise self._at_capacity(f"all {self.settings.max_sessions} sessions are taken", "full")
        session_id = adopt_session_id(None, self._sessions)
        protocol = Session(user_id, session_id, frozenset(avatar.clip_frames))
        live = LiveSession(protocol, avatar, self._context, self._look_ahead_samples())
        self._sessions[session_id] = live
        self._empty.clear()
        self.metrics.sessions_active.set(len(self._sessions))
        return live

    def _check_up(self) -> None:
        if self._draining or not self._avatars.ready:
            reason = "draining" if self._draining else "starting"
            raise self._at_capacity(f"the server is {reason}", reason)

    async def show_face(self, live: LiveSession, making: Awaitable[ReadyAvatar]) -> None:
        """Wait for an avatar that a session brings itself; it is then the session's."""
        live.making_face = True  # INIT has come: the time for that does not pass
        try:
            live.avatar = await making
        finally:
            live.making_face = False
            live.admitted = self.clock.now()
        live.protocol = replace(live.protocol, clips=frozenset(live.avatar.clip_frames))

    def end_avatar(self, avatar_id: str) -> None:
        """End the sessions that show an avatar, since it may not be shown any more."""
        for live in self:
            if live.avatar.ref != DEFAULT_AVATAR and live.avatar.name == avatar_id:
                live.end("error", Trigger.FAILURE)

    def rename(self, live: LiveSession, proposed: str | None) -> Session:
        """The session's protocol state under the client's id where that is usable."""
        session_id = adopt_session_id(proposed, self._sessions)
        return replace(live.protocol, session_id=session_id) if session_id == proposed else live.protocol

    def detach(self, live: LiveSession) -> None:
        """The connection is lost: keep what has begun for a while, give up what has not."""
        if live.stream is None or live.protocol.state is State.CLOSED or not self._keeps_lost():
            self.release(live)
            return
        live.stop()
        live.detached_at = self.clock.now()
        self.metrics.sessions_detached.inc()
        log.info("connection lost, session waits", extra={"session_id": live.protocol.session_id})

    def resume(self, live: LiveSession, token: str) -> None:
        """Let a new connection's session take up the one that the token belongs to.

        Raises :class:`InvalidSessionError` when there is none, any more or for this user.
        """
        lost = next((s for s in self if secrets.compare_digest(s.resume_token.encode(), token.encode())), None)
        if (
            lost is None
            or lost.stream is None
            or lost.protocol.state is State.CLOSED
            or lost.protocol.user_id != live.protocol.user_id
        ):
            raise InvalidSessionError(
                "there is no session to resume: it has ended, or the grace time is over", field="data.resume_token"
            )
        now = self.clock.now()
        lost.stop()
        self._sessions.pop(live.protocol.session_id, None)
        live.take_over(lost, now)
        live.outbox.follow(lost.outbox)
        self._sessions[live.protocol.session_id] = live
        lost.on_release()
        lost.outbox.abandon()
        lost.ended.set()  # a connection that is half open goes now
        self.metrics.sessions_active.set(len(self._sessions))
        self.metrics.sessions_resumed.inc()

    def _release_longest_detached(self) -> bool:
        """Make room by giving up the session that waits longest for its client."""
        waiting = [(live.detached_at, live) for live in self if live.detached_at is not None]
        if not waiting:
            return False
        self.release(min(waiting, key=lambda pair: pair[0])[1])
        return True

    def _keeps_lost(self) -> bool:
        return self.settings.resume_grace_s > 0 and not self._draining

    def begin(self, live: LiveSession, opened: Session, options: wire.InitData) -> None:
        """INIT was accepted: the session is known by its final id, and its picture can start.

        Raises :class:`InvalidMessageError` for a picture or an engine that is not served, :class:`AtCapacityError` for
        an engine that is full; nothing has changed then.
        """
        provisional = live.protocol.session_id
        if options.engine is not None:
            self._hosts.look_ahead_of(options.engine)  # is it served?
        own = self.settings.engine if live.avatar.has_face else "musetalk"
        wished = options.engine or own
        engine = self._with_room(live, wished)
        live.open(opened, options, self._hosts)
        live.wished_engine = wished
        if engine != self.settings.engine:
            live.choose_engine(engine, self._hosts.look_ahead_of(engine))
        self._sessions.pop(provisional, None)
        self._sessions[opened.session_id] = live
        self.metrics.sessions_total.inc()
        log.info(
            "session begun",
            extra={"session_id": opened.session_id, "user_id": opened.user_id, "avatar": live.avatar.name},
        )

    def switch_engine(self, live: LiveSession, name: str) -> None:
        """Another engine from the next frame on, and ENGINE_SWITCHED.

        Raises :class:`InvalidMessageError` for one that no host has loaded, :class:`AtCapacityError` for one that is
        full.
        """
        self._hosts.look_ahead_of(name)  # is it served?
        given = self._with_room(live, name)
        live.wished_engine = name
        live.choose_engine(given, self._hosts.look_ahead_of(given))
        live.tell_engine()

    def _with_room(self, live: LiveSession, engine: str) -> str:
        """The engine that is asked for, or what a session gets that would make others late.

        Raises :class:`AtCapacityError`, :class:`InvalidMessageError` for an engine that its avatar is not ready for.
        """
        if engine == "builtin" and not live.avatar.has_face:
            raise InvalidMessageError(
                "this user's avatar is ready for MuseTalk only", field="data.engine", allowed=["musetalk", "static"]
            )
        if engine != "musetalk" or self._musetalk_has_room(live):
            return engine
        if self.settings.refuse_overflow or not live.avatar.has_face:
            raise self._at_capacity(f"all {self._musetalk_limit()} sessions of MuseTalk are taken", "musetalk")
        return "builtin"

    def _musetalk_limit(self) -> int | None:
        return self.settings.musetalk_sessions or self._hosts.musetalk_sessions

    def _musetalk_has_room(self, live: LiveSession) -> bool:
        limit, others = self._musetalk_limit(), (other for other in self if other is not live)
        return limit is None or sum(other.stream is not None and other.engine == "musetalk" for other in others) < limit

    def _promote(self) -> None:
        """Give MuseTalk to those who wait for it, the longest first, while they do not speak."""
        for live in self:
            waits = live.stream is not None and live.wished_engine == "musetalk" and live.engine != "musetalk"
            rests = live.protocol.state is State.IDLE and not live.timeline.queued and live.detached_at is None
            if waits and rests and self._musetalk_has_room(live):
                live.choose_engine("musetalk", self._hosts.look_ahead_of("musetalk"))
                if live.wants_events:  # the others have not asked, and may not know the message
                    live.tell_engine()

    def release(self, live: LiveSession) -> None:
        """The connection is over. Twice is fine."""
        live.on_release()
        live.stop()
        if self._sessions.get(live.protocol.session_id) is live:
            del self._sessions[live.protocol.session_id]
        self.metrics.sessions_active.set(len(self._sessions))
        if not self._sessions:
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until every connection is over."""
        if self._sessions:
            await self._empty.wait()

    def look_after(self, now: float) -> None:
        """What comes with time: end sessions that never began or are forgotten, use room that others have left."""
        self._expire(now)
        self._promote()

    def _expire(self, now: float) -> None:
        for live in self:
            if live.detached_at is not None:
                if now - live.detached_at >= self.settings.resume_grace_s:
                    self.release(live)
                continue
            if live.making_face:
                continue
            if live.stream is None:
                since, limit = live.admitted, self.settings.init_timeout_s
            else:
                since, limit = live.last_message, self.settings.idle_timeout_s
            if limit and now - since >= limit:
                live.end("timeout", Trigger.TIMEOUT)

    def drain(self) -> None:
        """Admit nobody more, and end every session with CLOSE_ACK server_shutdown."""
        self._draining = True
        for live in self:
            if live.detached_at is not None:
                self.release(live)
            else:
                live.end("server_shutdown", Trigger.SHUTDOWN)

    def _at_capacity(self, message: str, reason: str) -> AtCapacityError:
        self.metrics.rejected.labels(reason).inc()
        return AtCapacityError(message, retry_after_ms=self.settings.retry_after_s * 1000)
