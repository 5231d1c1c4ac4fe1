"""Fixtures for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server_process import ServerProcess

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="session")
def cache_dir(pytestconfig: pytest.Config) -> Path:
    """Where servers keep idle packets, kept between runs; MUSETALK_TEST_CACHE names another place."""
    chosen = os.environ.get("MUSETALK_TEST_CACHE")
    assert pytestconfig.cache is not None
    return Path(chosen) if chosen else pytestconfig.cache.mkdir("musetalk-service")


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[str]:
    """The address ("http://127.0.0.1:PORT") of a server process that all tests share."""
    server = ServerProcess(tmp_path_factory.mktemp("server"), cache_dir)
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def speech() -> bytes:
    """Two seconds of synthetic speech, 16 kHz mono s16le, without its WAV header."""
    return (FIXTURES / "speech_like_2s.wav").read_bytes()[44:]
