"""One live session: its protocol state, its audio, its picture, and the outbox that it is written through."""

import asyncio
import logging
import secrets
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from musetalk_service.errors import InvalidMessageError
from musetalk_service.models import messages as wire
from musetalk_service.models.media import FPS, SAMPLE_RATE, FrameSize, Rendition, parse_size, samples_to_ms, sizes_of
from musetalk_service.models.session import CloseReason, Session, Trigger
from musetalk_service.services.audio_service import AudioIntake, AudioTimeline, make_timeline
from musetalk_service.services.authentication import Principal
from musetalk_service.services.avatar_service import ReadyAvatar
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
    musetalk_sessions: int
    """That MuseTalk serves at once; 0: as many as the painter has measured."""
    refuse_overflow: bool
    """Refuse a session beyond them instead of giving it the built-in engine."""
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


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions share."""

    settings: SessionSettings
    renditions: Sequence[Rendition]
    frame_clock: FrameClock
    clock: Clock
    metrics: Metrics

    @property
    def resolutions(self) -> list[str]:
        """The sizes that a client may ask for, the default one first."""
        return [f"{size}" for size in sizes_of(self.renditions)]

    def served_size(self, resolution: str | None) -> FrameSize:
        """Raises :class:`InvalidMessageError` for a size that the operator does not allow."""
        if resolution is None:
            return self.renditions[0].size
        if resolution not in self.resolutions:
            raise InvalidMessageError(
                f"video_config.resolution {resolution} is not served here; allowed: {', '.join(self.resolutions)}",
                field="data.video_config.resolution",
                allowed=self.resolutions,
            )
        return parse_size(resolution)


def _nothing() -> None:
    """The default of what is to be done at a release."""


class LiveSession:
    """One connection's session: its protocol state, its audio, its picture."""

    def __init__(self, protocol: Session, avatar: ReadyAvatar, context: SessionContext, look_ahead: int) -> None:
        settings = context.settings
        self._context = context
        self.protocol = protocol
        self.avatar = avatar
        self.outbox = Outbox(settings.outbox_max_frames)
        self.intake = AudioIntake(settings.audio_chunk_max_ms)
        self.timeline: AudioTimeline = make_timeline(look_ahead, settings.audio_jitter_ms, settings.audio_backlog_s)
        self.rendition = context.renditions[0]
        self._engine = self.wished_engine = settings.engine
        self.director = self._direct()
        self.stream: SessionStream | None = None
        self.created = time.time()
        self.admitted = self.last_message = context.clock.now()
        self.close_reason: CloseReason | None = None
        self.ended = asyncio.Event()
        """Set when the session is over, whoever ended it; the connection then says goodbye."""
        self.opened_at: float | None = None
        self.making_face = False
        """INIT has come with a picture of which an avatar is being made."""
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

    @property
    def waiting(self) -> bool:
        return self.stream is not None and self.stream.waiting

    @property
    def engine(self) -> str:
        """The engine that it was given; while that fails its stand-in draws."""
        return self._engine

    @property
    def delay_ms(self) -> int:
        """From a chunk's arrival to the frame that shows it: look-ahead, jitter, one tick ahead."""
        return samples_to_ms(self.timeline.target_delay + SAMPLE_RATE // FPS)

    def open(self, opened: Session, options: wire.InitData, hosts: HostPool) -> None:
        """INIT was accepted: the picture as the client wants it; it starts with :meth:`start`.

        Raises :class:`InvalidMessageError` for a picture that is not served; nothing has changed then.
        """
        context = self._context
        wanted = options.video_config
        size = context.served_size(wanted.resolution)
        self.protocol = opened
        self.outbox.name_session(opened.session_id, binary=options.frames == "binary")
        self.opened_at = context.clock.now()
        self.wants_events = options.events
        self.rendition = self.avatar.rendition(context.renditions, size, wanted.max_kbps)
        self.director = self._direct()
        self.stream = SessionStream(
            opened.session_id,
            StreamSettings(self.avatar.ref, self._engine, context.settings.late_limit_s, options.blendshapes),
            idle=self.avatar.idle[self.rendition.name],
            rendition=self.rendition,
            director=self.director,
            timeline=self.timeline,
            outbox=self.outbox,
            hosts=hosts,
            metrics=context.metrics,
        )

    def choose_engine(self, name: str, look_ahead: int) -> None:
        """Another engine from the next frame on, which hears so many samples ahead."""
        self._engine = name
        self.timeline.hear_ahead(look_ahead)
        if self.stream is not None:
            self.stream.choose_engine(name, self._context.clock.now())

    def tell_engine(self) -> None:
        """Queue ENGINE_SWITCHED."""
        data = wire.EngineSwitchedData(engine=self._engine, delay_ms=self.delay_ms)
        self.answer(wire.EngineSwitched(session_id=self.protocol.session_id, data=data))

    def start(self) -> None:
        """Frames from the next tick on."""
        self._context.frame_clock.add(self)

    def stop(self) -> None:
        """No more frames. Twice is fine."""
        self._context.frame_clock.remove(self)
        if self.stream is not None:
            self.stream.close(self._context.clock.now())

    def greet(self, *, resumed: bool = False) -> None:
        """Queue INIT_SUCCESS."""
        settings = self._context.settings
        self.answer(
            wire.InitSuccess(
                session_id=self.protocol.session_id,
                data=wire.InitSuccessData(
                    model_loaded=True,
                    available_videos=sorted(self.avatar.clip_frames),
                    default_video=self.protocol.base_clip,
                    engine=self._engine if self.stream is None else self.stream.engine,
                    codec=self.avatar.codec(self.rendition),
                    width=self.rendition.size.width,
                    height=self.rendition.size.height,
                    max_kbps=self.rendition.max_kbps,
                    fps=FPS,
                    resolutions=self._context.resolutions,
                    delay_ms=self.delay_ms,
                    resume_token=self.resume_token if settings.resume_grace_s > 0 else None,
                    resume_grace_s=settings.resume_grace_s or None,
                    resumed=resumed,
                    audio_received_ms=self.timeline.accepted_ms,
                ),
            )
        )

    def tick(self, now: float, missed: int = 0) -> None:
        """One frame; what ended by itself moves the protocol state."""
        assert self.stream is not None  # ticked only once begun
        for trigger in self.stream.tick(now, missed):
            self.protocol = self.protocol.after(trigger)
        if self.opened_at is not None:
            self._context.metrics.first_frame.observe(max(0.0, now - self.opened_at))
            self.opened_at = None
        for notice in self.stream.take_notices():
            if self.wants_events or notice.event == "blendshapes":  # those come only where they were asked for
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
            self._context.metrics.errors.labels(message.data.code).inc()
        self.outbox.put(message.model_dump_json(exclude_none=isinstance(message, wire.Error)))

    def take_over(self, lost: "LiveSession", now: float) -> None:
        """Become a session whose connection was lost: everything of it but its connection."""
        assert lost.stream is not None  # only a session that has begun can be taken up again
        self.protocol, self.avatar = lost.protocol, lost.avatar
        self.intake, self.timeline, self.director = lost.intake, lost.timeline, lost.director
        self.rendition, self._engine, self.wished_engine = lost.rendition, lost._engine, lost.wished_engine
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
        self.stop()
        self.answer(wire.CloseAck(session_id=self.protocol.session_id, data=wire.CloseAckData(reason=reason)))
        self.outbox.close()
        self.ended.set()

    def refuse(self, close_code: int) -> None:
        """End the connection after the ERROR that says why; there is no session to acknowledge."""
        self.close_code = close_code
        self.protocol = self.protocol.after(Trigger.FAILURE)
        self.stop()
        self.outbox.close()
        self.ended.set()

    def touch(self) -> None:
        """The client has sent something."""
        self.last_message = self._context.clock.now()

    def _direct(self) -> Director:
        """A director for this session's avatar, in the session's rendition."""
        settings = self._context.settings
        packets = self.avatar.idle[self.rendition.name]
        return Director(
            self.timeline,
            self.avatar.clip_frames,
            IdlePlaylist(self.avatar.clip_frames, packets.keys(), seed=zlib.crc32(self.protocol.session_id.encode())),
            speech_end_s=settings.speech_end_ms / 1000,
            silence_hold_s=settings.silence_hold_ms / 1000,
        )
