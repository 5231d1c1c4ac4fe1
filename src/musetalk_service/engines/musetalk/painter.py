"""What paints mouths: the networks in this process, or the process that owns them. Imports nothing that they need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.base import Pcm
from musetalk_service.errors import EngineError

Patch = NDArray[np.uint8]
"""(256, 256, 3) BGR."""
Latents = NDArray[np.float32]
"""(8, 32, 32) of a face: four channels with the lower half masked, four without; scaled."""
Classes = NDArray[np.uint8]
"""(512, 512) of a picture's pixels, as BiSeNet numbers them."""


class PainterGoneError(EngineError):
    """The networks cannot be had now, but may be later."""


class PainterInfo(NamedTuple):
    """What paints."""

    checkpoint: str
    """Which weights the face encoder has."""
    device: str
    precision: str


class Window(NamedTuple):
    """What is heard for one hop."""

    pcm: Pcm
    """Up to the look-ahead of the hop's first frame; the rest of the window is silence."""
    centre: int
    """Whisper's position of the hop's first frame."""
    start: int
    """Audio position of the hop's first frame."""


@dataclass(frozen=True, slots=True)
class PaintJob:
    """One frame to be painted."""

    stream: str
    """Whose speech it is, under any unique name: a hop of it is heard once."""
    window: Window
    frame: int
    """Of the window's hop."""
    face: str
    """Unique name of the latents."""
    latents: Latents
    due: float
    """When the frame is to be shown, on the machine's monotonic clock, in seconds."""


class Painter(Protocol):
    """Paints frames of any sessions together."""

    @property
    def info(self) -> PainterInfo:
        """Raises :class:`PainterGoneError`."""
        ...

    def fileno(self) -> int | None:
        """Readable when something that was ordered may be done; None while there is nothing to wait for."""
        ...

    def encode_face(self, face: Patch) -> Latents:
        """A face as latents. Raises :class:`EngineError`."""
        ...

    def parse_face(self, picture: NDArray[np.uint8]) -> Classes:
        """What the pixels of a (512, 512, 3) BGR picture show. Raises :class:`EngineError`, without BiSeNet too."""
        ...

    def order(self, jobs: Sequence[PaintJob]) -> Sequence["Painting"]:
        """Begin to paint, one per job, in order. Raises :class:`EngineError`."""
        ...


class Painting(Protocol):
    """A patch that was ordered."""

    def is_done(self) -> bool:
        """Whether :meth:`patch` would not wait."""
        ...

    def patch(self) -> Patch:
        """Waits for it; the same one each time. Raises :class:`EngineError`."""
        ...
