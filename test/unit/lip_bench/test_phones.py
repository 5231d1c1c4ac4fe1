"""Phones to mouths, with and without the recogniser."""

import itertools
import wave
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.engines.builtin.mouth_table import CLASSES
from musetalk_service.lip_bench.arpabet import VOWELS, arpabet_classes, shares
from musetalk_service.lip_bench.phones import Phone, hear_phones, track_phones
from musetalk_service.models.face import Mouth

PRESS = Mouth._fields.index("press")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    with wave.open(str(Path(__file__).parents[3] / "fixtures" / "speech_6s.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def test_arpabet_has_only_known_classes() -> None:
    assert set(CLASSES) >= VOWELS
    assert arpabet_classes("ay") == ["aa", "ih"] and shares(arpabet_classes("ay")) == [0.6, 0.4]
    assert arpabet_classes("m") == ["pbm"] and shares(["pbm"]) == [1.0]
    with pytest.raises(KeyError):
        arpabet_classes("xx")


def test_lips_close_when_a_bilabial_is_spoken(speech: np.ndarray) -> None:
    phones = [
        Phone("sil", 0, 20),
        Phone("aa", 20, 60),
        Phone("b", 60, 70),
        Phone("aa", 70, 110),
        Phone("sil", 110, 200),
    ]
    track = track_phones(speech[:32_000], phones, 320)
    at = {t: int(np.argmin(np.abs(track.t + 0.02 - t))) for t in (0.05, 0.4, 0.65, 0.9, 1.5)}
    assert track.channels[at[0.65], PRESS] == 1 and track.aperture[at[0.65]] == 0
    assert track.aperture[at[0.4]] > 0.12 and track.aperture[at[0.9]] > 0.12
    assert track.aperture[at[0.05]] == track.aperture[at[1.5]] == 0
    assert len(track.t) == 100 and track.classes.shape == (100, len(CLASSES))


def test_phones_need_not_reach_the_end(speech: np.ndarray) -> None:
    track = track_phones(speech[:16_000], [Phone("aa", 0, 30)], 640)
    assert len(track.t) == 25 and track.aperture[-1] == 0


def test_the_recogniser_hears_phones_in_order(speech: np.ndarray) -> None:
    pytest.importorskip("pocketsphinx")
    phones = hear_phones(speech)
    assert sum(phone.name != "sil" for phone in phones) > 20
    assert all(before.stop == after.start for before, after in itertools.pairwise(phones))
    assert {name for phone in phones for name in arpabet_classes(phone.name)} <= set(CLASSES)
