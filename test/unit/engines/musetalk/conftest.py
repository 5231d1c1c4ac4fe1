"""Small random checkpoints for all tests of the MuseTalk engine."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from support.musetalk_files import write_musetalk

    torch.set_num_threads(1)
    return write_musetalk(tmp_path_factory.mktemp("models"))
