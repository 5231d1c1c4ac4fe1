"""The media units that travel through the stages, and the constants that all stages share."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

FPS = 25
SAMPLE_RATE = 16_000
"""Hz; the rate of everything behind the decoder of incoming audio."""
FRAME_MS = 1000 // FPS
FRAME_SECONDS = 1 / FPS
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
"""640 samples, 40 ms: the audio that belongs to one video frame."""
BYTES_PER_SAMPLE = 2
GOP_FRAMES = FPS
"""One IDR each second."""
WIDTH = HEIGHT = 512


def samples_to_ms(samples: int) -> int:
    """Whole milliseconds at 16 kHz, rounded down."""
    return samples * 1000 // SAMPLE_RATE


def ms_to_samples(ms: float) -> int:
    """Samples at 16 kHz, rounded to nearest."""
    return round(ms * SAMPLE_RATE / 1000)


class FrameSize(NamedTuple):
    """Pixels of a picture. Both even, as 4:2:0 needs."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def pixels(self) -> int:
        return self.width * self.height


BASE_SIZE = FrameSize(WIDTH, HEIGHT)
"""What pictures are drawn in unless another size is asked for."""
DEFAULT_SIZES = (BASE_SIZE, FrameSize(384, 384), FrameSize(256, 256))
LEAST_SIDE, MOST_PIXELS = 128, 1920 * 1080


def parse_size(text: str) -> FrameSize:
    """From ``<width>x<height>``. Raises ``ValueError`` that says what is allowed."""
    if re.fullmatch(r"[1-9][0-9]{2,3}x[1-9][0-9]{2,3}", text):
        size = FrameSize(*map(int, text.split("x")))
        if min(size) >= LEAST_SIDE and size.pixels <= MOST_PIXELS and size.width % 2 == size.height % 2 == 0:
            return size
    raise ValueError(
        f"{text[:20]!r} is no picture size: WIDTHxHEIGHT, both even, at least {LEAST_SIDE}, "
        f"at most {MOST_PIXELS} pixels in all"
    )


@dataclass(frozen=True, slots=True)
class Rendition:
    """One form in which the picture is encoded: all sessions with the same one share its idle packets."""

    name: str
    size: FrameSize
    max_kbps: int
    """Peak rate of the VBV model."""
    crf: int
    level: int
    """H.264 level times ten."""


_LEVELS = (
    (21, 792, 19_800, 4_000),
    (22, 1_620, 20_250, 4_000),
    (31, 3_600, 108_000, 14_000),
    (32, 5_120, 216_000, 20_000),
    (40, 8_192, 245_760, 20_000),
    (41, 8_192, 245_760, 50_000),
    (50, 22_080, 589_824, 135_000),
)
"""Level times ten, macroblocks of a picture and of a second, kbit/s: H.264, table A-1. Without 3.0, since
512x512 has always been sent as 3.1, which some clients expect without asking."""
_RATE_SHARES = {FrameSize(384, 384): 0.6, FrameSize(256, 256): 0.35}
_RATE_EXPONENT = 0.8
"""Of the number of pixels: larger pictures need fewer bits for each."""
_LOW_RATE_SHARE = 0.5
_LOW_RATE_CRF = 6
"""Higher by this, x264 needs about half the bits."""


def level_for(size: FrameSize, kbps: int) -> int:
    """The lowest H.264 level, times ten, for a size and a peak rate at 25 fps; the highest where none is enough."""
    wide, high = (-(-side // 16) for side in size)
    for level, blocks, blocks_per_second, rate in _LEVELS:
        # A side may be as long as that of a picture eight times as wide as high (A.3.1).
        fits = wide * high <= blocks and max(wide, high) ** 2 <= 8 * blocks
        if fits and FPS * wide * high <= blocks_per_second and kbps <= rate:
            return level
    return _LEVELS[-1][0]


def make_renditions(crf: int, max_kbps: int, sizes: Sequence[FrameSize] = DEFAULT_SIZES) -> tuple[Rendition, ...]:
    """The ladder: the sizes in their order, each at its full rate and at half of it.

    ``max_kbps`` is the full rate of 512x512, the others' follow from their pixels.
    """
    ladder = []
    for size in sizes:
        share = _RATE_SHARES.get(size, (size.pixels / BASE_SIZE.pixels) ** _RATE_EXPONENT)
        name = f"{size.width}" if size.width == size.height else f"{size}"
        rate = round(max_kbps * share)
        low = round(rate * _LOW_RATE_SHARE)
        level = level_for(size, rate)
        ladder.append(Rendition(name, size, rate, crf, level))
        ladder.append(Rendition(f"{name}-low", size, low, min(51, crf + _LOW_RATE_CRF), level))
    return tuple(ladder)


def sizes_of(ladder: Sequence[Rendition]) -> list[FrameSize]:
    """The sizes of a ladder, each once, in their order."""
    return list(dict.fromkeys(rendition.size for rendition in ladder))


def choose_rendition(ladder: Sequence[Rendition], size: FrameSize, max_kbps: int | None) -> Rendition:
    """The best of a size that keeps to a rate; the lowest of that size where none does."""
    of_size = [rendition for rendition in ladder if rendition.size == size]
    fitting = [r for r in of_size if max_kbps is None or r.max_kbps <= max_kbps]
    return max(fitting, key=lambda r: r.max_kbps) if fitting else min(of_size, key=lambda r: r.max_kbps)


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One H.264 access unit in Annex-B form, with the integer pts (frames) it was made for."""

    pts: int
    access_unit: bytes
    is_idr: bool


@dataclass(frozen=True, slots=True)
class ClipPosition:
    """A place in a clip: which one, and which of its frames."""

    clip: str
    index: int
