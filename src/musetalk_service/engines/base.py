"""What a lip-sync engine is: synchronous, batched, and blind to sockets, sessions and asyncio."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.avatar import Avatar
from musetalk_service.models.face import Pose

Picture = NDArray[np.uint8]
"""(512, 512, 3), BGR."""
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
class FrameRequest:
    """One frame of one stream."""

    stream: EngineStream
    pose: Pose
    position: int | None
    """Audio position in samples that the mouth follows; None eases it shut."""


class Engine(Protocol):
    """One lip-sync engine, shared by all sessions of a host."""

    @property
    def info(self) -> EngineInfo: ...

    def open(self, avatar: Avatar) -> EngineStream:
        """A stream for one session. Raises :class:`EngineError` when the avatar does not suit."""
        ...

    def render(self, batch: Sequence[FrameRequest]) -> list[Picture]:
        """One picture per request, in order. Raises any exception; the scheduler falls back."""
        ...
