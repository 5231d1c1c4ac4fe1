"""The mapping to ARKit blend shapes."""

import numpy as np
import pytest

from musetalk_service.engines.builtin.arkit import ARKIT_NAMES, to_arkit
from musetalk_service.engines.builtin.mouth_table import CLASSES, TABLE
from musetalk_service.models.face import REST, Mouth


def shapes(mouth: Mouth) -> dict[str, float]:
    return dict(zip(ARKIT_NAMES, to_arkit(np.array([mouth]))[0].tolist(), strict=True))


def held(name: str) -> dict[str, float]:
    return shapes(Mouth(*TABLE[CLASSES.index(name)].tolist()))


def test_any_mouth_stays_in_range() -> None:
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * len(Mouth._fields)), axis=-1).reshape(-1, len(Mouth._fields))
    result = to_arkit(corners)
    assert result.shape == (1024, len(ARKIT_NAMES))
    assert result.min() >= 0 and result.max() <= 1


def test_rest_is_neutral() -> None:
    assert not any(shapes(REST).values())


def test_left_and_right_agree() -> None:
    values = held("s")
    for name in ARKIT_NAMES:
        if name.endswith("Left"):
            assert values[name] == values[name.removesuffix("Left") + "Right"]


def test_sounds_have_their_shapes() -> None:
    assert max(CLASSES, key=lambda name: held(name)["jawOpen"]) == "aa"
    assert max(CLASSES, key=lambda name: held(name)["mouthPucker"]) == "w"
    assert held("oh")["mouthFunnel"] > 0.5 > held("oh")["mouthPucker"]
    assert held("pbm")["mouthPressLeft"] == 1 and held("pbm")["jawOpen"] == 0
    assert held("fv")["mouthRollLower"] == 1
    assert held("iy")["mouthStretchLeft"] > 0.4
    assert {name for name in CLASSES if held(name)["tongueOut"] > 0} == {"th"}


def test_pressed_lips_are_shut_over_an_open_jaw() -> None:
    values = shapes(Mouth(jaw=0.5, press=1.0, upper_raise=1.0, lower_drop=1.0))
    assert values["mouthClose"] == pytest.approx(values["jawOpen"])
    assert values["mouthUpperUpLeft"] == values["mouthLowerDownLeft"] == 0
