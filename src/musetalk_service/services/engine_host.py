"""One engine host: owns the speaking sessions it is given, from audio to encoded access units.

Synchronous: ``handle`` takes all messages that have come and returns what is to be sent back. Frames that are
made elsewhere are ordered and sent by a later call, those of a session in order; nobody waits for a neighbour's.
The process around it is ``host.py``; tests call it directly.
"""

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from typing_extensions import assert_never

from musetalk_service import __version__
from musetalk_service.bus import messages as bus
from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import Picture
from musetalk_service.engines.builtin.arkit import to_arkit
from musetalk_service.engines.face.motion import stresses_of
from musetalk_service.engines.face.motion.emphasis import Emphasis
from musetalk_service.engines.voice import Voice
from musetalk_service.errors import EngineError
from musetalk_service.models.face import NEUTRAL, REST, Mouth, Pose
from musetalk_service.models.media import GOP_FRAMES, ClipPosition, FrameSize, Rendition
from musetalk_service.services.dissolve import Dissolve
from musetalk_service.services.engine_scheduler import EngineScheduler, ScheduledRequest, ScheduledStream
from musetalk_service.utils.video_codec import H264Encoder, synthetic_label

log = logging.getLogger(__name__)

_EASE_FRAMES = np.array([4 if name in ("blink", "gaze_x", "gaze_y") else 12 for name in Pose._fields])
"""Frames in which a difference of pose, left by a change of clip, dies away; eyes are quicker than heads."""


class PoseEaser:
    """Carries the pose over a change of clip: the difference at the change decays smoothly to none."""

    def __init__(self, avatar: Avatar, shown: ClipPosition) -> None:
        self._avatar = avatar
        self._clip = shown.clip
        self._offset = np.zeros(len(Pose._fields))
        self._age = 0
        self._last = np.asarray(avatar.pose(shown))

    def pose(self, place: ClipPosition) -> Pose:
        """The pose to show for a place in a clip, eased."""
        target = np.asarray(self._avatar.pose(place))
        if place.clip != self._clip:
            self._clip = place.clip
            self._offset = self._last - target
            self._age = 0
        self._age += 1
        left = np.clip(1.0 - self._age / _EASE_FRAMES, 0.0, 1.0)
        self._last = target + self._offset * (left * left * (3.0 - 2.0 * left))
        return Pose(*self._last.tolist())


class ClipJob:
    """A clip on its way to packets: closed GOPs, mouth at rest, one picture for all renditions that are drawn alike."""

    def __init__(self, avatar: Avatar, order: bus.PrepareClip) -> None:
        self._avatar = avatar
        self._ref = order.avatar
        self.clip = order.clip
        self.urgent = order.urgent
        label = synthetic_label("static", __version__)
        self._encoders = {rendition.name: H264Encoder(label, rendition) for rendition in order.renditions}
        self._units: dict[str, list[bytes]] = {name: [] for name in self._encoders}
        groups: dict[FrameSize, list[Rendition]] = defaultdict(list)
        for rendition in order.renditions:
            groups[avatar.drawn_size(rendition.size)].append(rendition)
        frames = range(avatar.clip_frames(order.clip))
        self._todo = deque((index, alike) for index in frames for alike in groups.values())

    def step(self) -> bool:
        """Make one picture; returns whether the clip is complete."""
        index, alike = self._todo.popleft()
        place = ClipPosition(self.clip, index)
        picture = self._avatar.draw(alike[0].size, place, self._avatar.pose(place), REST)
        for rendition in alike:
            encoded = self._encoders[rendition.name].encode(picture, force_idr=index % GOP_FRAMES == 0)
            self._units[rendition.name].append(encoded.access_unit)
        return not self._todo

    def packets(self) -> Iterator[bus.ClipPackets]:
        """One message per rendition."""
        for name, units in self._units.items():
            yield bus.ClipPackets(self._ref, self.clip, name, units)

    def no_packets(self) -> Iterator[bus.ClipPackets]:
        """The answer when the clip cannot be made."""
        for name in self._encoders:
            yield bus.ClipPackets(self._ref, self.clip, name, [])


_ORDERED: Final = 3
"""Pictures of one session that are in the making at once; frames beyond are held."""


@dataclass
class _Begun:
    """A frame in the making, and older ones that piled up before it: they repeat the picture before."""

    renders: list[bus.Render]
    requests: list[ScheduledRequest]
    hear_ms: float

    @property
    def request(self) -> ScheduledRequest:
        """The newest one's: the others are not drawn."""
        return self.requests[-1]


@dataclass
class _Speaker:
    """One speaking session on this host."""

    epoch: int
    stream: ScheduledStream
    voice: Voice
    easer: PoseEaser
    encoder: H264Encoder
    dissolve: Dissolve
    wants_blendshapes: bool
    every_frame: bool
    emphasis: Emphasis = field(default_factory=Emphasis)
    picture: Picture | None = None
    waiting: list[bus.Render] = field(default_factory=list)
    """Frames that are not begun."""
    begun: deque[_Begun] = field(default_factory=deque)


class EngineHost:
    """Sessions of one host process."""

    def __init__(
        self,
        scheduler: EngineScheduler,
        avatars: Callable[[str], Avatar],
        voices: Callable[[], Voice],
    ) -> None:
        self._scheduler = scheduler
        self._avatars = avatars
        self._voices = voices
        self._speakers: dict[str, _Speaker] = {}
        self._clip_jobs: deque[ClipJob] = deque()

    def handle(self, messages: Sequence[bus.UpMessage]) -> list[bus.DownMessage]:
        """Do what was asked, in order, and send what is ready; called without messages when something may be."""
        replies: list[bus.DownMessage] = []
        ended = {(message.session, message.epoch) for message in messages if isinstance(message, bus.Shut)}
        for message in messages:
            if isinstance(message, bus.Render):
                speaker = self._speakers.get(message.session)
                is_wanted = (message.session, message.epoch) not in ended  # else nobody waits for it any more
                if is_wanted and speaker is not None and speaker.epoch == message.epoch:
                    speaker.waiting.append(message)
                continue
            replies += self._advance()  # what came before a change of a session is begun before it
            match message:
                case bus.Open():
                    replies += self._open(message)
                case bus.Switch():
                    self._switch(message)
                case bus.Shut():
                    self._shut(message)
                case bus.PrepareClip():
                    replies += self._begin_clip(message)
                case _:
                    assert_never(message)
        return replies + self._advance()

    def filenos(self) -> list[int]:
        """What becomes readable when :meth:`handle` may have something to send without a message."""
        return self._scheduler.filenos() if any(speaker.begun for speaker in self._speakers.values()) else []

    @property
    def has_background_work(self) -> bool:
        """Whether a clip waits to be encoded that is urgent, or that keeps nobody waiting who speaks."""
        return bool(self._clip_jobs) and (not self._speakers or self._clip_jobs[0].urgent)

    def work_in_background(self) -> list[bus.DownMessage]:
        """One frame of the oldest clip job; its packets when that was the last."""
        job = self._clip_jobs[0]
        try:
            if not job.step():
                return []
            replies: list[bus.DownMessage] = [*job.packets()]
        except Exception:
            log.exception("clip failed", extra={"clip": job.clip})
            replies = [*job.no_packets()]
        self._clip_jobs.popleft()
        return replies

    def _begin_clip(self, message: bus.PrepareClip) -> list[bus.DownMessage]:
        try:
            avatar = self._avatars(message.avatar)
            job = ClipJob(avatar, message)
            if message.urgent:
                self._clip_jobs.appendleft(job)
            else:
                self._clip_jobs.append(job)
            return []
        except Exception:
            log.exception("clip refused", extra={"avatar": message.avatar, "clip": message.clip})
            return [bus.ClipPackets(message.avatar, message.clip, r.name, []) for r in message.renditions]

    def warm_up(self, avatar_name: str, sizes: Iterable[FrameSize]) -> None:
        """Make the avatar's renderers before the first session waits for them."""
        avatar = self._avatars(avatar_name)
        for size in sizes:
            try:
                avatar.renderer(size).render(NEUTRAL, REST)
            except ValueError as error:  # too small for this face: those that show another one are served
                log.warning("face not drawn", extra={"avatar": avatar_name, "size": f"{size}", "cause": str(error)})

    def _open(self, message: bus.Open) -> list[bus.DownMessage]:
        try:
            avatar = self._avatars(message.avatar)
            self._speakers[message.session] = _Speaker(
                message.epoch,
                self._scheduler.open(avatar, message.engine, message.rendition.size),
                self._voices(),
                PoseEaser(avatar, message.shown),
                H264Encoder(synthetic_label(message.engine, __version__), message.rendition),
                Dissolve(avatar, message.rendition.size, message.shown),
                message.blendshapes,
                message.every_frame,
            )
        except Exception as error:  # a host serves many: one session's trouble must not end it
            log.exception("session refused", extra={"session_id": message.session})
            return [bus.SessionFailed(message.session, message.epoch, str(error))]
        return []

    def _switch(self, message: bus.Switch) -> None:
        speaker = self._speakers.get(message.session)
        if speaker is None or speaker.epoch != message.epoch:
            return
        try:
            self._scheduler.switch(speaker.stream, message.engine)
        except Exception as error:  # the engine that it has goes on
            log.warning("engine not switched", extra={"session_id": message.session}, exc_info=error)

    def _shut(self, message: bus.Shut) -> None:
        speaker = self._speakers.get(message.session)
        if speaker is not None and speaker.epoch <= message.epoch:
            del self._speakers[message.session]

    def _advance(self) -> list[bus.DownMessage]:
        """Begin what waits, and send what is ready, until there is neither."""
        replies: list[bus.DownMessage] = []
        while True:
            begun = [frames for speaker in self._speakers.values() for frames in self._begin_all(speaker)]
            self._scheduler.order([frames.request for frames in begun])
            ready = [
                (name, speaker)
                for name, speaker in self._speakers.items()
                if speaker.begun and self._scheduler.is_ready(speaker.begun[0].request)
            ]
            if not ready:
                return replies
            replies += self._finish(ready)

    def _begin_all(self, speaker: _Speaker) -> Iterator[_Begun]:
        """As much of what waits as may be in the making at once."""
        while speaker.waiting and len(speaker.begun) < _ORDERED:
            yield self._begin(speaker, 1 if speaker.every_frame else len(speaker.waiting))

    def _begin(self, speaker: _Speaker, count: int) -> _Begun:
        """Take the audio of so many frames that wait; the newest of them is to be drawn."""
        started = time.thread_time()
        renders, speaker.waiting = speaker.waiting[:count], speaker.waiting[count:]
        requests = [self._hear(speaker, render) for render in renders]
        begun = _Begun(renders, requests, (time.thread_time() - started) * 1000)
        speaker.begun.append(begun)
        return begun

    def _hear(self, speaker: _Speaker, render: bus.Render) -> ScheduledRequest:
        """Take a frame's audio, and say how the face is to be posed for it."""
        if render.pcm:
            pcm = np.frombuffer(render.pcm, "<i2")
            speaker.voice.push(pcm, render.pcm_position)
            self._scheduler.push(speaker.stream, pcm, render.pcm_position)
        heard = speaker.voice.hear(render.audio_position)
        pose = speaker.easer.pose(render.pose)
        pose = speaker.emphasis.add(pose, heard.loudness, *stresses_of(render.pose.clip))
        place = speaker.dissolve.follow(render.pose)
        return ScheduledRequest(speaker.stream, place, pose, heard.mouth, render.audio_position, render.due)

    def _finish(self, ready: Sequence[tuple[str, _Speaker]]) -> list[bus.DownMessage]:
        """Draw the first frame of each session, all together, and encode it with those that are held before it."""
        started = time.thread_time()
        frames = [speaker.begun.popleft() for _, speaker in ready]
        results = self._scheduler.render([begun.request for begun in frames])
        draw_ms = (time.thread_time() - started) * 1000 / len(frames)
        replies: list[bus.DownMessage] = []
        for (name, speaker), begun, result in zip(ready, frames, results, strict=True):
            try:
                replies += self._show(speaker, begun, result, begun.hear_ms + draw_ms)
            except Exception as error:  # a host serves many: one session's trouble must not end it
                log.exception("session failed", extra={"session_id": name})
                del self._speakers[name]
                replies.append(bus.SessionFailed(name, speaker.epoch, str(error)))
        return replies

    def _show(
        self, speaker: _Speaker, begun: _Begun, result: Picture | EngineError, render_ms: float
    ) -> list[bus.DownMessage]:
        """Encode the session's picture for the frames that are held, and the new one."""
        if isinstance(result, EngineError):
            raise result
        last = speaker.picture
        replies: list[bus.DownMessage] = []
        for render, request in zip(begun.renders, begun.requests, strict=True):
            is_new = request is begun.request
            if is_new:
                last = speaker.picture = speaker.dissolve.show(request.place, result)
            picture = result if last is None else last  # nothing has been shown yet that could be held
            replies += self._encode(speaker, render, request.mouth, picture, render_ms if is_new else None)
        return replies

    @staticmethod
    def _encode(
        speaker: _Speaker, render: bus.Render, mouth: Mouth, picture: Picture, render_ms: float | None
    ) -> list[bus.DownMessage]:
        """``render_ms``: None for a picture that is held."""
        engine = speaker.stream.engine
        speaker.encoder.set_label(synthetic_label(engine, __version__))
        started = time.thread_time()
        encoded = speaker.encoder.encode(picture, force_idr=render.force_idr)
        encode_ms = (time.thread_time() - started) * 1000
        changes: list[bus.DownMessage] = [
            bus.EngineChanged(render.session, render.epoch, name, reason)
            for name, reason in speaker.stream.read_changes()
        ]
        shapes = to_arkit(np.array([mouth]))[0].round(3).tolist() if speaker.wants_blendshapes else []
        return [
            *changes,
            bus.Frame(
                session=render.session,
                epoch=render.epoch,
                frame=render.frame,
                is_idr=encoded.is_idr,
                access_unit=encoded.access_unit,
                engine=engine,
                held=render_ms is None,
                render_ms=render_ms or 0.0,
                encode_ms=encode_ms,
                blendshapes=shapes,
            ),
        ]
