"""Which engine renders a session's next frame: the preferred one, or its stand-in while it fails.

A frame that an engine cannot make is made by the next engine of the chain in the same call, so the
picture never freezes. The session stays there until the retry time has passed, then climbs back.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import Engine, EngineStream, FrameRequest, OrderingEngine, Pcm, Picture
from musetalk_service.engines.registry import chain_from
from musetalk_service.errors import EngineError
from musetalk_service.models.face import Mouth, Pose
from musetalk_service.models.media import ClipPosition, FrameSize

log = logging.getLogger(__name__)


@dataclass
class ScheduledStream:
    """One session's streams in every engine of its chain. All hear the audio, so a fall is instant."""

    avatar: Avatar
    size: FrameSize
    chain: list[str]
    streams: dict[str, EngineStream]
    level: int = 0
    retry_at: float = 0.0
    changes: list[tuple[str, str]] = field(default_factory=list)
    """(engine, reason) of each change since they were last read."""
    broken: EngineError | None = None
    """Set when the last engine of the chain has failed too."""

    @property
    def engine(self) -> str:
        return self.chain[self.level]

    def read_changes(self) -> list[tuple[str, str]]:
        """The changes since the last call."""
        changes, self.changes = self.changes, []
        return changes


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """One frame of one scheduled stream."""

    stream: ScheduledStream
    place: ClipPosition
    pose: Pose
    mouth: Mouth
    position: int | None
    due: float = 0.0

    def to(self, engine: str) -> FrameRequest:
        """The same frame, asked of one engine of the chain."""
        return FrameRequest(self.stream.streams[engine], self.place, self.pose, self.mouth, self.position, self.due)


class EngineScheduler:
    """Groups requests by engine, and falls down the chain where one raises."""

    def __init__(self, engines: Mapping[str, Engine], now: Callable[[], float], *, retry_s: float = 10.0) -> None:
        self._engines = engines
        self._ordering = {name: engine for name, engine in engines.items() if isinstance(engine, OrderingEngine)}
        self._now = now
        self._retry_s = retry_s

    def open(self, avatar: Avatar, engine: str, size: FrameSize) -> ScheduledStream:
        """Streams in the engine and its stand-ins; an engine that the avatar does not suit is left out.

        Raises :class:`ModelNotFoundError` for an unknown engine, :class:`EngineError` when none is left.
        """
        streams = self._open_all(avatar, engine, size, {})
        return ScheduledStream(avatar, size, list(streams), streams)

    def switch(self, stream: ScheduledStream, engine: str) -> None:
        """Another engine and its stand-ins from the next frame on; those that listen already go on listening.

        Raises what :meth:`open` does; the stream is as it was then.
        """
        stream.streams = self._open_all(stream.avatar, engine, stream.size, stream.streams)
        stream.chain = list(stream.streams)
        stream.level, stream.broken = 0, None
        stream.changes.append((stream.engine, "asked for"))

    def _open_all(
        self, avatar: Avatar, engine: str, size: FrameSize, opened: Mapping[str, EngineStream]
    ) -> dict[str, EngineStream]:
        streams: dict[str, EngineStream] = {}
        for name in chain_from(engine):
            try:
                streams[name] = opened.get(name) or self._engines[name].open(avatar, size)
            except Exception as error:
                log.warning("engine left out", extra={"engine": name, "avatar": avatar.name}, exc_info=error)
        if not streams:
            raise EngineError(f"no engine can show avatar {avatar.name!r}")
        return streams

    def push(self, stream: ScheduledStream, pcm: Pcm, position: int) -> None:
        """Audio for all engines of the chain; one that cannot take it is left for its stand-in."""
        for level, name in enumerate(stream.chain):
            try:
                stream.streams[name].push(pcm, position)
            except Exception as error:
                if level == stream.level:
                    self._fall(stream, error)

    def order(self, batch: Sequence[ScheduledRequest]) -> None:
        """Let engines begin what they make elsewhere; what cannot be ordered shows when it is rendered."""
        for request in batch:
            self._climb(request.stream)
        for name, engine in self._ordering.items():
            requests = [request.to(name) for request in batch if request.stream.engine == name]
            try:
                engine.order(requests)
            except Exception as error:
                log.debug("not ordered", extra={"engine": name, "cause": str(error)})

    def is_ready(self, request: ScheduledRequest) -> bool:
        """Whether :meth:`render` would not wait for this frame, if it was ordered."""
        name = request.stream.engine
        engine = self._ordering.get(name)
        return engine is None or engine.is_ready(request.to(name))

    def filenos(self) -> list[int]:
        """What becomes readable when a frame that was ordered may be ready."""
        return [fileno for engine in self._ordering.values() if (fileno := engine.fileno()) is not None]

    def render(self, batch: Sequence[ScheduledRequest]) -> list[Picture | EngineError]:
        """One picture per request, in order; an error only for a stream whose whole chain has failed."""
        for request in batch:
            self._climb(request.stream)
        results: dict[int, Picture | EngineError] = {}
        waiting = list(range(len(batch)))
        while waiting:
            groups: dict[str, list[int]] = defaultdict(list)
            for index in waiting:
                stream = batch[index].stream
                if stream.broken is not None:
                    results[index] = stream.broken
                else:
                    groups[stream.engine].append(index)
            waiting = []
            for name, indices in groups.items():
                waiting += self._render_group(name, batch, indices, results)
        return [results[index] for index in range(len(batch))]

    def _render_group(
        self,
        name: str,
        batch: Sequence[ScheduledRequest],
        indices: list[int],
        results: dict[int, Picture | EngineError],
    ) -> list[int]:
        """Render what one engine can; returns the indices that have to fall."""
        engine = self._engines[name]
        requests = [batch[i].to(name) for i in indices]
        try:
            results.update(zip(indices, engine.render(requests), strict=True))
            return []
        except Exception as error:
            if len(indices) > 1:  # find out who: one session's trouble must not pull down its neighbours
                return [i for index in indices for i in self._render_group(name, batch, [index], results)]
            self._fall(batch[indices[0]].stream, error)
            return indices

    def _fall(self, stream: ScheduledStream, error: Exception) -> None:
        failed = stream.engine
        known = isinstance(error, EngineError)  # says itself what is wrong
        log.warning("engine failed", extra={"engine": failed, "cause": str(error)}, exc_info=None if known else error)
        if stream.level + 1 >= len(stream.chain):
            stream.broken = EngineError(f"every engine of the chain failed, last {failed}")
            return
        stream.level += 1
        stream.retry_at = self._now() + self._retry_s
        stream.changes.append((stream.engine, f"{failed} failed: {error}" if known else f"{failed} failed"))

    def _climb(self, stream: ScheduledStream) -> None:
        if stream.level and self._now() >= stream.retry_at:
            stream.level = 0
            stream.changes.append((stream.engine, "tried again"))
