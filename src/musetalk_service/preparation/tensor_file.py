"""A list of tensors that ``torch.save`` has written, read with NumPy: no torch is needed, and nothing is executed.

Since torch 1.6 such a file is a zip of a pickle, which may call here what makes a tensor of a storage and nothing
else, and of one member per storage with its plain numbers (torch, "Serialization semantics").
"""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_service.preparation.errors import NotOfficialError
from musetalk_service.preparation.plain_pickle import Names, check_file, load_plain

_MAX_FILE_BYTES: Final = 4 << 30
_MAX_TABLE_BYTES: Final = 64 << 20
_BYTES_OF: Final = {"HalfStorage": 2, "BFloat16Storage": 2, "FloatStorage": 4, "DoubleStorage": 8}


class _Storage(NamedTuple):
    kind: str
    member: str


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class TensorFile:
    """A file whose numbers are read when they are asked for."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Read the table of tensors.

        Args:
            path: of the file.
            shape: that all of them have to have.

        Raises:
            NotOfficialError: no file of torch's zip form, or other content than a list of such tensors.
        """
        check_file(path, _MAX_FILE_BYTES)
        self._path, self._shape = path, shape
        held, self._root = self._opened(self._read_table)
        wrong = not isinstance(held, list) or any(type(t) is not _Tensor or t.size != shape for t in held)
        if wrong or not held or not all(_is_plain(tensor) for tensor in held):
            raise NotOfficialError(f"{path.name} is no list of tensors of the shape {shape}")
        self._tensors: list[_Tensor] = held

    def __len__(self) -> int:
        return len(self._tensors)

    def read(self, wanted: Sequence[int]) -> NDArray[np.float32]:
        """(len(wanted), *shape). Raises :class:`NotOfficialError` for damaged or not finite numbers."""
        values: NDArray[np.float32] = self._opened(
            lambda archive: np.stack([self._numbers(archive, self._tensors[index]) for index in wanted])
        )
        if not np.isfinite(values).all():
            raise NotOfficialError(f"{self._path.name} holds numbers that are not finite")
        return values

    def _opened(self, read: Callable[[zipfile.ZipFile], Any]) -> Any:
        try:
            with zipfile.ZipFile(self._path) as archive:
                return read(archive)
        except NotOfficialError:
            raise
        except pickle.UnpicklingError as error:
            raise NotOfficialError(f"{self._path.name} holds more than tensors, {error}") from None
        except Exception as error:  # damaged archives and pickles raise whatever they stumble over
            reason = " ".join(str(error).split())[:200]
            raise NotOfficialError(f"{self._path.name} cannot be read: {reason}") from None

    @staticmethod
    def _read_table(archive: zipfile.ZipFile) -> tuple[Any, str]:
        tables = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(tables) != 1:
            raise ValueError("no file of torch.save")
        root = tables[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist():
            with archive.open(f"{root}byteorder") as member:
                if member.read(8).strip() != b"little":
                    raise ValueError("written on a machine of another byte order")
        if archive.getinfo(tables[0]).file_size > _MAX_TABLE_BYTES:
            raise ValueError(f"its table is larger than {_MAX_TABLE_BYTES} bytes")
        with archive.open(tables[0]) as member:
            return load_plain(member, _NAMES, _storage), root

    def _numbers(self, archive: zipfile.ZipFile, tensor: _Tensor) -> NDArray[np.float32]:
        kind, width = tensor.storage.kind, _BYTES_OF[tensor.storage.kind]
        member = archive.getinfo(f"{self._root}data/{tensor.storage.member}")
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError("its numbers are compressed")
        count = int(np.prod(self._shape))
        with archive.open(member) as file:
            file.seek(tensor.offset * width)
            content = file.read(count * width)
        if len(content) != count * width:
            raise ValueError("its numbers end early")
        if kind == "BFloat16Storage":
            return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(self._shape)
        return np.frombuffer(content, f"<f{width}").astype(np.float32).reshape(self._shape)


def _is_plain(tensor: _Tensor) -> bool:
    """Whether its numbers lie one after the other."""
    step = 1
    for length, stride in zip(reversed(tensor.size), reversed(tensor.stride), strict=True):
        if length != 1 and stride != step:
            return False
        step *= length
    return True


def _storage(pid: object) -> _Storage:
    """(``storage``, type, member, device, numbers): the device it was on does not matter."""
    known = isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and pid[1] in _BYTES_OF
    if not known or not isinstance(pid[2], str) or not re.fullmatch(r"\d{1,9}", pid[2]):  # type: ignore[index]
        raise pickle.UnpicklingError("a storage that is none")
    return _Storage(pid[1], pid[2])  # type: ignore[index]


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> _Tensor:
    numbers = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)
    if not numbers or not all(type(n) is int and 0 <= n < 1 << 40 for n in (offset, *size, *stride)):  # type: ignore[misc]
        raise pickle.UnpicklingError("a tensor that is none")
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without numbers")
    return _Tensor(storage, offset, size, stride)  # type: ignore[arg-type]


_NAMES: Final[Names] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("collections", "OrderedDict"): OrderedDict,
    **{("torch", name): name for name in _BYTES_OF},
}
