"""The models that avatars are made with: found on disk, or fetched once from their addresses and checked."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from musetalk_service.errors import DownloadError
from musetalk_service.models.checkpoint_catalogue import LANDMARKER, SEGMENTER, ModelFile
from musetalk_service.preparation.errors import LandmarkerError, PreparationError, SegmenterError
from musetalk_service.utils.download import Downloader
from musetalk_service.utils.http_source import HttpSource
from musetalk_service.utils.model_download import fetch_model_file

_LONGEST_WAIT_S: Final = 30.0
"""Somebody waits for the avatar."""


@dataclass(frozen=True, slots=True)
class NeededModel:
    """A model, and what is said and tried when it is not there."""

    file: ModelFile
    name: str
    setting: str
    """Names a file of one's own."""
    error: type[PreparationError]
    timeout_s: float
    retries: int


FACE_LANDMARKER: Final = NeededModel(
    LANDMARKER, "the face landmarker's model", "FACE_LANDMARKER_PATH", LandmarkerError, timeout_s=30.0, retries=2
)
# Avatars are made without it, too: in a closed network nobody waits for long.
PERSON_SEGMENTER: Final = NeededModel(
    SEGMENTER, "the person segmenter's model", "PERSON_SEGMENTER_PATH", SegmenterError, timeout_s=5.0, retries=0
)


def find_model(
    needed: NeededModel,
    path: Path | None,
    model_path: Path,
    cache_dir: Path,
    *,
    url: str | None = None,
    downloader: Downloader | None = None,
) -> Path:
    """The model's file.

    Args:
        needed: which.
        path: the file itself, as the setting names it; None looks further.
        model_path: folder of checkpoints, MODEL_PATH, where the file may lie.
        cache_dir: where it is kept once it has been fetched.
        url: where it comes from; None: its official address.
        downloader: fetches it.

    Raises:
        PreparationError: of the model's kind: not there, not the model that this version knows, or not to be had.
    """
    file = needed.file
    if path is not None:
        if not path.is_file():
            raise needed.error(f"{needed.setting}: there is no file {path}")
        _check(needed, path)
        return path
    target = cache_dir / file.path
    for candidate in (model_path / file.path, target):
        if candidate.is_file():
            _check(needed, candidate)
            return candidate
    address = url or file.url
    assert address is not None
    source = downloader or Downloader(
        HttpSource(needed.timeout_s), retries=needed.retries, longest_wait_s=_LONGEST_WAIT_S
    )
    try:
        fetch_model_file(source, file, address, target)
    except DownloadError as error:
        raise needed.error(
            f"{needed.name} cannot be fetched from {address}: {error}. Put a copy of it into "
            f"{model_path}, or set {needed.setting} to one"
        ) from error
    return target


def _check(needed: NeededModel, path: Path) -> None:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != needed.file.sha256:
        raise needed.error(
            f"{path} is not {needed.name}: {len(content)} bytes with sha256 {digest}, "
            f"expected {needed.file.size} with {needed.file.sha256}"
        )
