"""The default avatar, prepared once."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import musetalk_service
from musetalk_service.engines.face.landmarks import EYES
from support.faces import BgrRenderer, as_sent

DEFAULT = Path(musetalk_service.__file__).parent / "assets" / "default_avatar"


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    picture = cv2.imread(str(DEFAULT / "portrait.png"))
    assert picture is not None
    return np.asarray(picture, dtype=np.uint8)


@pytest.fixture(scope="session")
def seen(portrait: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The portrait as a picture of its own would show it."""
    return as_sent(portrait)


@pytest.fixture(scope="session")
def landmarks() -> NDArray[np.float32]:
    return np.array(json.loads((DEFAULT / "landmarks.json").read_text())["points"], dtype=np.float32)


@pytest.fixture(scope="session")
def renderer(portrait: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> BgrRenderer:
    return BgrRenderer(portrait, landmarks)


@pytest.fixture(scope="session")
def dark_portrait(portrait: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The default avatar in the same light with skin and lips that reflect a fifth of it."""
    keep = np.zeros(portrait.shape[:2], np.uint8)
    for eye in EYES:
        cv2.fillPoly(keep, [landmarks[[*eye.upper_lid, *eye.lower_lid[-2:0:-1]], :2].astype(np.int32)], 255)
    outside = np.ones_like(keep)
    cv2.fillPoly(outside, [cv2.convexHull(landmarks[:468, :2].astype(np.int32))], 0)
    skin = 1.0 - np.maximum(keep / 255.0, outside)[..., None]
    linear = (portrait / 255.0) ** 2.2
    changed = linear * (1.0 - skin * (1.0 - 0.2 * np.array([0.85, 0.93, 1.06])))
    return np.asarray(np.round(255.0 * changed ** (1 / 2.2)), np.uint8)
