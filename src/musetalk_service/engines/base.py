"""What a lip-sync engine is: synchronous, batched, and blind to sockets, sessions and asyncio."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.avatar import Avatar
from musetalk_service.models.face import Mouth, Pose
from musetalk_service.models.media import ClipPosition, FrameSize

Picture = NDArray[np.uint8]
"""(height * 3 / 2, width), I420: see utils.i420."""
Pcm = NDArray[np.int16]
"""(samples,), mono, 16 kHz."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine declares of itself."""

    name: str
    version: str
    device: str
    look_ahead_samples: int
    """Audio after a position that its exact mouth needs; what has not come counts as silence."""


class EngineStream(Protocol):
    """One session's state inside an engine."""

    def push(self, pcm: Pcm, position: int) -> None:
        """More audio; ``position`` is that of its first sample. A gap drops what was queued before it."""
        ...


@dataclass(frozen=True, slots=True)
class AvatarStream:
    """For engines that draw what each request says: knows its avatar and needs no audio of its own."""

    avatar: Avatar
    size: FrameSize
    """What frames are shown in."""

    def draw(self, request: "FrameRequest", mouth: Mouth) -> Picture:
        """What a request asks for, with a mouth."""
        return self.avatar.draw(self.size, request.place, request.pose, mouth)

    def push(self, pcm: Pcm, position: int) -> None:
        """The mouth comes with each request."""


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """One frame of one stream."""

    stream: EngineStream
    place: ClipPosition
    """Which frame of which clip the mouth is laid on."""
    pose: Pose
    """The pose there, eased over changes of clip and with the stresses of the voice."""
    mouth: Mouth
    """What the session's own ear makes of the speech here; an engine with an ear of its own need not follow it."""
    position: int | None
    """Audio position in samples that the mouth follows; None eases it shut."""
    due: float = 0.0
    """When the frame is to be shown, on the machine's monotonic clock, in seconds: who shares a device goes by it."""


class Engine(Protocol):
    """One lip-sync engine, shared by all sessions of a host."""

    @property
    def info(self) -> EngineInfo: ...

    def open(self, avatar: Avatar, size: FrameSize) -> EngineStream:
        """A stream for one session, whose frames are shown in ``size``.

        Raises :class:`EngineError` when the avatar does not suit.
        """
        ...

    def render(self, batch: Sequence[FrameRequest]) -> list[Picture]:
        """One picture per request, in order. Raises any exception; the scheduler falls back."""
        ...


@runtime_checkable
class OrderingEngine(Engine, Protocol):
    """An engine whose frames are made elsewhere, so that its host can do other things in the meantime.

    :meth:`Engine.render` gives the same pictures whether its frames were ordered or not.
    """

    def order(self, batch: Sequence[FrameRequest]) -> None:
        """Begin frames that :meth:`render` will be asked for, those of a stream in order. Raises any exception."""
        ...

    def is_ready(self, request: FrameRequest) -> bool:
        """Whether :meth:`render` would not wait for this frame, if it was ordered."""
        ...

    def fileno(self) -> int | None:
        """Readable when a frame that was ordered may be ready; None while there is nothing to wait for."""
        ...
