"""``musetalk-service.lock.json``: which files were fetched, from where, with which checksum, under which licence."""

import os
import tempfile
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from musetalk_service.errors import DownloadError

LOCK_NAME: Final = "musetalk-service.lock.json"


class LockEntry(BaseModel):
    """One file as it was when it was fetched."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    checked: bool
    """Whether the checksum was known before; else it is what came that time."""
    url: str
    fetched: str
    """UTC, ISO 8601."""
    licence: str
    """As it was shown and accepted."""


class Lock(BaseModel):
    """All of them, by their path under MODEL_PATH."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1] = 1
    files: dict[str, LockEntry] = {}


def read_lock(model_path: Path) -> Lock:
    """Empty where there is none. Raises :class:`DownloadError` where it is damaged."""
    path = model_path / LOCK_NAME
    try:
        return Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Lock()
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise DownloadError(f"{path} is damaged ({where}: {problem['msg']}); remove it to begin a new one") from None
    except OSError as error:
        raise DownloadError(f"{path} cannot be read: {error.strerror}") from None


def record(model_path: Path, path: str, entry: LockEntry) -> None:
    """Add or replace one file's entry; the lock is written aside and renamed. Raises :class:`DownloadError`."""
    lock = read_lock(model_path)
    lock.files[path] = entry
    try:
        handle, temporary = tempfile.mkstemp(dir=model_path, prefix=".lock-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o644)  # mkstemp's are for their owner alone
                file.write(lock.model_dump_json(indent=2) + "\n")
            Path(temporary).replace(model_path / LOCK_NAME)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DownloadError(f"{model_path / LOCK_NAME} cannot be written: {error.strerror}") from None
