"""The face landmarker's model: found on disk, or fetched once from its official address and checked."""

import hashlib
from pathlib import Path
from typing import Final

from musetalk_service.errors import DownloadError
from musetalk_service.models.checkpoint_catalogue import LANDMARKER
from musetalk_service.preparation.errors import LandmarkerError
from musetalk_service.utils.download import Downloader
from musetalk_service.utils.http_source import HttpSource

MODEL_NAME: Final = LANDMARKER.path
_TIMEOUT_S: Final = 30.0
_RETRIES: Final = 2
_LONGEST_WAIT_S: Final = 30.0
"""Somebody waits for the avatar."""


def find_model(
    path: Path | None,
    model_path: Path,
    cache_dir: Path,
    *,
    url: str | None = None,
    downloader: Downloader | None = None,
) -> Path:
    """The model's file.

    Args:
        path: the file itself, FACE_LANDMARKER_PATH; None looks further.
        model_path: folder of checkpoints, MODEL_PATH, where the file may lie.
        cache_dir: where it is kept once it has been fetched.
        url: where it comes from; None: its official address.
        downloader: fetches it.

    Raises:
        LandmarkerError: not there, not the model that this version knows, or not to be had.
    """
    if path is not None:
        if not path.is_file():
            raise LandmarkerError(f"FACE_LANDMARKER_PATH: there is no file {path}")
        _check(path)
        return path
    target = cache_dir / MODEL_NAME
    for candidate in (model_path / MODEL_NAME, target):
        if candidate.is_file():
            _check(candidate)
            return candidate
    address = url or LANDMARKER.url
    assert address is not None
    source = downloader or Downloader(HttpSource(_TIMEOUT_S), retries=_RETRIES, longest_wait_s=_LONGEST_WAIT_S)
    try:
        source.fetch(address, target, sha256=LANDMARKER.sha256, size=LANDMARKER.size)
    except DownloadError as error:
        raise LandmarkerError(
            f"the face landmarker's model cannot be fetched from {address}: {error}. Put a copy of it into "
            f"{model_path}, or set FACE_LANDMARKER_PATH to one"
        ) from error
    return target


def _check(path: Path) -> None:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != LANDMARKER.sha256:
        raise LandmarkerError(
            f"{path} is not the face landmarker's model: {len(content)} bytes with sha256 {digest}, "
            f"expected {LANDMARKER.size} with {LANDMARKER.sha256}"
        )
