"""The default avatar, prepared once."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import musetalk_service
from musetalk_service.engines.face.renderer import FaceRenderer

DEFAULT = Path(musetalk_service.__file__).parent / "assets" / "default_avatar"


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    picture = cv2.imread(str(DEFAULT / "portrait.png"))
    assert picture is not None
    return np.asarray(picture, dtype=np.uint8)


@pytest.fixture(scope="session")
def landmarks() -> NDArray[np.float32]:
    return np.array(json.loads((DEFAULT / "landmarks.json").read_text())["points"], dtype=np.float32)


@pytest.fixture(scope="session")
def renderer(portrait: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> FaceRenderer:
    return FaceRenderer(portrait, landmarks)
