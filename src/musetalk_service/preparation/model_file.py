"""The face landmarker's model: found on disk, or fetched once from its official address and checked."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from musetalk_service.preparation.errors import LandmarkerError

MODEL_NAME: Final = "face_landmarker.task"
MODEL_URL: Final = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
MODEL_SHA256: Final = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_BYTES: Final = 3_758_596
_TIMEOUT_S: Final = 30.0
_PIECE: Final = 1 << 16


def find_model(path: Path | None, model_path: Path, cache_dir: Path, *, url: str = MODEL_URL) -> Path:
    """The model's file.

    Args:
        path: the file itself, FACE_LANDMARKER_PATH; None looks further.
        model_path: folder of checkpoints, MODEL_PATH, where the file may lie.
        cache_dir: where it is kept once it has been fetched.
        url: where it comes from.

    Raises:
        LandmarkerError: not there, not the model that this version knows, or not to be had.
    """
    if path is not None:
        if not path.is_file():
            raise LandmarkerError(f"FACE_LANDMARKER_PATH: there is no file {path}")
        _check(path.read_bytes(), str(path))
        return path
    for folder in (model_path, cache_dir):
        candidate = folder / MODEL_NAME
        if candidate.is_file():
            _check(candidate.read_bytes(), str(candidate))
            return candidate
    return fetch_model(cache_dir / MODEL_NAME, url)


def fetch_model(target: Path, url: str = MODEL_URL) -> Path:
    """Download the model, check it, and put it in its place whole.

    Raises:
        LandmarkerError: not reachable, larger than it may be, or another file.
    """
    try:
        with urlopen(url, timeout=_TIMEOUT_S) as answer:
            content = _read(answer, url)
    except (URLError, OSError) as error:
        raise LandmarkerError(
            f"the face landmarker's model cannot be fetched from {url} ({getattr(error, 'reason', error)}); "
            "set FACE_LANDMARKER_PATH to a copy of it"
        ) from error
    _check(content, url)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".face-landmarker-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _read(answer: object, url: str) -> bytes:
    """The body, or an error as soon as it is longer than the model."""
    read = getattr(answer, "read")  # noqa: B009  (urlopen's result has no common type)
    pieces, size = [], 0
    while piece := read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > MODEL_BYTES:
            raise LandmarkerError(f"{url} sends more than the {MODEL_BYTES} bytes of the face landmarker's model")
    return b"".join(pieces)


def _check(content: bytes, origin: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != MODEL_SHA256:
        raise LandmarkerError(
            f"{origin} is not the face landmarker's model: {len(content)} bytes with sha256 {digest}, "
            f"expected {MODEL_BYTES} with {MODEL_SHA256}"
        )
