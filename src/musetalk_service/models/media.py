"""The media units that travel through the stages, and the constants that all stages share."""

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
