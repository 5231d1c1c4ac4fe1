"""A drawn face: the default avatar's."""

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.avatar import load_default_avatar

Picture = NDArray[np.uint8]


@pytest.fixture(scope="session")
def portrait() -> Picture:
    """The default avatar's picture, (512, 512, 3) BGR."""
    return load_default_avatar().portrait


@pytest.fixture(scope="session")
def landmarks() -> NDArray[np.float32]:
    """The default avatar's landmarks, (478, 3)."""
    return load_default_avatar().landmarks
