"""Plain values out of pickles, which cannot run anything: the published scripts store coordinates that way.

A pickle names functions to call. The few names that plain numbers and tensors need are answered by functions of this
package; any other name is refused before anything has happened (pickle, "Restricting Globals").
"""

import pickle
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from musetalk_service.preparation.errors import NotOfficialError

_MAX_BYTES: Final = 16 << 20
_MAX_ROWS: Final = 200_000

Names = Mapping[tuple[str, str], Any]
"""What a pickle may call, by module and name, and what answers."""


def read_boxes(path: Path) -> list[tuple[float, float, float, float]]:
    """Rows of four numbers. Raises :class:`NotOfficialError` for anything else, before it could do harm."""
    check_file(path, _MAX_BYTES)
    try:
        with path.open("rb") as file:
            rows = load_plain(file, _NUMBERS)
    except OSError as error:
        raise NotOfficialError(f"{path.name} cannot be read: {error.strerror}") from None
    except Exception as error:  # a damaged pickle raises whatever its opcodes stumble over
        raise NotOfficialError(f"{path.name} is no list of boxes: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(rows, list) or len(rows) > _MAX_ROWS:
        raise NotOfficialError(f"{path.name} holds no list of up to {_MAX_ROWS} boxes")
    for row in rows:
        four = isinstance(row, list | tuple) and len(row) == 4
        if not four or not all(type(number) in (int, float) and abs(number) < 1e6 for number in row):
            raise NotOfficialError(f"{path.name} holds something that is not four numbers")
    return [tuple(row) for row in rows]


def check_file(path: Path, max_bytes: int) -> int:
    """The size of a file. Raises :class:`NotOfficialError` where it is none, a link, or too large."""
    try:
        status = path.lstat()
    except OSError as error:
        raise NotOfficialError(f"{path.name} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise NotOfficialError(f"{path.name} is a link, or no file")
    if status.st_size > max_bytes:
        raise NotOfficialError(f"{path.name} is larger than {max_bytes} bytes")
    return status.st_size


def load_plain(file: IO[bytes], names: Names, storages: Callable[[Any], Any] | None = None) -> Any:
    """A pickle's value.

    Args:
        file: where it is read from.
        names: all that it may call.
        storages: answers what it refers to outside of itself; None refuses that.

    Raises:
        Exception: any, for a pickle that is damaged or names something else.
    """
    return _Unpickler(file, names, storages).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], names: Names, storages: Callable[[Any], Any] | None) -> None:
        super().__init__(file)
        self._names, self._storages = names, storages

    def find_class(self, module: str, name: str) -> Any:
        found = self._names.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module[:80]}.{name[:80]} is not allowed")
        return found

    def persistent_load(self, pid: Any) -> Any:
        if self._storages is None:
            raise pickle.UnpicklingError("it refers to something outside of itself")
        return self._storages(pid)


def _dtype(kind: object, *_: object) -> "np.dtype[Any]":
    """Numbers only."""
    if not isinstance(kind, str) or not re.fullmatch(r"[<>=|]?[iuf][1248]", kind):
        raise pickle.UnpicklingError("a type that is no number")
    return np.dtype(kind)


def _scalar(dtype: object, content: object) -> int | float:
    if not isinstance(dtype, np.dtype) or not isinstance(content, bytes) or len(content) != dtype.itemsize:
        raise pickle.UnpicklingError("a number that is none")
    number: int | float = np.frombuffer(content, dtype)[0].item()
    return number


_NUMBERS: Final[Names] = {
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _dtype,
}
