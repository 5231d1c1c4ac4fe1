"""One session's continuous picture: idle packets and live frames, joined so that nothing shows.

At each tick the stream delivers the frame that is due and asks for the next one. A host that is a
little late is waited for; one that is gone or far too late is replaced, and idle packets fill in.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from musetalk_service.bus import messages as bus
from musetalk_service.engines.builtin.arkit import ARKIT_NAMES
from musetalk_service.models import messages as wire
from musetalk_service.models.clips import DEFAULT_CLIP
from musetalk_service.models.media import (
    FRAME_MS,
    FRAME_SECONDS,
    SAMPLES_PER_FRAME,
    ClipPosition,
    Rendition,
    samples_to_ms,
)
from musetalk_service.models.session import Trigger
from musetalk_service.services.audio_service import AudioTimeline
from musetalk_service.services.director import Director, Plan
from musetalk_service.services.host_pool import Host, HostPool, Inbox
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.outbox import Outbox
from musetalk_service.utils.encoding import FramePayload

log = logging.getLogger(__name__)

_SKIP_AT_BACKLOG = 3
"""With so many frames waiting for a slow client, live frames are left out before they are rendered."""
_RELIEF_S = 1.0
"""How long a session idles before it asks an only host again that was overloaded or has refused it."""
_WARM_UP_SAMPLES = 8000
"""Audio before the playhead that a new host gets, so that its network hears what came before."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What a stream needs to know."""

    avatar: str
    engine: str
    late_limit_s: float
    blendshapes: bool = False
    """Whether notices say how the mouth of each live frame moves, as blend shapes."""


class SessionStream:
    """The picture of one session. Owned by its connection, ticked by the frame clock."""

    def __init__(
        self,
        session_id: str,
        settings: StreamSettings,
        *,
        idle: Mapping[str, Sequence[FramePayload]],
        rendition: Rendition,
        director: Director,
        timeline: AudioTimeline,
        outbox: Outbox,
        hosts: HostPool,
        metrics: Metrics,
    ) -> None:
        self._id = session_id
        self._settings = settings
        self._idle = idle
        self._rendition = rendition
        self._director = director
        self._timeline = timeline
        self._outbox = outbox
        self._hosts = hosts
        self._metrics = metrics
        self._frame = 0
        self._plan: Plan | None = None
        self._pending: deque[Plan] = deque()
        self._host: Host | None = None
        self._inbox = Inbox(epoch=0)
        self._epoch = 0
        self._pcm_sent = 0
        self._shown = ClipPosition(DEFAULT_CLIP, 0)
        self._lost_at: float | None = None
        self._retry_at = 0.0
        self._skipped = False
        self._owes_idr = False
        self._voiced = False
        self._mouth_moves = False
        self._notices: list[wire.EventData] = []
        self.engine = settings.engine

    @property
    def next_frame(self) -> int:
        """The first frame that a message that comes now can still change."""
        return self._frame + 1 if self._plan is not None else self._frame

    @property
    def waiting(self) -> bool:
        """Whether a frame that is due has not come from the host yet."""
        return bool(self._pending)

    def tick(self, now: float, missed: int = 0) -> list[Trigger]:
        """Deliver the frame that is due, and plan the next; returns what ended by itself.

        ``missed``: frame periods in which there was no time for a tick; their frames are left out, and
        the audio that belongs to them passes by.
        """
        if self._plan is None:  # the very first frame: nothing has been planned ahead
            self._plan = self._director.opening(self._frame)
        congested = self._outbox.backlog >= _SKIP_AT_BACKLOG  # asked before this tick's frames join the queue
        self._deliver(self._plan, now)
        self._frame += 1
        if missed:
            self._leave_out(missed, now)
        return self._plan_next(now, congested=congested)

    def catch_up(self, now: float) -> None:
        """Send frames that were late and have come since the tick."""
        self._drain(now)

    def skip_to_playhead(self) -> None:
        """Barge-in: audio that was dropped is never sent to the host."""
        self._pcm_sent = self._timeline.playhead

    def choose_engine(self, name: str, now: float) -> None:
        """Another engine from the next frame on; where a host is at work, at once and without a new start."""
        self._settings = replace(self._settings, engine=name)
        if self._host is None:
            self.engine = name
        elif self._host.alive:
            self._host.send(bus.Switch(self._id, self._epoch, name), now)

    def take_notices(self) -> list[wire.EventData]:
        """What has happened since the last call that a client may want to know."""
        notices, self._notices = self._notices, []
        return notices

    def resume(self, outbox: Outbox, frames_away: int, now: float) -> None:
        """Go on for a viewer that comes back after so many frame periods: at an IDR, in an outbox of its own."""
        self._leave_host(now)
        self._pending.clear()
        self._outbox = outbox
        self._frame += frames_away
        self._director.host_lost(self._frame)
        self._plan = None

    def close(self, now: float) -> None:
        """Give the host's part of the session up. Twice is fine."""
        self._leave_host(now)

    def _leave_out(self, frames: int, now: float) -> None:
        for _ in range(min(frames, self._timeline.queued // SAMPLES_PER_FRAME + 1)):
            self._timeline.next_position(now)
        self._frame += frames
        self._metrics.frames.labels("skipped").inc(frames)
        if self._host is None:
            self._director.host_lost(self._frame)  # packets refer to each other: go on at an IDR

    # --- delivery ---

    def _deliver(self, plan: Plan, now: float) -> None:
        if plan.live:
            if self._skipped:
                self._metrics.frames.labels("skipped").inc()
            else:
                self._pending.append(plan)
            self._drain(now)
            self._check_host(now)
            return
        if self._host is not None:  # an idle IDR follows, so what is still missing is not needed any more
            self._drain(now)
            self._pending.clear()
            self._leave_host(now)
        self._send(plan, self._packet(plan))

    def _drain(self, now: float) -> None:
        frames = self._inbox.frames
        while frames and self._pending:
            if frames[0].frame > self._pending[0].frame:
                self._pending.popleft()  # the host never made it
            elif frames[0].frame < self._pending[0].frame:
                frames.popleft()
            else:
                self._deliver_live(self._pending.popleft(), frames.popleft(), now)

    def _deliver_live(self, plan: Plan, frame: bus.Frame, now: float) -> None:
        payload = FramePayload(
            frame.access_unit,
            frame.is_idr,
            plan.state,
            _timestamp_ms(plan),
            plan.action_progress,
        )
        if frame.engine != self.engine:
            self.engine = frame.engine
            self._notice("engine_changed", plan, engine=frame.engine)
        if self._lost_at is not None:
            self._metrics.failover_gap.observe(now - self._lost_at)
            self._lost_at = None
            self._notice("recovered", plan)
        if frame.held:
            self._metrics.frames.labels("held").inc()
        self._send(plan, payload)
        self._tell_blendshapes(plan, frame.blendshapes)

    def _tell_blendshapes(self, plan: Plan, shapes: list[float]) -> None:
        """Of each frame in which the mouth is not at rest, and of the one in which it comes to rest."""
        moves = any(shapes)
        if moves or self._mouth_moves:
            named = dict(zip(ARKIT_NAMES, shapes, strict=True))
            self._notice("blendshapes", plan, frame_timestamp=plan.frame * FRAME_MS, blendshapes=named)
        self._mouth_moves = moves

    def _packet(self, plan: Plan) -> FramePayload:
        shared = self._idle[plan.place.clip][plan.place.index]
        if plan.state == shared.state and plan.audio_position is None:
            return shared
        return replace(
            shared,
            state=plan.state,
            audio_timestamp_ms=_timestamp_ms(plan),
            action_progress=plan.action_progress,
        )

    def _send(self, plan: Plan, payload: FramePayload) -> None:
        dropped = self._outbox.frames_dropped
        self._outbox.put_frame(plan.frame, payload)
        self._metrics.frames.labels("sent").inc()
        if self._outbox.frames_dropped > dropped:
            self._metrics.frames.labels("dropped").inc(self._outbox.frames_dropped - dropped)
        self._shown = plan.place
        if plan.voiced != self._voiced:
            self._voiced = plan.voiced
            self._notice("speech_started" if plan.voiced else "speech_ended", plan)

    def _notice(self, event: wire.EventName, plan: Plan, **fields: Any) -> None:
        self._notices.append(wire.EventData(event=event, audio_timestamp=_timestamp_ms(plan), **fields))

    def _check_host(self, now: float) -> None:
        """Frames are due that have not come: wait a little, or go on without this host."""
        if not self._pending:
            return
        if self._host is None or not self._host.alive:
            self._lose_host("host ended", now)
        elif self._inbox.failure is not None:
            self._lose_host(self._inbox.failure, now)
        elif (len(self._pending) - 1) * FRAME_SECONDS >= self._settings.late_limit_s:
            self._lose_host("too late", now)
        else:
            self._metrics.frames.labels("late").inc()

    # --- planning ---

    def _plan_next(self, now: float, *, congested: bool) -> list[Trigger]:
        if self._host is not None and not self._host.alive:
            self._lose_host("host ended", now)
        host_ready = self._host is not None or (self._hosts.available and now >= self._retry_at)
        reopen = self._host is None
        previous_live = self._plan is not None and self._plan.live
        request_idr = self._outbox.wants_idr or reopen or self._owes_idr
        plan, triggers = self._director.plan(self._frame, now, host=host_ready, request_idr=request_idr)
        self._plan = plan
        self._skipped = plan.live and congested
        if self._skipped:  # nothing refers to a frame that was never encoded; an IDR that was due is owed
            self._owes_idr = self._owes_idr or plan.force_idr
            return triggers
        self._owes_idr = False
        if plan.live != previous_live:
            self._metrics.splices.labels("live" if plan.live else "idle").inc()
        if plan.live:
            if reopen:
                self._open_host(now)
            self._request(plan, now)
        return triggers

    def _open_host(self, now: float) -> None:
        host = self._hosts.assign()
        assert host is not None  # plan() was told that there is one
        self._epoch += 1
        self._host = host
        self._inbox = host.inboxes[self._id] = Inbox(self._epoch)
        self._pcm_sent = max(0, self._timeline.playhead - _WARM_UP_SAMPLES)
        self._metrics.sessions_speaking.inc()
        settings = self._settings
        host.send(
            bus.Open(
                self._id,
                self._epoch,
                settings.avatar,
                settings.engine,
                self._rendition,
                self._shown,
                settings.blendshapes,
            ),
            now,
        )

    def _request(self, plan: Plan, now: float) -> None:
        assert self._host is not None
        end = self._timeline.playhead + self._timeline.look_ahead
        start, pcm = (self._pcm_sent, b"")
        if plan.speaking and plan.audio_position is not None:
            self._pcm_sent = max(self._pcm_sent, plan.audio_position - _WARM_UP_SAMPLES)
            start, samples = self._timeline.audio(self._pcm_sent, max(end, plan.audio_position + SAMPLES_PER_FRAME))
            pcm = samples.tobytes()
            self._pcm_sent = start + len(samples)
        self._host.send(
            bus.Render(
                session=self._id,
                epoch=self._epoch,
                frame=plan.frame,
                pose=plan.place,
                force_idr=plan.force_idr,
                audio_position=plan.audio_position if plan.speaking else None,
                pcm_position=start,
                pcm=pcm,
                due=now + FRAME_SECONDS,
            ),
            now,
        )

    def _lose_host(self, cause: str, now: float) -> None:
        """Idle packets, from an IDR on, stand in for the frames that will not come."""
        log.warning("session moves to another host", extra={"session_id": self._id, "cause": cause})
        self._metrics.failovers.labels("late" if cause == "too late" else "lost").inc()
        self._lost_at = now
        refused = self._inbox.failure is not None
        if refused or (cause == "too late" and self._hosts.assign() is self._host):
            self._retry_at = now + _RELIEF_S  # asking at once would get the same answer
        self._leave_host(now)
        if self._plan is not None:
            self._notice("degraded", self._plan, reason=cause)
            self._tell_blendshapes(self._plan, [0.0] * len(ARKIT_NAMES))
        missing = _run_up_to(self._frame, self._pending)
        if missing:
            self._director.host_lost(missing[0].frame)
        for plan in missing:
            self._metrics.frames.labels("filled").inc()
            filled = replace(plan, live=False, place=self._director.idle_place(plan.frame))
            self._send(filled, self._packet(filled))
        self._pending.clear()

    def _leave_host(self, now: float) -> None:
        if self._host is None:
            return
        self._metrics.sessions_speaking.dec()
        self._host.inboxes.pop(self._id, None)
        if self._host.alive:
            self._host.send(bus.Shut(self._id, self._epoch), now)
        self._host = None
        self._inbox = Inbox(self._epoch)


def _run_up_to(frame: int, plans: Sequence[Plan]) -> list[Plan]:
    """The unbroken run of plans that ends with ``frame``: packets refer to each other without a gap."""
    run: list[Plan] = []
    for plan in reversed(plans):
        if plan.frame != frame - len(run):
            break
        run.insert(0, plan)
    return run


def _timestamp_ms(plan: Plan) -> int | None:
    """The audio position that the frame's mouth belongs to; none where it should follow and cannot."""
    if plan.audio_position is None or (plan.speaking and not plan.live):
        return None
    return samples_to_ms(plan.audio_position)
