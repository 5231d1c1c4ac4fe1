"""From a client's chunks to the position that the mouth follows.

:class:`AudioIntake` turns chunks of any rate into 16 kHz samples; :class:`AudioTimeline` counts them
and says, once a tick, which position the next frame belongs to. Both are pure: time comes in as an
argument.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from musetalk_service.errors import InvalidMessageError, RateLimitError
from musetalk_service.models.media import (
    FRAME_MS,
    FRAME_SECONDS,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    ms_to_samples,
    samples_to_ms,
)
from musetalk_service.models.messages import AudioChunk

Pcm = NDArray[np.int16]

_CONTEXT_SAMPLES = SAMPLE_RATE
"""Audio kept behind the playhead, so that another host can pick the speech up in the middle."""
_SILENCE_DBFS = -50.0
"""A block (40 ms) under this is silent, whatever the noise."""
_OVER_NOISE_DB = 12.0
"""A block less than this over the noise floor is silent too."""
_NOISE_RISE_DB_PER_BLOCK = 0.12
"""How fast the noise floor climbs (3 dB a second); it falls at once, as it does between any two words."""
_AHEAD_TOLERANCE_S = 0.12
"""Audio that comes earlier than real time by more than this is a burst, not a live microphone."""
_CLOCK_DRIFT = 1e-3
"""How much faster than ours a live client's clock may run before its audio looks like a burst."""
_STRETCH_GAP_S = 1.0
"""Without audio for this long, the next audio begins a new stretch."""


_NOTHING: Pcm = np.empty(0, np.int16)


class AudioIntake:
    """Decodes one session's chunks and resamples them, keeping the resampler's state between chunks.

    In two steps, so that a chunk can be refused for want of room before it has left a trace.
    """

    def __init__(self, chunk_max_ms: int) -> None:
        self._chunk_max_ms = chunk_max_ms
        self._rate = SAMPLE_RATE
        self._resampler: soxr.ResampleStream | None = None

    def decode(self, chunk: AudioChunk) -> Pcm:
        """The chunk's samples at its own rate, (n,) int16, n > 0.

        Raises :class:`InvalidMessageError` for bad base64, no or half samples, or too long a chunk.
        """
        pcm = np.frombuffer(chunk.pcm(), "<i2")
        if not len(pcm):
            raise InvalidMessageError("audio_chunk.data is empty", field="data.audio_chunk.data")
        duration_ms = len(pcm) * 1000 / chunk.sample_rate
        if duration_ms > self._chunk_max_ms:
            raise InvalidMessageError(
                f"the chunk holds {duration_ms:.0f} ms; at most {self._chunk_max_ms} ms are allowed",
                field="data.audio_chunk.data",
                max_ms=self._chunk_max_ms,
            )
        return pcm

    def resample(self, pcm: Pcm, rate: int) -> Pcm:
        """Samples at 16 kHz, (n,) int16; n may be 0 while a resampler fills."""
        tail = self.flush() if rate != self._rate else _NOTHING
        self._rate = rate
        if rate == SAMPLE_RATE:
            return np.concatenate([tail, pcm]) if len(tail) else pcm
        if self._resampler is None:
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="int16")
        return np.concatenate([tail, self._resampler.resample_chunk(pcm)])

    def flush(self) -> Pcm:
        """What the resampler still holds, up to 30 ms; the next chunk begins anew."""
        resampler, self._resampler = self._resampler, None
        return _NOTHING if resampler is None else np.asarray(resampler.resample_chunk(_NOTHING, last=True), np.int16)


@dataclass
class _Piece:
    """At most one frame's worth of accepted audio with its place on the timeline."""

    position: int
    samples: Pcm
    silent: bool


class AudioTimeline:
    """One session's audio, counted in samples accepted since INIT, and the playhead in it.

    ``look_ahead`` and ``jitter`` are in samples, ``backlog_limit`` in samples of unplayed audio.
    """

    def __init__(self, *, look_ahead: int, jitter: int, backlog_limit: int) -> None:
        self.look_ahead = look_ahead
        self.jitter = jitter
        self._limit = backlog_limit
        self._pieces: deque[_Piece] = deque()
        self._playhead = 0
        self._accepted = 0
        self._playing = False
        self._flush = False
        self._waiting_since: float | None = None
        """When audio came after there had been none."""
        self._ready_since: float | None = None
        """When there was so much of it that the first frame's look-ahead was complete."""
        # A stretch is audio without a long pause. Its anchor is the time at which its position 0 would
        # have been spoken; live audio never comes before it has been spoken, a burst does.
        self._anchor = self._first_anchor = self._stretch_start = 0.0
        self._burst = False
        self._last_push = float("-inf")
        self._noise_dbfs = _SILENCE_DBFS
        self.trimmed = 0

    def hear_ahead(self, look_ahead: int) -> None:
        """Another engine looks so many samples ahead; what plays goes on."""
        self.look_ahead = look_ahead

    @property
    def _enough(self) -> int:
        """Samples that a first frame waits for."""
        return max(SAMPLES_PER_FRAME, self.look_ahead)

    @property
    def accepted(self) -> int:
        """Samples accepted since INIT."""
        return self._accepted

    @property
    def queued(self) -> int:
        """Samples that wait to be played."""
        return self._accepted - self._playhead

    @property
    def accepted_ms(self) -> int:
        """Whole milliseconds accepted since INIT."""
        return samples_to_ms(self._accepted)

    @property
    def queued_ms(self) -> int:
        """Whole milliseconds that wait to be played."""
        return samples_to_ms(self.queued)

    @property
    def playhead(self) -> int:
        """The next sample to be played."""
        return self._playhead

    @property
    def target_delay(self) -> int:
        """Samples between a chunk's arrival and the frame that is planned for it."""
        return self.look_ahead + self.jitter

    def push(self, samples: Pcm, now: float) -> None:
        """Append audio; :meth:`check_room` comes before it."""
        if not len(samples):
            return
        if self.queued == 0:
            self._waiting_since, self._ready_since = now, None
        self._note_arrival(len(samples), now)
        for start in range(0, len(samples), SAMPLES_PER_FRAME):
            block = samples[start : start + SAMPLES_PER_FRAME]
            self._pieces.append(_Piece(self._accepted, block, self._is_silent(block)))
            self._accepted += len(block)
        self._flush = False
        if self._ready_since is None and self.queued >= self._enough:
            self._ready_since = now

    def check_room(self, samples: int) -> None:
        """Raises :class:`RateLimitError` when so many more samples would make the backlog too long."""
        excess = self.queued + samples - self._limit
        if excess > 0:
            raise RateLimitError(
                f"{samples_to_ms(self.queued)} ms of audio are queued; at most {samples_to_ms(self._limit)} ms fit",
                retry_after_ms=(math.ceil(excess / SAMPLES_PER_FRAME) + 1) * FRAME_MS,
                queued_ms=samples_to_ms(self.queued),
            )

    def end_of_speech(self) -> None:
        """No more audio for this utterance: its tail does not wait for look-ahead."""
        self._flush = True

    def interrupt(self) -> tuple[int, int]:
        """Skip what is queued; returns (played, dropped) in samples, since INIT and now."""
        played, dropped = self._playhead, self.queued
        self._playhead = self._accepted
        self._playing = False
        self._forget()
        return played, dropped

    def next_position(self, now: float) -> int | None:
        """Advance by one frame: the position the next frame shows, or None while there is nothing to play."""
        if not self._playing:
            if not self._may_start(now):
                return None
            self._playing = True
        self._trim_silence(now)
        if not self.queued:
            self._playing = False  # an underrun, or the end: what comes next is buffered anew
            return None
        position = self._playhead
        self._playhead += min(SAMPLES_PER_FRAME, self.queued)
        self._forget()
        return position

    def voice_until(self, end: int) -> bool:
        """Whether anything but silence lies between the frame just played and ``end``."""
        start = self._playhead - SAMPLES_PER_FRAME
        return any(not piece.silent for piece in self._between(start, end))

    def audio(self, start: int, end: int) -> tuple[int, Pcm]:
        """The accepted samples of [start, end) that are still kept: (position of the first, samples)."""
        parts = []
        first = max(start, self._pieces[0].position) if self._pieces else start
        for piece in self._between(first, end):
            begin, stop = max(first, piece.position), min(end, piece.position + len(piece.samples))
            parts.append(piece.samples[begin - piece.position : stop - piece.position])
        return first, np.concatenate(parts) if parts else _NOTHING

    # --- helpers ---

    def _may_start(self, now: float) -> bool:
        if not self.queued:
            return False
        if self._flush or self.queued >= self._enough + self.jitter:
            return True
        # With its look-ahead there, live audio waits for the jitter setting; a chunk that comes late
        # by less than that is then still in time. Too short an utterance waits for the whole delay.
        ready, waiting = self._ready_since, self._waiting_since
        if ready is not None and now - ready >= self.jitter / SAMPLE_RATE:
            return True
        return waiting is not None and now - waiting >= self.target_delay / SAMPLE_RATE

    def _note_arrival(self, samples: int, now: float) -> None:
        anchor = now - (self._accepted + samples) / SAMPLE_RATE
        if now - self._last_push > _STRETCH_GAP_S:
            self._anchor = self._first_anchor = anchor
            self._stretch_start, self._burst = now, False
        earliest = self._first_anchor - _AHEAD_TOLERANCE_S - _CLOCK_DRIFT * (now - self._stretch_start)
        self._burst = self._burst or anchor < earliest
        self._anchor = min(self._anchor, anchor)
        self._last_push = now

    def _trim_silence(self, now: float) -> None:
        """Live audio that plays later than the target delay catches up in its silences."""
        if self._burst:
            return
        spoken_at = self._anchor + (self._playhead + SAMPLES_PER_FRAME) / SAMPLE_RATE
        excess = now - spoken_at - self.target_delay / SAMPLE_RATE - 2 * FRAME_SECONDS
        if excess > 0 and self.queued >= 2 * SAMPLES_PER_FRAME + self.target_delay and self._head_is_silent():
            self._playhead += SAMPLES_PER_FRAME
            self.trimmed += SAMPLES_PER_FRAME

    def _head_is_silent(self) -> bool:
        return all(piece.silent for piece in self._between(self._playhead, self._playhead + 2 * SAMPLES_PER_FRAME))

    def _between(self, start: int, end: int) -> Iterator[_Piece]:
        """The kept pieces that overlap [start, end), in order."""
        for piece in self._pieces:
            if piece.position >= end:
                return
            if piece.position + len(piece.samples) > start:
                yield piece

    def _is_silent(self, block: Pcm) -> bool:
        power = float(np.mean(np.square(block, dtype=np.float64))) / 32768.0**2
        level = 10.0 * math.log10(power + 1e-10)
        self._noise_dbfs = min(level, self._noise_dbfs + _NOISE_RISE_DB_PER_BLOCK)
        return level < max(_SILENCE_DBFS, self._noise_dbfs + _OVER_NOISE_DB)

    def _forget(self) -> None:
        keep = self._playhead - _CONTEXT_SAMPLES
        while self._pieces and self._pieces[0].position + len(self._pieces[0].samples) <= keep:
            self._pieces.popleft()


def make_timeline(look_ahead: int, jitter_ms: int, backlog_s: float) -> AudioTimeline:
    """A timeline from settings in their own units."""
    return AudioTimeline(
        look_ahead=look_ahead, jitter=ms_to_samples(jitter_ms), backlog_limit=int(backlog_s * SAMPLE_RATE)
    )
