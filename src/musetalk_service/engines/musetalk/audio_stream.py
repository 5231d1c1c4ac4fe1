"""One session's speech for MuseTalk: pushed in any pieces, heard through a rolling 30 s window.

What a frame hears depends on the audio up to its own look-ahead only, never on how much more has come already or in
which pieces, so a stream can be repeated exactly. The window begins where the audio begins until it is full;
from then on it ends where the frame's look-ahead ends.
"""

from typing import Final

import numpy as np

from musetalk_service.engines.base import Pcm
from musetalk_service.engines.musetalk.options import (
    FRAME_SAMPLES,
    LOOK_AHEAD_SAMPLES,
    POSITION_SAMPLES,
    SAMPLE_RATE,
    Listening,
)
from musetalk_service.engines.musetalk.painter import Window

_SILENCE_BEFORE: Final = 1_280
"""Sound in this long before a frame still moves its mouth."""
_BLOCK: Final = 160
_FULL_SCALE: Final = 32_768.0


class AudioStream:
    """The audio of one session. Not thread-safe."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        kept = listening.window_samples + SAMPLE_RATE
        self._buffer = np.zeros(2 * kept, np.int16)
        self._kept = kept
        self._held = 0
        self._begin = 0
        """Position of the first sample since the last gap."""
        self._end = 0

    @property
    def pushed(self) -> int:
        """Position after the last sample."""
        return self._end

    def push(self, pcm: Pcm, position: int) -> None:
        """More audio; ``position`` is that of its first sample. A gap forgets what was before it."""
        if position != self._end or self._begin == self._end:
            self._begin = self._end = position
            self._held = 0
        for piece in np.split(pcm, range(self._kept, len(pcm), self._kept)):
            if self._held + len(piece) > len(self._buffer):
                self._buffer[: self._kept] = self._buffer[self._held - self._kept : self._held]
                self._held = self._kept
            self._buffer[self._held : self._held + len(piece)] = piece
            self._held += len(piece)
            self._end += len(piece)

    def is_silent(self, position: int) -> bool:
        """Whether a frame's surroundings, look-ahead included, are without any sound."""
        sound = self._between(position - _SILENCE_BEFORE, position + LOOK_AHEAD_SAMPLES)
        blocks = np.zeros((-(-len(sound) // _BLOCK) + 1) * _BLOCK)
        blocks[: len(sound)] = sound / _FULL_SCALE
        loudest = np.square(blocks).reshape(-1, _BLOCK).mean(axis=1).max()
        return bool(loudest < 10.0 ** (self._listening.silence_dbfs / 10.0))

    def window(self, position: int) -> Window:
        """What is heard for a frame: the same for all frames of its hop."""
        start = self._hop_of(position)
        length = self._listening.window_samples
        end = start + self._listening.look_ahead_samples
        # A whole number of positions before the frame, so that one position begins where the frame does.
        before = min(-(-(start - self._begin) // POSITION_SAMPLES), (length - (end - start)) // POSITION_SAMPLES)
        left = start - before * POSITION_SAMPLES
        silence = np.zeros(max(self._begin - left, 0), np.int16)
        return Window(np.concatenate([silence, self._between(left, end)]), before, start)

    def _hop_of(self, position: int) -> int:
        frames = (position - self._begin) // FRAME_SAMPLES
        return position - frames % self._listening.hop_frames * FRAME_SAMPLES

    def _between(self, left: int, right: int) -> Pcm:
        """What is there of a range."""
        first = self._end - self._held
        return self._buffer[max(left - first, 0) : max(right - first, 0)][: max(self._end - max(left, first), 0)]
