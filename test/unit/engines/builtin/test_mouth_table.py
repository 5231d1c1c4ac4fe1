"""The class table and its gates."""

import numpy as np
import pytest

from musetalk_service.engines.builtin.mouth_measures import APERTURE
from musetalk_service.engines.builtin.mouth_table import CLASSES, TABLE, to_mouth
from musetalk_service.models.face import REST, Mouth


def _rows(*weighted: tuple[str, float]) -> np.ndarray:
    row = np.zeros(len(CLASSES), np.float32)
    for name, weight in weighted:
        row[CLASSES.index(name)] = weight
    return row


def _held(name: str) -> Mouth:
    row = _rows((name, 1.0))
    return to_mouth(row, np.tile(row, (4, 1)), 0.0)


def test_the_table_is_complete_and_in_range() -> None:
    assert TABLE.shape == (27, len(Mouth._fields))
    assert TABLE.min() >= 0 and TABLE.max() <= 1


def test_silence_is_exactly_rest() -> None:
    assert _held("sil") == REST
    nearly = _rows(("sil", 0.95), ("aa", 0.05))
    assert to_mouth(nearly, np.tile(nearly, (4, 1)), 0.0) == REST


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("pbm", "fv")])
def test_a_held_class_shows_its_row(name: str) -> None:
    np.testing.assert_allclose(_held(name), TABLE[CLASSES.index(name)], atol=1e-6)


def test_bilabials_press_and_labiodentals_tuck() -> None:
    assert _held("pbm").press == 1 and _held("pbm").jaw == 0
    assert _held("fv").tuck == 1 and _held("fv").teeth_upper == 1 and _held("fv").press == 0


def test_a_closure_over_most_of_a_video_frame_closes() -> None:
    vowel, closed = _rows(("aa", 1.0)), _rows(("aa", 0.1), ("pbm", 0.9))
    mouth = to_mouth(0.4 * vowel + 0.6 * closed, np.stack((vowel, closed, closed, closed)), 0.0)
    assert mouth.press > 0.75 and mouth.jaw < 0.15


def test_a_doubt_between_the_contacts_leaves_the_lips_shut() -> None:
    either = _rows(("pbm", 0.5), ("fv", 0.5))
    mouth = to_mouth(either, np.tile(either, (4, 1)), 0.0)
    assert mouth.press + mouth.tuck == pytest.approx(1.0) and mouth.press > 0.3 and mouth.tuck > 0.3


def test_louder_opens_a_little_wider() -> None:
    row = _rows(("ae", 1.0))
    around = np.tile(row, (4, 1))
    quiet, loud = to_mouth(row, around, -1.5).jaw, to_mouth(row, around, 1.5).jaw
    assert quiet < loud < 1.6 * quiet


def test_vowels_are_ordered_as_lips_are() -> None:
    opening = dict(zip(CLASSES, TABLE @ APERTURE, strict=True))
    assert opening["aa"] > opening["eh"] > opening["ey"] > opening["ao"] > opening["uw"] > opening["w"]
    assert opening["kg"] > opening["r"] and opening["sh"] > opening["uw"]


def test_a_consonant_of_the_tongue_takes_the_lips_of_its_vowel() -> None:
    both = _rows(("uw", 0.5), ("tdn", 0.5))
    mixed = to_mouth(both, np.tile(both, (4, 1)), 0.0)
    middle = 0.5 * (_held("uw").round + _held("tdn").round)
    assert middle < mixed.round < _held("uw").round


def test_h_takes_the_opening_of_its_vowel() -> None:
    both = _rows(("iy", 0.5), ("h", 0.5))
    assert abs(to_mouth(both, np.tile(both, (4, 1)), 0.0).jaw - _held("iy").jaw) < 0.05


@pytest.mark.parametrize("name", ["th", "tdn", "l"])
def test_the_tip_of_the_tongue_insists_against_vowels(name: str) -> None:
    both = _rows(("aa", 0.5), (name, 0.5))
    middle = 0.5 * (_held("aa").tongue + _held(name).tongue)
    assert middle + 0.05 < to_mouth(both, np.tile(both, (4, 1)), 0.0).tongue < _held(name).tongue
