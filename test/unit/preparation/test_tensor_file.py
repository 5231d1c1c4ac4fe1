"""Files of torch.save, written by hand and, where it is installed, by torch."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from musetalk_service.preparation.errors import NotOfficialError
from musetalk_service.preparation.tensor_file import TensorFile
from support.official_avatars import write_tensors

SHAPE = (1, 2, 3)
VALUES = [np.arange(6, dtype=np.float32).reshape(SHAPE) + 10 * n for n in range(4)]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_numbers_are_read_in_any_order(tmp_path, kind):
    write_tensors(tmp_path / "a.pt", [value.astype(kind) for value in VALUES])
    held = TensorFile(tmp_path / "a.pt", SHAPE)
    assert len(held) == 4
    np.testing.assert_array_equal(held.read([2, 0]), np.stack([VALUES[2], VALUES[0]]))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
def test_torch_writes_it_so(tmp_path, kind):
    torch = pytest.importorskip("torch", reason="the extra musetalk is not installed")
    tensors = [torch.from_numpy(value).to(getattr(torch, kind)) for value in VALUES]
    whole = torch.cat(tensors)
    torch.save([*tensors, *reversed(tensors), whole[1:2]], tmp_path / "a.pt")
    held = TensorFile(tmp_path / "a.pt", SHAPE)
    expected = np.stack([*VALUES, *reversed(VALUES), VALUES[1]])
    np.testing.assert_array_equal(held.read(range(9)), expected)


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pickle.dumps(_Evil()), "mkdir is not allowed"),
        (pickle.dumps([_Evil()], 2), "mkdir is not allowed"),
        (b"ctorch\nload\n.", "torch.load is not allowed"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "eval is not allowed"),
        (pickle.dumps({"a": 1}), "no list of tensors"),
        (pickle.dumps([]), "no list of tensors"),
        (pickle.dumps([1.0]), "no list of tensors"),
        (b"S'../../etc/passwd'\nQ.", "a storage that is none"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI0\n(I1\nI2\nI3\nt(I6\nI3\nI1\nttR.", "without numbers"),
        (b"", "cannot be read"),
    ],
)
def test_nothing_is_executed(tmp_path, monkeypatch, table, message):
    monkeypatch.chdir(tmp_path)
    write_tensors(tmp_path / "a.pt", VALUES, table)
    with pytest.raises(NotOfficialError, match=message):
        TensorFile(tmp_path / "a.pt", SHAPE)
    assert not (tmp_path / "executed").exists()


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    write_tensors(path, [*VALUES[:3], np.full(SHAPE, np.nan, np.float32)])
    whole = path.read_bytes()
    with pytest.raises(NotOfficialError, match="not finite"):
        TensorFile(path, SHAPE).read([3])
    held = TensorFile(path, SHAPE)
    path.write_bytes(whole.replace(VALUES[1].tobytes(), VALUES[2].tobytes()))
    with pytest.raises(NotOfficialError, match="cannot be read"):
        held.read([1])
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NotOfficialError, match="cannot be read"):
        TensorFile(path, SHAPE)
    path.write_bytes(pickle.dumps(VALUES))
    with pytest.raises(NotOfficialError, match="cannot be read"):
        TensorFile(path, SHAPE)


def test_numbers_that_are_not_there_or_compressed_are_refused(tmp_path):
    write_tensors(tmp_path / "a.pt", VALUES)
    for name, kept, form in (("short", 8, zipfile.ZIP_STORED), ("packed", 24, zipfile.ZIP_DEFLATED)):
        with (
            zipfile.ZipFile(tmp_path / "a.pt") as archive,
            zipfile.ZipFile(tmp_path / name, "w", form) as copy,
        ):
            for member in archive.namelist():
                copy.writestr(member, archive.read(member)[:kept] if "/data/" in member else archive.read(member))
        with pytest.raises(NotOfficialError, match=r"end early|compressed"):
            TensorFile(tmp_path / name, SHAPE).read([0])


def test_transposed_tensors_are_refused(tmp_path):
    write_tensors(tmp_path / "a.pt", [np.zeros((1, 3, 2), np.float32).transpose(0, 2, 1)])
    with pytest.raises(NotOfficialError, match="no list of tensors"):
        TensorFile(tmp_path / "a.pt", SHAPE)
