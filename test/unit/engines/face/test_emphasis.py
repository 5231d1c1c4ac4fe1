"""Stresses of the voice: one nod for each, none out of silence, never faster than a head can."""

import numpy as np
import pytest

from musetalk_service.engines.face.motion import CLIP_FRAMES, make_clip, stresses_of
from musetalk_service.engines.face.motion.emphasis import Emphasis
from musetalk_service.models.face import NEUTRAL, Pose


def _perform(loudness: list[float | None], nod: float = 2.0, brow: float = 0.5) -> list[Pose]:
    emphasis = Emphasis()
    return [emphasis.add(NEUTRAL, level, nod, brow) for level in loudness]


def _voice(seconds: int, stressed: tuple[int, ...], height: float = 1.2) -> list[float | None]:
    """Syllables of five frames around the mean, some of them stressed (by their index)."""
    return [(height if n // 5 in stressed else 0.0) - 0.3 * abs(n % 5 - 2) for n in range(25 * seconds)]


def _nods(poses: list[Pose]) -> list[int]:
    pitch = np.array([pose.pitch for pose in poses])
    return np.flatnonzero((pitch[1:-1] > pitch[:-2]) & (pitch[1:-1] >= pitch[2:]) & (pitch[1:-1] > 0.2)).tolist()


def test_silence_and_a_steady_voice_move_nothing() -> None:
    assert set(_perform([None] * 100)) == {NEUTRAL}
    assert set(_perform([0.3] * 100)) == {NEUTRAL}


def test_a_voice_that_begins_is_no_stress() -> None:
    assert set(_perform([None] * 25 + [0.2] * 25)) == {NEUTRAL}


def test_each_stress_is_a_nod_at_its_syllable() -> None:
    poses = _perform(_voice(6, (6, 13, 22)))
    nods = _nods(poses)
    assert len(nods) == 3
    for nod, syllable in zip(nods, (6, 13, 22), strict=True):
        assert 0 <= nod - 5 * syllable <= 8
    assert max(pose.pitch for pose in poses) <= 2.0 + 1e-9
    assert poses[-1] == NEUTRAL


def test_stronger_stresses_nod_deeper_and_raise_the_brows() -> None:
    weak, strong = _perform(_voice(3, (6,), 0.9)), _perform(_voice(3, (6,), 2.5))
    assert max(p.pitch for p in strong) > 1.2 * max(p.pitch for p in weak) > 0
    assert 0.3 < max(p.brow for p in strong) <= 0.5


@pytest.mark.parametrize("stressed", [range(0, 50), range(3, 50, 2)], ids=["all", "every other"])
def test_nods_keep_the_pace_of_a_head(stressed: range) -> None:
    nods = _nods(_perform(_voice(10, tuple(stressed), 1.5)))
    assert np.diff(nods).min(initial=10) >= 10


def test_brows_that_the_clip_raises_are_not_lowered() -> None:
    emphasis = Emphasis()
    raised = NEUTRAL._replace(brow=0.9)
    assert all(emphasis.add(raised, level, 2.0, 0.4).brow == 0.9 for level in _voice(4, (6, 12), 2.5))


def test_movement_has_no_steps() -> None:
    poses = np.array(_perform(_voice(6, (6, 13, 22), 2.0)))
    pitch = Pose._fields.index("pitch")
    assert np.abs(np.diff(poses[:, pitch])).max() <= 0.45 * 2.0
    assert np.abs(np.diff(poses[:, Pose._fields.index("brow")])).max() <= 0.25


@pytest.mark.parametrize("clip", CLIP_FRAMES)
def test_clip_and_voice_together_stay_where_the_renderer_is_clean(clip: str) -> None:
    nod, brow = stresses_of(clip)
    assert make_clip(clip)[:, Pose._fields.index("pitch")].max() + nod <= 7.0
    assert brow <= 1.0
    assert (nod == 0.0) == clip.startswith("action")
