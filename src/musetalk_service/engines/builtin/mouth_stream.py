"""One session's mouth: 16 kHz speech in, the mouth of any instant out, up to 127.5 ms of look-ahead."""

import functools
from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_table import CLASSES, SILENCE, to_mouth
from musetalk_service.engines.builtin.network import LOOK_AHEADS, STACK, STEP_MS, MouthNetwork, load_network
from musetalk_service.models.face import REST, Mouth

__all__ = ["LOOK_AHEADS", "MouthNetwork", "MouthStream", "Sounds", "load_network", "look_ahead_samples"]

LEAD = 320
"""Samples from a position to the instant shown: a video frame stays for 40 ms, so it shows its middle."""

_STEP = STACK * mel.HOP
_WARM_UP_FRAMES = 128  # the network hears 1.26 s
_BEFORE = 10  # frames before an instant that shape its mouth, and after it
_AFTER = 10
_HISTORY = _BEFORE + 2 + LOOK_AHEADS[-1] // STEP_MS * STACK
_PIECE = mel.SAMPLE_RATE // 2  # samples processed at once, at most
_REST_AFTER = mel.SAMPLE_RATE // 2  # so long after the last sample the mouth is at rest in any case
_INERTIA = 4.0  # frames of 10 ms; a gesture of the lips takes some 100 ms from one shape to the next
_CONTACT_REACH = 2  # frames to either side of an instant in which a closure counts: those of its video frame
_SILENT = np.zeros((1, len(LOOK_AHEADS), len(CLASSES)), np.float32)
_SILENT[:, :, SILENCE] = 1.0
_SILENT.flags.writeable = False


def look_ahead_samples(look_ahead_ms: int) -> int:
    """Samples after a position that its exact mouth needs, by the look-ahead of the network's head.

    Off the 20 ms grid up to 240 more. ValueError for what is not one of `LOOK_AHEADS`.
    """
    if look_ahead_ms not in LOOK_AHEADS:
        raise ValueError(f"no head looks {look_ahead_ms} ms ahead, only {', '.join(map(str, LOOK_AHEADS))}")
    return LEAD + (look_ahead_ms // STEP_MS + 1) * _STEP + mel.REACH - mel.HOP


class _State:
    """What the network has made of the samples up to some position. Arrays are replaced, never written."""

    __slots__ = ("first", "frames", "hidden", "level", "levels", "mel", "posteriors")

    def __init__(self, network: MouthNetwork, level: mel.LevelState) -> None:
        self.mel = mel.initial_mel()
        self.level = level
        # A stream begins after silence, which is not the same to the network as after nothing.
        _, silence = mel.normalise(level, np.full((_WARM_UP_FRAMES, mel.BANDS), mel.LOWEST, np.float32))
        self.hidden, _ = network.run(network.initial(), silence)
        self.frames = np.zeros((0, mel.BANDS), np.float32)
        """Normalised frames that wait for their pair, at most one."""
        self.first = -_HISTORY
        """Index of the first frame in `posteriors` and in `levels`."""
        self.posteriors: NDArray[np.float32] = np.repeat(_SILENT, _HISTORY, axis=0)
        """What the heads said when each frame had come, of frames their look-ahead before it."""
        self.levels = np.full(_HISTORY, mel.LEAST, np.float32)
        """Mean of each normalised frame."""

    def copy(self) -> "_State":
        """Return a state that goes on by itself."""
        other = object.__new__(_State)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    def feed(self, network: MouthNetwork, samples: NDArray[np.float32]) -> None:
        """Take samples (n,) in -1..1."""
        self.mel, frames = mel.log_mel(self.mel, samples)
        self.level, frames = mel.normalise(self.level, frames)
        frames = np.concatenate((self.frames, frames))
        whole = len(frames) // STACK * STACK
        self.frames = frames[whole:]
        if whole:
            self.hidden, posteriors = network.run(self.hidden, frames[:whole])
            self.posteriors = np.concatenate((self.posteriors, posteriors))
            self.levels = np.concatenate((self.levels, mel.mean_level(frames[:whole])))

    def forget(self, before: int) -> None:
        """Drop the frames before index `before`."""
        surplus = min(before - self.first, len(self.posteriors))
        if surplus > 0:
            self.posteriors, self.levels = self.posteriors[surplus:], self.levels[surplus:]
            self.first += surplus


@functools.lru_cache(maxsize=64)
def _weights(part: float, count: int) -> NDArray[np.float32]:
    """Shares of `count` frames from `_BEFORE` before one on, for an instant `part` of a frame after it; sum 1."""
    distance = np.arange(count) - _BEFORE - part
    weights = np.exp(-0.5 * (distance / _INERTIA) ** 2)
    shares: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    shares.flags.writeable = False
    return shares


class Sounds(NamedTuple):
    """What is heard at one instant: the arguments of `to_mouth`."""

    posteriors: NDArray[np.float32]
    """Probability of each class over the time in which lips move from one shape to another, shape (classes,)."""
    nearby: NDArray[np.float32]
    """The unsmoothed ones of the video frame's own time, shape (4, classes)."""
    level: float
    """Loudness over the same time against the voice's own mean, in units of 11 dB."""


class MouthStream:
    """The mouth that one stream of speech makes. Not thread-safe.

    Samples wait in a queue till a mouth needs them, so that the work is spread evenly over the frames; what
    has been used is dropped. Memory is the queue and some 30 kB.
    """

    def __init__(self, network: MouthNetwork, look_ahead_ms: int = LOOK_AHEADS[-1]) -> None:
        """Start at position 0. ValueError for a look-ahead that no head of the network has."""
        self.LOOK_AHEAD_SAMPLES = look_ahead_samples(look_ahead_ms)
        # The look-ahead of every head that may be asked, in frames: what the best has not judged yet, the next has.
        self._delays = [ahead // STEP_MS * STACK for ahead in LOOK_AHEADS if ahead <= look_ahead_ms]
        self._network = network
        self._origin = 0
        self._pushed = 0
        self._queue: deque[NDArray[np.int16]] = deque()
        self._state = _State(network, mel.initial_level())
        self._fed = 0

    @property
    def pushed(self) -> int:
        """The position after the last pushed sample."""
        return self._pushed

    @property
    def state_bytes(self) -> int:
        """Size of the arrays that are kept from one chunk to the next."""
        state = self._state
        kept = (state.mel.tail, state.level.mean, *state.hidden, state.frames, state.posteriors, state.levels)
        return sum(array.nbytes for array in kept) + sum(piece.nbytes for piece in self._queue)

    def push(self, pcm: NDArray[np.int16]) -> None:
        """Append speech: 16 kHz mono, shape (n,), any length."""
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise ValueError("speech must be a one-dimensional array of int16")
        if pcm.size:
            self._queue.append(pcm.copy())
            self._pushed += pcm.size

    def mouth_at(self, position: int) -> Mouth:
        """Return the mouth at `position`, in samples since the stream began; ask in non-decreasing order.

        What has not been pushed yet counts as silence, for this answer only.
        """
        sounds = self.sounds_at(position)
        return REST if sounds is None else to_mouth(*sounds)

    def sounds_at(self, position: int) -> Sounds | None:
        """What the mouth at `position` is made of, asked for as `mouth_at` is; None outside the speech."""
        if position < self._origin or position >= self._pushed + _REST_AFTER:
            return None
        # Frame k is centred on sample 160 k + 80: the instant lies between frames low and low + 1.
        offset = position + LEAD - self._origin - mel.HOP // 2
        low = offset // mel.HOP
        stop = ((low + 2) // STACK + 1) * STACK + self._delays[-1]
        needed = self._origin + stop * mel.HOP - mel.HOP + mel.REACH
        self._feed_queue(min(needed, self._pushed))
        self._state.forget(low - _BEFORE)
        state = self._state
        if needed > self._fed:
            state = state.copy()
            state.feed(self._network, np.zeros(needed - self._fed, np.float32))
        return self._weigh(state, low, offset / mel.HOP - low, stop)

    def _weigh(self, state: _State, low: int, part: float, stop: int) -> Sounds:
        """Sounds at `part` of the way from frame `low` to the next, of what was heard before frame `stop`."""
        first, last = low - _BEFORE, min(low + _AFTER, stop - 1)
        rows = []
        for head in range(len(self._delays) - 1, -1, -1):
            delay = self._delays[head]
            until = min(stop - delay, last + 1)
            rows.append(state.posteriors[first + delay - state.first : until + delay - state.first, head])
            first = until
        posteriors = np.concatenate(rows)
        weights = _weights(part, len(posteriors))
        begin = low - _BEFORE - state.first
        level = float(weights @ state.levels[begin : begin + len(posteriors)])
        at = _BEFORE + 1 - _CONTACT_REACH
        return Sounds(weights @ posteriors, posteriors[at : at + 2 * _CONTACT_REACH], level)

    def reset(self, position: int) -> None:
        """Forget everything queued; the next pushed sample has this position. The voice's level is kept."""
        self._origin = self._pushed = self._fed = position
        self._queue.clear()
        self._state = _State(self._network, self._state.level)

    def _feed_queue(self, until: int) -> None:
        """Run the network up to position `until`, all of which has been pushed."""
        while self._fed < until:
            pieces: list[NDArray[np.int16]] = []
            wanted = min(until - self._fed, _PIECE)
            self._fed += wanted
            while wanted:
                piece = self._queue.popleft()
                if piece.size > wanted:
                    self._queue.appendleft(piece[wanted:])
                    piece = piece[:wanted]
                pieces.append(piece)
                wanted -= piece.size
            self._state.feed(self._network, np.concatenate(pieces).astype(np.float32) / np.float32(32768.0))
