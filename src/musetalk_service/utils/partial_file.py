"""A file that is still coming: written beside its place, kept when the connection breaks, moved when it is whole.

``NAME`` comes as ``.NAME.part``; ``.NAME.part.json`` says of which version of the file those bytes are.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

_PIECE: Final = 1 << 20


def bytes_there(target: Path) -> int:
    """How much of a file has come in earlier tries."""
    try:
        return _part(target).stat().st_size
    except OSError:
        return 0


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


class PartialFile:
    """What has come of a file so far, and its SHA-256. A context manager; one process at a time, others wait."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._path = _part(target)
        self._note = target.with_name(f".{target.name}.part.json")
        self._file: BinaryIO
        self._digest = hashlib.sha256()
        self.size = 0
        """Bytes there."""
        self.tag = ""
        """Which version of the file they belong to, as :meth:`begin` was told; empty: not known."""

    def __enter__(self) -> "PartialFile":
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open_alone()
        while piece := self._file.read(_PIECE):
            self._digest.update(piece)
            self.size += len(piece)
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            self.tag = str(json.loads(self._note.read_text("utf-8")).get("tag", ""))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._file.closed:
            if self.size == 0:
                self._remove()
            with contextlib.suppress(OSError):  # what a full disk refused is asked for again
                self._file.close()

    @property
    def sha256(self) -> str:
        """Of the bytes there."""
        return self._digest.hexdigest()

    def begin(self, tag: str) -> None:
        """Throw away what is there; what comes now is of the version ``tag``."""
        self._file.seek(0)
        self._file.truncate()
        self._digest, self.size, self.tag = hashlib.sha256(), 0, tag
        self._note.write_text(json.dumps({"tag": tag}), "utf-8")

    def write(self, piece: bytes) -> None:
        """Append. Raises :class:`OSError`."""
        self._file.write(piece)
        self._digest.update(piece)
        self.size += len(piece)

    def finish(self) -> None:
        """Put the file in its place, whole; the one that was there before is gone. Raises :class:`OSError`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.replace(self.target)
        self._note.unlink(missing_ok=True)
        self._file.close()

    def _open_alone(self) -> BinaryIO:
        while True:
            self._path.touch()
            try:
                file = self._path.open("r+b")
            except FileNotFoundError:  # moved in this moment
                continue
            fcntl.flock(file, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):
                    return file
            file.close()  # whoever was waited for has moved or removed it

    def _remove(self) -> None:
        for path in (self._path, self._note):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
