"""Fixtures for all tests."""

import os
from collections.abc import Iterator
from importlib import util
from pathlib import Path

import pytest

from musetalk_service.preparation.errors import SegmenterError
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.model_file import PERSON_SEGMENTER, find_model
from support.file_server import FileServer, serve_files
from support.server_process import ServerProcess

FIXTURES = Path(__file__).parents[1] / "fixtures"
_INTEROP = Path(__file__).parent / "interop"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs servers and browsers by the wall clock: beside other tests it would be starved of it."""
    for item in items:
        if _INTEROP in item.path.parents or "live_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.wall_clock)


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


@pytest.fixture(scope="session")
def landmarker_model() -> Path:
    """The face landmarker's model; tests that need it are skipped without it."""
    path = os.environ.get("FACE_LANDMARKER_PATH")
    if not path:
        pytest.skip("FACE_LANDMARKER_PATH is not set")
    if util.find_spec("mediapipe") is None:
        pytest.skip("MediaPipe is not installed: make avatars")
    return Path(path)


@pytest.fixture(scope="session")
def landmarker(landmarker_model: Path) -> Iterator[FaceLandmarker]:
    """Finds faces, in pictures of any kind."""
    with FaceLandmarker(landmarker_model) as tool:
        yield tool


@pytest.fixture(scope="session")
def segmenter_model(cache_dir: Path) -> Path:
    """The person segmenter's model, fetched once as the service does; tests that need it are skipped without it."""
    path = os.environ.get("PERSON_SEGMENTER_PATH")
    try:
        return find_model(PERSON_SEGMENTER, Path(path) if path else None, cache_dir, cache_dir)
    except SegmenterError as error:
        pytest.skip(error.message)


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server of files on this machine, which is reached without a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serve_files() as files:
        yield files


@pytest.fixture
def other_file_server() -> Iterator[FileServer]:
    """On another port: another origin."""
    with serve_files() as files:
        yield files
