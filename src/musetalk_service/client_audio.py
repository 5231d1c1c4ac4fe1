"""What the client library keeps of the audio it sent: as much as a resumed session might have to send again."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

CHUNK_MS = 40
BYTES_PER_SAMPLE = 2
SERVICE_RATE = 16_000
_RESAMPLER_MS = 30.0
"""At other rates the server's resampler holds so much back, which is then not counted as received."""


def cut(pcm: bytes, sample_rate: int) -> Iterator[bytes]:
    """Chunks of 40 ms of mono 16-bit `pcm`. Raises ValueError for half a sample."""
    if len(pcm) % BYTES_PER_SAMPLE:
        raise ValueError(f"16-bit samples need an even number of bytes, not {len(pcm)}")
    size = sample_rate * CHUNK_MS // 1000 * BYTES_PER_SAMPLE
    return (pcm[start : start + size] for start in range(0, len(pcm), size))


def duration_ms(pcm: bytes, sample_rate: int) -> float:
    """Of mono 16-bit audio."""
    return len(pcm) / BYTES_PER_SAMPLE * 1000 / sample_rate


@dataclass
class _Sent:
    text: str
    duration_ms: float
    """0 for END_OF_SPEECH and INTERRUPT."""
    slack_ms: float
    end_ms: float = 0.0
    """Where it ends in the session's audio, if all before it was accepted."""


class SentAudio:
    """Messages with audio, and END_OF_SPEECH and INTERRUPT between them, that the server may not have got.

    Bounded by the server's backlog: what has been played is forgotten.
    """

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque()
        self._end_ms = 0.0

    def __len__(self) -> int:
        return len(self._sent)

    def add_audio(self, text: str, duration_ms: float, sample_rate: int) -> None:
        """One chunk, sent or about to be."""
        slack_ms = 0.0 if sample_rate == SERVICE_RATE else _RESAMPLER_MS
        self._append(_Sent(text, duration_ms, slack_ms))

    def add_end_of_speech(self, text: str) -> None:
        """The end of an utterance, in its place between the chunks."""
        self._append(_Sent(text, 0.0, 0.0))

    def add_interrupt(self, text: str) -> None:
        """What was sent till now shall not be heard any more."""
        self._sent.clear()
        self._append(_Sent(text, 0.0, 0.0))

    def played(self, audio_timestamp_ms: int) -> None:
        """A frame follows the audio at this position: what comes before it has arrived."""
        while self._sent and self._sent[0].end_ms <= audio_timestamp_ms:
            self._sent.popleft()

    def refused(self) -> None:
        """The server's backlog had no room for a chunk, whose place in the audio the next one takes."""
        self._end_ms -= CHUNK_MS
        for sent in self._sent:
            sent.end_ms -= CHUNK_MS

    def unreceived(self, audio_received_ms: int) -> list[str]:
        """What to send again to a server that has accepted so much, in order."""
        arrived = 0
        for count, sent in enumerate(self._sent, 1):
            # audio_received_ms is cut to whole milliseconds. What is no audio has arrived if audio after it has.
            if sent.duration_ms and audio_received_ms >= int(sent.end_ms - sent.slack_ms):
                arrived = count
        for _ in range(arrived):
            self._sent.popleft()
        self._end_ms = float(audio_received_ms)
        for sent in self._sent:
            self._place(sent)
        return [sent.text for sent in self._sent]

    def _append(self, sent: _Sent) -> None:
        self._place(sent)
        self._sent.append(sent)

    def _place(self, sent: _Sent) -> None:
        self._end_ms += sent.duration_ms
        sent.end_ms = self._end_ms
