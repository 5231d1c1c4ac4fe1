"""What the command-line client says, and a record of it: which sample was sent when, and where it is in the audio."""

import time
import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Recording:
    """Mono 16-bit PCM."""

    pcm: bytes
    sample_rate: int

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.sample_rate

    def samples(self, rate: int) -> Samples:
        """At another rate, (n,)."""
        samples = np.frombuffer(self.pcm, "<i2").astype(np.int16)
        return samples if rate == self.sample_rate else soxr.resample(samples, self.sample_rate, rate)


def read_recording(path: Path) -> Recording:
    """A WAV file that the service takes. Raises ValueError that says what to do about another one."""
    try:
        with wave.open(str(path), "rb") as file:
            parameters = file.getparams()
            pcm = file.readframes(parameters.nframes)
    except (wave.Error, EOFError) as cause:
        raise ValueError(f"{path} is no PCM WAV file: {cause}") from cause
    if (parameters.nchannels, parameters.sampwidth) != (1, 2) or not 8_000 <= parameters.framerate <= 48_000:
        raise ValueError(
            f"{path} is not mono, 16 bit, 8 to 48 kHz; try: ffmpeg -i {path} -ac 1 -ar 16000 -c:a pcm_s16le new.wav"
        )
    return Recording(pcm, parameters.framerate)


@dataclass(frozen=True)
class SentChunk:
    """One chunk on its way."""

    at: float
    """`time.monotonic()`, in seconds."""
    start_ms: float
    """Place of its first sample in the session's audio."""


@dataclass
class SpokenUtterance:
    """What was sent of one recording."""

    start_ms: float
    sample_rate: int
    paced: bool
    """In real time, not in a burst."""
    pcm: bytearray = field(default_factory=bytearray)
    chunks: list[SentChunk] = field(default_factory=list)

    @property
    def end_ms(self) -> float:
        return self.start_ms + len(self.pcm) / 2 * 1000 / self.sample_rate

    def add(self, chunk: bytes) -> None:
        """Note a chunk at the moment it is sent."""
        self.chunks.append(SentChunk(time.monotonic(), self.end_ms))
        self.pcm += chunk


@dataclass
class SpokenAudio:
    """The session's audio as the server counts it: all that was sent, one utterance after the other."""

    utterances: list[SpokenUtterance] = field(default_factory=list)

    def begin(self, sample_rate: int, paced: bool) -> SpokenUtterance:
        """A new utterance after the others."""
        start_ms = self.utterances[-1].end_ms if self.utterances else 0.0
        self.utterances.append(SpokenUtterance(start_ms, sample_rate, paced))
        return self.utterances[-1]

    def recording(self, sample_rate: int | None = None) -> Recording | None:
        """All of it at one rate, that of the first utterance unless named; None when nothing was sent."""
        sent = [utterance for utterance in self.utterances if utterance.pcm]
        if not sent:
            return None
        rate = sample_rate or sent[0].sample_rate
        parts = [Recording(bytes(utterance.pcm), utterance.sample_rate).samples(rate) for utterance in sent]
        return Recording(np.concatenate(parts).astype("<i2").tobytes(), rate)
