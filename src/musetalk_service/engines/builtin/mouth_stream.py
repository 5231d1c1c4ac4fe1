"""One session's mouth: 16 kHz speech in, the mouth of any instant out, 107.5 ms of look-ahead."""

from collections import deque
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_table import CLASSES, SILENCE, to_mouth
from musetalk_service.engines.builtin.network import STACK, MouthNetwork, load_network
from musetalk_service.models.face import REST, Mouth

__all__ = ["LOOK_AHEAD_STEPS", "MouthNetwork", "MouthStream", "Sounds", "load_network", "relax"]

LOOK_AHEAD_STEPS = 3
"""Steps of 20 ms that the network waits before it judges a frame."""

LEAD = 320
"""Samples from a position to the instant shown: a video frame stays for 40 ms, so it shows its middle."""

_STEP = STACK * mel.HOP
_LAG = LOOK_AHEAD_STEPS * STACK
_WARM_UP_FRAMES = 128  # the network hears 1.26 s
_KEPT_FRAMES = 8  # frames kept before the one that was asked for
_PIECE = mel.SAMPLE_RATE // 2  # samples processed at once, at most
_REST_AFTER = mel.SAMPLE_RATE // 2  # so long after the last sample the mouth is at rest in any case
_RELEASE = np.float32(np.exp(-10.0 / 60.0))  # a 10 ms frame's share of a decay of 60 ms: lips close gently
_KERNEL = np.array([0.26, 0.48, 0.26], np.float32)  # Gaussian, sigma 9 ms: closures survive it
_KERNEL.flags.writeable = False
_SILENT = np.zeros((1, len(CLASSES)), np.float32)
_SILENT[0, SILENCE] = 1.0
_SILENT.flags.writeable = False


def relax(posteriors: NDArray[np.float32], before: NDArray[np.float32]) -> NDArray[np.float32]:
    """Let the last sound fade out while silence sets in: rows (n, classes), after the relaxed row `before`.

    The probability of all sounds together falls no faster than by `_RELEASE` a frame; what that adds has the
    proportions of the row before.
    """
    relaxed: NDArray[np.float32] = posteriors.copy()
    for row in relaxed:
        missing = (1.0 - before[SILENCE]) * _RELEASE - (1.0 - row[SILENCE])
        if missing > 0.0:
            share = missing / (1.0 - before[SILENCE])
            silence = row[SILENCE] - missing
            row += share * before
            row[SILENCE] = silence
        before = row
    return relaxed


class _State:
    """What the network has made of the samples up to some position. Arrays are replaced, never written."""

    __slots__ = ("first", "frames", "hidden", "level", "levels", "mel", "posteriors", "relaxed")

    def __init__(self, network: MouthNetwork, level: mel.LevelState) -> None:
        self.mel = mel.initial_mel()
        self.level = level
        # A stream begins after silence, which is not the same to the network as after nothing.
        _, silence = mel.normalise(level, np.full((_WARM_UP_FRAMES, mel.BANDS), mel.LOWEST, np.float32))
        self.hidden, _ = network.run(network.initial(), silence)
        self.frames = np.zeros((0, mel.BANDS), np.float32)
        """Normalised frames that wait for their pair, at most one."""
        self.first = -_LAG
        """Index of the first frame in `posteriors` and in `levels`."""
        self.posteriors = np.zeros((0, len(CLASSES)), np.float32)
        self.relaxed = self.posteriors
        """The same with silence setting in gradually, as lips come to rest after a sound."""
        self.levels = np.zeros(_LAG, np.float32)
        """Mean of each normalised frame; runs the look-ahead further than `posteriors`."""

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
            before = self.relaxed[-1] if len(self.relaxed) else _SILENT[0]
            self.relaxed = np.concatenate((self.relaxed, relax(posteriors, before)))
            self.posteriors = np.concatenate((self.posteriors, posteriors))
            self.levels = np.concatenate((self.levels, frames[:whole].mean(axis=1)))

    def forget(self, before: int) -> None:
        """Drop the frames before index `before`."""
        surplus = min(before - self.first, len(self.posteriors))
        if surplus > 0:
            self.posteriors, self.relaxed = self.posteriors[surplus:], self.relaxed[surplus:]
            self.levels = self.levels[surplus:]
            self.first += surplus


class Sounds(NamedTuple):
    """What is heard at one instant: the arguments of `to_mouth`."""

    posteriors: NDArray[np.float32]
    """Probability of each class, smoothed and with silence setting in gradually, shape (classes,)."""
    nearby: NDArray[np.float32]
    """The unsmoothed ones of the frames around, shape (4, classes)."""
    level: float
    """Loudness against the voice's own mean, in units of 11 dB."""


class MouthStream:
    """The mouth that one stream of speech makes. Not thread-safe.

    Samples wait in a queue till a mouth needs them, so that the work is spread evenly over the frames; what
    has been used is dropped. Memory is the queue and some 30 kB.
    """

    LOOK_AHEAD_SAMPLES: ClassVar[int] = LEAD + (LOOK_AHEAD_STEPS + 1) * _STEP + mel.REACH - mel.HOP
    """Samples after a position that its exact mouth needs; off the 20 ms grid up to 240 more."""

    def __init__(self, network: MouthNetwork) -> None:
        """Start at position 0. ValueError for a network of another look-ahead."""
        if network.look_ahead != LOOK_AHEAD_STEPS:
            raise ValueError(f"the network looks {network.look_ahead} steps ahead, not {LOOK_AHEAD_STEPS}")
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
        weight = offset / mel.HOP - low
        step = (low + 2) // STACK + LOOK_AHEAD_STEPS
        needed = self._origin + step * _STEP + _STEP - mel.HOP + mel.REACH
        self._feed_queue(min(needed, self._pushed))
        self._state.forget(low - _KEPT_FRAMES)
        state = self._state
        if needed > self._fed:
            state = state.copy()
            state.feed(self._network, np.zeros(needed - self._fed, np.float32))
        at = low - state.first
        relaxed = state.relaxed[at - 1 : at + 3]
        smooth = (1.0 - weight) * (_KERNEL @ relaxed[:3]) + weight * (_KERNEL @ relaxed[1:])
        level = (1.0 - weight) * float(state.levels[at]) + weight * float(state.levels[at + 1])
        return Sounds(smooth.astype(np.float32), state.posteriors[at - 1 : at + 3], level)

    def reset(self, position: int) -> None:
        """Forget everything queued; the next pushed sample has this position. The voice's level is kept."""
        self._origin = self._pushed = self._fed = position
        self._queue.clear()
        self._state = _State(self._network, self._state.level)

    def _feed_queue(self, until: int) -> None:
        """Run the network up to position `until`, all of which has been pushed."""
        while self._fed < until:
            piece = self._queue.popleft()
            size = min(piece.size, until - self._fed, _PIECE)
            if size < piece.size:
                self._queue.appendleft(piece[size:])
            self._state.feed(self._network, piece[:size].astype(np.float32) / np.float32(32768.0))
            self._fed += size
