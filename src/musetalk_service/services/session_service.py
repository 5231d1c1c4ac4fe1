"""Sessions: admission, the registry, and what one session is made of."""

import asyncio
import logging
import secrets
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from musetalk_service.errors import AtCapacityError, InvalidSessionError
from musetalk_service.models import messages as wire
from musetalk_service.models.media import FPS, SAMPLE_RATE, Rendition, samples_to_ms
from musetalk_service.models.session import CloseReason, Session, State, Trigger, adopt_session_id
from musetalk_service.services.audio_service import AudioIntake, AudioTimeline, make_timeline
from musetalk_service.services.authentication import Principal
from musetalk_service.services.avatar_service import AvatarService, ReadyAvatar
from musetalk_service.services.director import Director
from musetalk_service.services.frame_clock import FrameClock
from musetalk_service.services.host_pool import HostPool
from musetalk_service.services.idle_playlist import IdlePlaylist
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.outbox import Outbox
from musetalk_service.services.video_service import SessionStream, StreamSettings
from musetalk_service.utils.clock import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """The limits and choices that sessions are made with."""

    engine: str
    max_sessions: int
    retry_after_s: int
    audio_backlog_s: float
    audio_chunk_max_ms: int
    audio_jitter_ms: int
    speech_end_ms: int
    silence_hold_ms: int
    outbox_max_frames: int
    late_limit_s: float
    init_timeout_s: float
    idle_timeout_s: float
    resume_grace_s: float


class LiveSession:
    """One connection's session: its protocol state, its audio, its picture."""

    def __init__(self, protocol: Session, avatar: ReadyAvatar, service: "SessionService") -> None:
        settings = service.settings
        self._service = service
        self.protocol = protocol
        self.avatar = avatar
        self.outbox = Outbox(settings.outbox_max_frames)
        self.intake = AudioIntake(settings.audio_chunk_max_ms)
        self.timeline: AudioTimeline = make_timeline(
            service.look_ahead_samples(), settings.audio_jitter_ms, settings.audio_backlog_s
        )
        self.rendition = service.renditions[0]
        self.director = self.direct()
        self.stream: SessionStream | None = None
        self.created = time.time()
        self.admitted = self.last_message = service.clock.now()
        self.close_reason: CloseReason | None = None
        self.ended = asyncio.Event()
        """Set when the session is over, whoever ended it; the connection then says goodbye."""
        self.opened_at: float | None = None
        self.wants_events = False
        self.resume_token = secrets.token_urlsafe(24)
        self.principal: Principal | None = None
        self.address: str | None = None
        self.close_code: int | None = None
        """Set where the close reason alone does not say it."""
        self.on_release: Callable[[], None] = _nothing
        """Gives back what the connection was counted under."""
        self.connection_lost = False
        self.detached_at: float | None = None
        """Since when the connection is lost; the session waits for its client to come back."""

    def direct(self) -> Director:
        """A director for this session's avatar, in the session's rendition."""
        settings = self._service.settings
        packets = self.avatar.idle[self.rendition.name]
        return Director(
            self.timeline,
            self.avatar.clip_frames,
            IdlePlaylist(self.avatar.clip_frames, packets.keys(), seed=zlib.crc32(self.protocol.session_id.encode())),
            speech_end_s=settings.speech_end_ms / 1000,
            silence_hold_s=settings.silence_hold_ms / 1000,
        )

    @property
    def waiting(self) -> bool:
        return self.stream is not None and self.stream.waiting

    @property
    def delay_ms(self) -> int:
        """From a chunk's arrival to the frame that shows it: look-ahead, jitter, one tick ahead."""
        return samples_to_ms(self.timeline.target_delay + SAMPLE_RATE // FPS)

    def tick(self, now: float, missed: int = 0) -> None:
        """One frame; what ended by itself moves the protocol state."""
        assert self.stream is not None  # ticked only once begun
        for trigger in self.stream.tick(now, missed):
            self.protocol = self.protocol.after(trigger)
        if self.opened_at is not None:
            self._service.metrics.first_frame.observe(max(0.0, now - self.opened_at))
            self.opened_at = None
        for notice in self.stream.take_notices():
            if self.wants_events:
                self.answer(wire.Event(session_id=self.protocol.session_id, data=notice))

    def catch_up(self, now: float) -> None:
        """Send frames that have come late."""
        if self.stream is not None:
            self.stream.catch_up(now)

    def fail(self, error: Exception) -> None:
        """An internal error in this session's stream: it ends, the others go on."""
        log.error("stream failed", extra={"session_id": self.protocol.session_id}, exc_info=error)
        self.end("error", Trigger.FAILURE)

    def answer(self, message: wire.ServerMessage) -> None:
        """Queue an answer."""
        if isinstance(message, wire.Error):
            self._service.metrics.errors.labels(message.data.code).inc()
        self.outbox.put(message.model_dump_json(exclude_none=isinstance(message, wire.Error)))

    def take_over(self, lost: "LiveSession", now: float) -> None:
        """Become a session whose connection was lost: everything of it but its connection."""
        assert lost.stream is not None  # only a session that has begun can be taken up again
        self.protocol, self.avatar = lost.protocol, lost.avatar
        self.intake, self.timeline, self.director = lost.intake, lost.timeline, lost.director
        self.rendition = lost.rendition
        self.created, self.wants_events = lost.created, lost.wants_events
        self.stream, lost.stream = lost.stream, None
        since = now if lost.detached_at is None else lost.detached_at
        self.stream.resume(self.outbox, round((now - since) * FPS), now)

    def end(self, reason: CloseReason, trigger: Trigger) -> None:
        """CLOSE_ACK, and no more frames. Twice is fine."""
        ended = self.protocol.after(trigger)
        if ended is not self.protocol:
            self.protocol = ended
            self.finish(reason)

    def finish(self, reason: CloseReason) -> None:
        """Stop the picture and say goodbye; the protocol state is closed already."""
        self.close_reason = reason
        self._service.stop_stream(self)
        self.answer(wire.CloseAck(session_id=self.protocol.session_id, data=wire.CloseAckData(reason=reason)))
        self.outbox.close()
        self.ended.set()

    def refuse(self, close_code: int) -> None:
        """End the connection after the ERROR that says why; there is no session to acknowledge."""
        self.close_code = close_code
        self.protocol = self.protocol.after(Trigger.FAILURE)
        self._service.stop_stream(self)
        self.outbox.close()
        self.ended.set()

    def touch(self) -> None:
        """The client has sent something."""
        self.last_message = self._service.clock.now()


def _nothing() -> None:
    """The default of what is to be done at a release."""


class SessionService:
    """All live sessions of this front."""

    def __init__(
        self,
        settings: SessionSettings,
        *,
        avatars: AvatarService,
        hosts: HostPool,
        frame_clock: FrameClock,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = metrics
        self._avatars = avatars
        self._hosts = hosts
        self._frame_clock = frame_clock
        self._sessions: dict[str, LiveSession] = {}
        self._draining = False
        self._empty = asyncio.Event()
        self._look_ahead = 0

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(tuple(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def renditions(self) -> Sequence[Rendition]:
        """The forms in which the picture is to be had, best first."""
        return self._avatars.renditions

    @property
    def draining(self) -> bool:
        """Whether the server is going down."""
        return self._draining

    def look_ahead_samples(self) -> int:
        """Of the engine that sessions get; as the hosts declare it, or did last."""
        for host in self._hosts.hosts:
            status = host.engine_status(self.settings.engine)
            if status is not None:
                self._look_ahead = status.look_ahead_samples
        return self._look_ahead

    def admit(self, user_id: str) -> LiveSession:
        """A slot for a new connection, before its handshake is answered.

        Raises :class:`AtCapacityError` (HTTP 503, Retry-After) or :class:`ModelNotFoundError`.
        """
        if self._draining or not self._avatars.ready:
            reason = "draining" if self._draining else "starting"
            raise self._at_capacity(f"the server is {reason}", reason)
        if len(self._sessions) >= self.settings.max_sessions and not self._release_longest_detached():
            raise self._at_capacity(f"all {self.settings.max_sessions} sessions are taken", "full")
        avatar = self._avatars.find(user_id)
        session_id = adopt_session_id(None, self._sessions)
        protocol = Session(user_id, session_id, frozenset(avatar.clip_frames))
        live = LiveSession(protocol, avatar, self)
        self._sessions[session_id] = live
        self._empty.clear()
        self.metrics.sessions_active.set(len(self._sessions))
        return live

    def rename(self, live: LiveSession, proposed: str | None) -> Session:
        """The session's protocol state under the client's id where that is usable."""
        session_id = adopt_session_id(proposed, self._sessions)
        return replace(live.protocol, session_id=session_id) if session_id == proposed else live.protocol

    def detach(self, live: LiveSession) -> None:
        """The connection is lost: keep what has begun for a while, give up what has not."""
        if live.stream is None or live.protocol.state is State.CLOSED or not self._keeps_lost():
            self.release(live)
            return
        self.stop_stream(live)
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
        self.stop_stream(lost)
        self._sessions.pop(live.protocol.session_id, None)
        live.take_over(lost, now)
        live.outbox.follow(lost.outbox)
        self._sessions[live.protocol.session_id] = live
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
        """INIT was accepted: the stream starts with the next tick of its slot."""
        self._sessions.pop(live.protocol.session_id, None)
        live.protocol = opened
        self._sessions[opened.session_id] = live
        live.outbox.name_session(opened.session_id, binary=options.frames == "binary")
        live.opened_at = self.clock.now()
        live.wants_events = options.events
        config = options.video_config
        live.rendition = live.avatar.rendition(self.renditions, config.size, config.max_kbps)
        live.director = live.direct()
        live.stream = SessionStream(
            opened.session_id,
            StreamSettings(live.avatar.name, self.settings.engine, self.settings.late_limit_s),
            idle=live.avatar.idle[live.rendition.name],
            rendition=live.rendition,
            director=live.director,
            timeline=live.timeline,
            outbox=live.outbox,
            hosts=self._hosts,
            metrics=self.metrics,
        )
        self.metrics.sessions_total.inc()
        log.info(
            "session begun",
            extra={"session_id": opened.session_id, "user_id": opened.user_id, "avatar": live.avatar.name},
        )

    def start_stream(self, live: LiveSession) -> None:
        """Frames from now on (after INIT_SUCCESS has been queued)."""
        self._frame_clock.add(live)

    def stop_stream(self, live: LiveSession) -> None:
        """No more frames. Twice is fine."""
        self._frame_clock.remove(live)
        if live.stream is not None:
            live.stream.close(self.clock.now())

    def release(self, live: LiveSession) -> None:
        """The connection is over. Twice is fine."""
        live.on_release()
        self.stop_stream(live)
        if self._sessions.get(live.protocol.session_id) is live:
            del self._sessions[live.protocol.session_id]
        self.metrics.sessions_active.set(len(self._sessions))
        if not self._sessions:
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until every connection is over."""
        if self._sessions:
            await self._empty.wait()

    def expire(self, now: float) -> None:
        """End sessions that never began or that no client has spoken to for too long."""
        for live in self:
            if live.detached_at is not None:
                if now - live.detached_at >= self.settings.resume_grace_s:
                    self.release(live)
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


def init_success(live: LiveSession, engine: str, resume_grace_s: float, *, resumed: bool = False) -> wire.InitSuccess:
    """The answer to INIT."""
    return wire.InitSuccess(
        session_id=live.protocol.session_id,
        data=wire.InitSuccessData(
            model_loaded=True,
            available_videos=sorted(live.avatar.clip_frames),
            default_video=live.protocol.base_clip,
            engine=engine,
            codec=live.avatar.codec(live.rendition),
            width=live.rendition.size,
            height=live.rendition.size,
            max_kbps=live.rendition.max_kbps,
            fps=FPS,
            delay_ms=live.delay_ms,
            resume_token=live.resume_token if resume_grace_s > 0 else None,
            resume_grace_s=resume_grace_s or None,
            resumed=resumed,
            audio_received_ms=live.timeline.accepted_ms,
        ),
    )
