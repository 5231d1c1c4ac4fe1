"""What every session hears of its own speech, whatever engine draws it: the mouth, and how loud the voice is.

It runs beside every engine, so that falling back to the built-in one is instant, and feeds what is not
drawn at all: blend shapes for clients that animate a face of their own, and the stresses of the head.
"""

from typing import NamedTuple

import numpy as np

from musetalk_service.engines.base import Pcm
from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEADS, MouthStream
from musetalk_service.engines.builtin.mouth_table import SILENCE, to_mouth
from musetalk_service.engines.builtin.network import MouthNetwork
from musetalk_service.models.face import REST, Mouth

_SHUT_FIRST_STEP = 0.35
"""Share of an open mouth that is left in the first of the two frames in which it shuts."""
_VOICED_FROM = 0.5
"""Probability of any sound from which a frame counts as spoken."""


class Heard(NamedTuple):
    """One frame of speech."""

    mouth: Mouth
    loudness: float | None
    """Against the voice's own mean, in units of 11 dB; None where nobody speaks."""


_NOTHING = Heard(REST, None)


class Voice:
    """The speech of one session. Not thread-safe."""

    def __init__(self, network: MouthNetwork, look_ahead_ms: int = LOOK_AHEADS[-1]) -> None:
        """ValueError for a look-ahead that the network does not have."""
        self._mouths = MouthStream(network, look_ahead_ms)
        self._shown = REST
        self._shutting = False

    def push(self, pcm: Pcm, position: int) -> None:
        """More audio; ``position`` is that of its first sample. A gap drops what was queued before it."""
        if position != self._mouths.pushed:
            self._mouths.reset(position)
        self._mouths.push(pcm)

    def hear(self, position: int | None) -> Heard:
        """What is spoken at an audio position, asked for in rising order; without one the mouth shuts in two frames."""
        if position is None:
            left = 0.0 if self._shutting else _SHUT_FIRST_STEP
            self._shutting = True
            self._shown = Mouth(*(left * np.asarray(self._shown)).tolist())
            return Heard(self._shown, None)
        self._shutting = False
        sounds = self._mouths.sounds_at(position)
        if sounds is None:
            self._shown = REST
            return _NOTHING
        self._shown = to_mouth(*sounds)
        voiced = 1.0 - float(sounds.posteriors[SILENCE]) >= _VOICED_FROM
        return Heard(self._shown, sounds.level if voiced else None)
