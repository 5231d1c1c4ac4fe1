"""Lists of numbers out of pickles, which cannot run anything: the published scripts store coordinates that way.

A pickle names functions to call. The three names that NumPy's numbers need are answered by functions of this module;
any other name is refused before anything has happened (pickle, "Restricting Globals").
"""

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from musetalk_service.errors import CheckpointError

_MAX_BYTES: Final = 16 << 20
_MAX_ROWS: Final = 200_000


def read_boxes(path: Path) -> list[tuple[float, float, float, float]]:
    """Rows of four numbers. Raises :class:`CheckpointError` for anything else, before it could do harm."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{path} is larger than {_MAX_BYTES} bytes")
        rows = _Unpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its opcodes stumble over
        raise CheckpointError(f"{path} is no list of boxes: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(rows, list) or len(rows) > _MAX_ROWS:
        raise CheckpointError(f"{path} holds no list of up to {_MAX_ROWS} boxes")
    for row in rows:
        four = isinstance(row, list | tuple) and len(row) == 4
        if not four or not all(type(number) in (int, float) and abs(number) < 1e6 for number in row):
            raise CheckpointError(f"{path} holds something that is not four numbers")
    return [tuple(row) for row in rows]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _NAMES.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module[:80]}.{name[:80]} is not allowed")
        return found


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


_NAMES: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _dtype,
}
