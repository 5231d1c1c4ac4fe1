"""The media units that travel through the stages, and the constants that all stages share."""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Rendition:
    """One form in which the picture is encoded: all sessions with the same one share its idle packets."""

    name: str
    size: int
    """Pixels of a side."""
    max_kbps: int
    """Peak rate of the VBV model."""
    crf: int
    level: int
    """H.264 level times ten: the smallest that the size and rate allow at 25 fps (table A-1)."""


_LEVELS = {512: 31, 384: 22, 256: 21}
_RATE_SHARES = {512: 1.0, 384: 0.6, 256: 0.35}
_LOW_RATE_SHARE = 0.5
_LOW_RATE_CRF = 6
"""Higher by this, x264 needs about half the bits."""


def make_renditions(crf: int, max_kbps: int) -> tuple[Rendition, ...]:
    """The ladder, best first: three sizes, each at its full rate and at half of it."""
    ladder = []
    for size, share in _RATE_SHARES.items():
        rate = round(max_kbps * share)
        ladder.append(Rendition(f"{size}", size, rate, crf, _LEVELS[size]))
        low = round(rate * _LOW_RATE_SHARE)
        ladder.append(Rendition(f"{size}-low", size, low, min(51, crf + _LOW_RATE_CRF), _LEVELS[size]))
    return tuple(ladder)


def choose_rendition(ladder: Sequence[Rendition], size: int, max_kbps: int | None) -> Rendition:
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
