"""The model is found where it may lie, and nothing but the very file is taken for it."""

from pathlib import Path

import pytest

from musetalk_service.models.checkpoint_catalogue import LANDMARKER, SEGMENTER
from musetalk_service.preparation.errors import LandmarkerError, SegmenterError
from musetalk_service.preparation.model_file import FACE_LANDMARKER, PERSON_SEGMENTER, find_model
from support.file_server import FileServer


def test_a_path_that_is_given_is_the_model(landmarker_model: Path, tmp_path: Path) -> None:
    assert find_model(FACE_LANDMARKER, landmarker_model, tmp_path, tmp_path) == landmarker_model


def test_a_model_among_the_checkpoints_is_found(landmarker_model: Path, tmp_path: Path) -> None:
    lies_there = tmp_path / LANDMARKER.path
    lies_there.symlink_to(landmarker_model)
    assert find_model(FACE_LANDMARKER, None, tmp_path, tmp_path / "cache") == lies_there


def test_a_path_without_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LandmarkerError, match=r"FACE_LANDMARKER_PATH: there is no file .*missing"):
        find_model(FACE_LANDMARKER, tmp_path / "missing", tmp_path, tmp_path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / LANDMARKER.path
    other.write_bytes(b"no model")
    with pytest.raises(LandmarkerError, match="is not the face landmarker's model: 8 bytes"):
        find_model(FACE_LANDMARKER, None, tmp_path, tmp_path / "cache")


def test_a_download_is_kept(landmarker_model: Path, tmp_path: Path, file_server: FileServer) -> None:
    target = tmp_path / "cache" / LANDMARKER.path
    url = file_server.add("/model", landmarker_model.read_bytes())
    assert find_model(FACE_LANDMARKER, None, tmp_path, tmp_path / "cache", url=url) == target
    assert target.read_bytes() == landmarker_model.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("content", [b"short", bytes(LANDMARKER.size), bytes(LANDMARKER.size + 1)])
def test_a_wrong_download_leaves_nothing(tmp_path: Path, file_server: FileServer, content: bytes) -> None:
    with pytest.raises(LandmarkerError, match=r"cannot be fetched from .*expected .* Put a copy"):
        find_model(FACE_LANDMARKER, None, tmp_path, tmp_path / "cache", url=file_server.add("/model", content))
    assert not list((tmp_path / "cache").rglob("*"))


def test_an_unreachable_address_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LandmarkerError, match=r"no connection to 127\.0\.0\.1:9.* set FACE_LANDMARKER_PATH"):
        find_model(FACE_LANDMARKER, None, tmp_path, tmp_path / "cache", url="http://127.0.0.1:9/model")


def test_the_segmenter_is_found_among_what_was_fetched(segmenter_model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "cache" / SEGMENTER.path
    kept.parent.mkdir()
    kept.symlink_to(segmenter_model)
    assert find_model(PERSON_SEGMENTER, None, tmp_path, tmp_path / "cache") == kept


def test_for_the_segmenter_nobody_waits(tmp_path: Path) -> None:
    with pytest.raises(SegmenterError, match=r"no connection to 127\.0\.0\.1:9.* set PERSON_SEGMENTER_PATH"):
        find_model(PERSON_SEGMENTER, None, tmp_path, tmp_path / "cache", url="http://127.0.0.1:9/model")
