import os
import pickle

import numpy as np
import pytest

from musetalk_service.preparation.errors import NotOfficialError
from musetalk_service.preparation.plain_pickle import read_boxes


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def write(tmp_path, value, protocol=4):
    path = tmp_path / "coords.pkl"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_and_numpy_numbers_are_read(tmp_path, protocol):
    rows = [[1, 2, 3, 4], (np.int32(5), np.int64(-6), np.float32(0.5), np.uint8(8)), [0.0, 0.0, 0.0, 0.0]]
    path = write(tmp_path, rows, protocol)
    assert read_boxes(path) == [(1, 2, 3, 4), (5, -6, 0.5, 8), (0.0, 0.0, 0.0, 0.0)]


def test_numpys_old_name_is_known(tmp_path):
    content = pickle.dumps([[np.int64(7)] * 4], 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in content
    assert read_boxes(write(tmp_path, content)) == [(7, 7, 7, 7)]


@pytest.mark.parametrize(
    "value",
    [
        _Evil(),
        [[_Evil(), 1, 2, 3]],
        [np.zeros(4)],
        [[np.str_("a")] * 4],
        [[np.datetime64(1, "s")] * 4],
        [[1, 2, 3]],
        [[1, 2, 3, "4"]],
        [[1, 2, 3, True]],
        [[1, 2, 3, float("nan")]],
        [[1, 2, 3, 10**9]],
        {"a": 1},
        b"no pickle",
        b"",
        b"cos\nmkdir\n(S'executed'\ntR.",
        b"cnumpy\nload\n.",
        b"\x80\x04Pid\n.",
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_else_is_refused(tmp_path, value, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, value)
    with pytest.raises(NotOfficialError, match=r"coords\.pkl"):
        read_boxes(path)
    assert not (tmp_path / "executed").exists()


def test_too_large_and_missing_files_are_refused(tmp_path):
    with pytest.raises(NotOfficialError, match="cannot be read"):
        read_boxes(tmp_path / "coords.pkl")
    with pytest.raises(NotOfficialError, match="larger than"):
        read_boxes(write(tmp_path, b"0" * ((16 << 20) + 1)))
