"""What is there of the models, and whether it is what it should be."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from musetalk_service.errors import DownloadError
from musetalk_service.model_files.lock import Lock
from musetalk_service.models.checkpoint_catalogue import Model, ModelFile
from musetalk_service.utils.download import Observer

State = Literal["ok", "unknown", "wrong", "missing"]
"""``unknown``: there, and not compared with anything."""
Summary = Literal["ready", "incomplete", "wrong", "missing"]
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a model."""

    model: str
    path: str
    """Relative to MODEL_PATH; where another file does as well, that one."""
    state: State
    is_needed: bool
    size: int | None = None
    sha256: str | None = None
    """Of what is there, where it was read."""
    expected_sha256: str | None = None
    detail: str = ""
    """What is wrong, in words."""


def glance(model_path: Path, model: Model, lock: Lock) -> list[Found]:
    """By presence and size, in no time."""
    return [_find(model_path, model, file, lock, None) for file in model.files]


def examine(model_path: Path, model: Model, lock: Lock, observer: Observer) -> list[Found]:
    """By reading every byte. Raises :class:`DownloadError` where a file cannot be read."""
    return [_find(model_path, model, file, lock, observer) for file in model.files]


def summarise(found: Sequence[Found]) -> Summary:
    """One word for a model, about the files that are needed."""
    states = [item.state for item in found if item.is_needed]
    if "wrong" in states:
        return "wrong"
    if "missing" not in states:
        return "ready"
    return "missing" if set(states) == {"missing"} else "incomplete"


def present_file(model_path: Path, file: ModelFile) -> str | None:
    """The path of the file, or of one that does as well; None: neither is there."""
    return next((path for path in (file.path, *file.instead) if (model_path / path).is_file()), None)


def _find(model_path: Path, model: Model, file: ModelFile, lock: Lock, observer: Observer | None) -> Found:
    path = present_file(model_path, file)
    if path is None:
        return Found(model.name, file.path, "missing", file.is_needed, expected_sha256=file.sha256)
    recorded = lock.files.get(path)
    expected, right_size = (file.sha256, file.size) if path == file.path and file.sha256 else (None, None)
    if expected is None and recorded is not None:
        expected, right_size = recorded.sha256, recorded.size
    try:
        size = (model_path / path).stat().st_size
        if right_size is not None and size != right_size:
            state, digest, detail = "wrong", None, f"{size} bytes, expected {right_size}"
        elif observer is None:
            state, digest, detail = "unknown", None, ""
        else:
            digest = _hash(model_path / path, size, observer)
            state = "unknown" if expected is None else "ok" if digest == expected else "wrong"
            detail = f"sha256 {digest}, expected {expected}" if state == "wrong" else ""
    except OSError as error:
        raise DownloadError(f"{model_path / path} cannot be read: {error.strerror}") from None
    return Found(model.name, path, state, file.is_needed, size, digest, expected, detail)  # type: ignore[arg-type]


def _hash(path: Path, size: int, observer: Observer) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            observer.progress(done, size)
    return digest.hexdigest()
