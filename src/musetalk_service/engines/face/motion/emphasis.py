"""Stresses taken from the voice: the head dips and the brows rise where the speaker is louder than around.

Head nods and raised brows go with prosodic prominence, and the head moves on or shortly before the
stressed syllable (Hadar et al. 1983; Swerts and Krahmer 2010, "Visual prosody of newsreaders"). The
voice is heard a little ahead of the picture, which leaves the head the time to start.
"""

import math
from typing import Final

from musetalk_service.engines.face.motion.curves import FPS
from musetalk_service.models.face import Pose

_FAST: Final = 1.0 - math.exp(-1 / (0.10 * FPS))
"""Share of the newest frame in the loudness of a syllable, of 100 ms."""
_SLOW: Final = 1.0 - math.exp(-1 / (1.2 * FPS))
"""The same in the loudness of a phrase, of 1.2 s."""
_STRESS_FROM: Final = 0.22
"""Syllable over phrase, in units of 11 dB, from which it is a stress: some 2.5 dB."""
_STRESS_FULL: Final = 0.65
_APART: Final = 10
"""Least number of frames from one nod to the next: beats are no faster than 2.5 a second."""
_BROWS_APART: Final = 35
_STRONG: Final = 0.5
"""Strength from which a stress raises the brows too."""
_DOWN, _UP = 4, 9
"""Frames to the deepest point of a nod, and back."""
_HOLD, _BROW_UP, _BROW_DOWN = 3, 4, 7
_ECHO: Final = 0.25
"""Head shift in pixels per degree of a nod, as the clips' own nods have."""


class Emphasis:
    """What one voice adds to the pose, frame after frame."""

    def __init__(self) -> None:
        self._fast = self._slow = 0.0  # the voice's own mean, so that a first word is judged by that
        self._nods: list[tuple[int, float]] = []
        self._brows: list[tuple[int, float]] = []
        self._since_nod, self._since_brow = _APART, _BROWS_APART
        self._armed = True

    def add(self, pose: Pose, loudness: float | None, nod: float, brow: float) -> Pose:
        """One frame on: the pose with this voice's stresses.

        Args:
            pose: what the clip says.
            loudness: against the voice's own mean, in units of 11 dB; None where nobody speaks.
            nod: degrees of the strongest nod.
            brow: raise of the brows, 0 to 1, at the strongest stress.
        """
        self._since_nod += 1
        self._since_brow += 1
        self._listen(loudness)
        self._nods = [(age + 1, height) for age, height in self._nods if age < _DOWN + _UP]
        self._brows = [(age + 1, height) for age, height in self._brows if age < _BROW_UP + _HOLD + _BROW_DOWN]
        if not self._nods and not self._brows:
            return pose
        dip = nod * sum(height * _stroke(age, _DOWN, 0, _UP) for age, height in self._nods)
        lift = brow * sum(height * _stroke(age, _BROW_UP, _HOLD, _BROW_DOWN) for age, height in self._brows)
        return pose._replace(
            pitch=pose.pitch + dip, shift_y=pose.shift_y + _ECHO * dip, brow=min(1.0, max(pose.brow, lift))
        )

    def _listen(self, loudness: float | None) -> None:
        if loudness is None:
            self._fast += _FAST * (self._slow - self._fast)
            self._armed = True
            return
        self._fast += _FAST * (loudness - self._fast)
        self._slow += _SLOW * (loudness - self._slow)
        stress = self._fast - self._slow
        if stress < 0.5 * _STRESS_FROM:
            self._armed = True
        if stress < _STRESS_FROM or not self._armed or self._since_nod < _APART:
            return
        strength = min(1.0, 0.4 + 0.6 * (stress - _STRESS_FROM) / (_STRESS_FULL - _STRESS_FROM))
        self._armed, self._since_nod = False, 0
        self._nods.append((0, strength))
        if strength >= _STRONG and self._since_brow >= _BROWS_APART:
            self._since_brow = 0
            self._brows.append((0, strength))


def _stroke(age: int, rise: int, hold: int, fall: int) -> float:
    """Height in 0..1 of a stroke, so many frames after its beginning; smooth at both ends and at the top."""
    if age < rise:
        part = age / rise
    elif age <= rise + hold:
        return 1.0
    else:
        part = max(0.0, 1.0 - (age - rise - hold) / fall)
    return part * part * (3.0 - 2.0 * part)
