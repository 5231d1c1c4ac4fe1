"""Fast engines for tests of everything around engines: flat pictures whose grey says what was heard."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import EngineInfo, EngineStream, FrameRequest, Pcm, Picture
from musetalk_service.models.media import FrameSize
from musetalk_service.utils.i420 import from_bgr

LOOK_AHEAD = 1600
"""100 ms."""
SHUT = 128
"""Grey of a mouth that follows no audio."""


def flat(grey: int) -> Picture:
    """A picture of one grey, 512x512."""
    return from_bgr(np.full((512, 512, 3), grey, np.uint8))


def grey_of(picture: Picture) -> int:
    """The grey of a flat picture."""
    return round((int(picture[0, 0]) - 16) * 255 / 219)


def tone(grey: int, seconds: float) -> Pcm:
    """Audio that the grey engine shows as ``grey`` (0 to 255): in the low byte of each sample.

    Nine of ten blocks of 40 ms are loud, as in speech: without its pauses it would pass for noise.
    """
    samples = np.arange(round(seconds * 16_000))
    loud = samples // 640 % 10 != 9
    return (loud * 31 * 256 + grey).astype(np.int16)


@dataclass(eq=False)
class GreyStream:
    """What one stream was given and asked for."""

    avatar: Avatar
    pcm: dict[int, Pcm] = field(default_factory=dict)
    positions: deque[int | None] = field(default_factory=deque)
    ahead: list[int] = field(default_factory=list)
    """Samples that were there after each position at which the mouth was asked for."""

    def push(self, pcm: Pcm, position: int) -> None:
        self.pcm[position] = pcm.copy()

    @property
    def end(self) -> int:
        """The position after the last pushed sample."""
        return max((start + len(samples) for start, samples in self.pcm.items()), default=0)

    def heard(self, position: int) -> int | None:
        """The grey at a position, None when it was never pushed."""
        for start, samples in self.pcm.items():
            if start <= position < start + len(samples):
                return int(samples[position - start]) & 0xFF
        return None


class GreyEngine:
    """Shows each sample's low byte as grey. ``broken`` streams raise; so does everything once ``all_broken``."""

    def __init__(self, name: str = "builtin", look_ahead: int = LOOK_AHEAD) -> None:
        self.info = EngineInfo(name, "test", "cpu", look_ahead)
        self.streams: list[GreyStream] = []
        self.broken: list[GreyStream] = []
        self.all_broken = False
        self.batches: list[int] = []

    def open(self, avatar: Avatar, size: FrameSize) -> GreyStream:
        stream = GreyStream(avatar)
        self.streams.append(stream)
        return stream

    def render(self, batch: Sequence[FrameRequest]) -> list[Picture]:
        self.batches.append(len(batch))
        return [self._render(request) for request in batch]

    def _render(self, request: FrameRequest) -> Picture:
        stream = request.stream
        assert isinstance(stream, GreyStream)
        if self.all_broken or stream in self.broken:
            raise RuntimeError("broken for the test")
        stream.positions.append(request.position)
        if request.position is not None:
            stream.ahead.append(stream.end - request.position)
        heard = None if request.position is None else stream.heard(request.position)
        return flat(SHUT if heard is None else heard)


class OrderedGreyEngine(GreyEngine):
    """Its frames are made elsewhere: they are ready when the test says so."""

    def __init__(self) -> None:
        super().__init__("musetalk")
        self.orders: list[tuple[EngineStream, int | None]] = []
        self.all_ready = False
        self.ready: set[int | None] = set()
        """Positions whose frames are there."""

    def order(self, batch: Sequence[FrameRequest]) -> None:
        if self.all_broken:
            raise RuntimeError("broken for the test")
        self.orders += [(request.stream, request.position) for request in batch]

    def is_ready(self, request: FrameRequest) -> bool:
        return self.all_ready or self.all_broken or request.position in self.ready

    def fileno(self) -> int | None:
        return 99


class ShutEngine(GreyEngine):
    """Stands in for the static engine: a picture with no mouth of its own, and no renderer to be made."""

    def __init__(self) -> None:
        super().__init__("static", 0)

    def _render(self, request: FrameRequest) -> Picture:
        return flat(SHUT)
