import json

import cv2
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.engines.musetalk.model import MouthModel
from musetalk_service.engines.musetalk.options import MuseTalkOptions
from musetalk_service.musetalk_bench import main, to_text
from musetalk_service.musetalk_bench.measure import BatchRow, Result, SessionsRow, flops
from musetalk_service.musetalk_bench.random_weights import random_networks

torch.set_num_threads(1)
KINDS = (("batches", BatchRow), ("sessions", SessionsRow))


@pytest.fixture
def options(tmp_path):
    return MuseTalkOptions(tmp_path / "models", tmp_path / "cache", device="cpu", largest_batch=1)


def test_everything_is_measured(options, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("musetalk_service.musetalk_bench.measure._PLAIN_BATCH", 1)
    assert main(options, random_weights=True, small=True, seconds=0.01, as_json=True, plot=tmp_path / "a.png") == 0
    assert cv2.imread(str(tmp_path / "a.png")).std() > 10
    result = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in result["batches"]] == [1]
    assert result["device"] == "cpu" and result["sessions"][0]["sessions"] == 1
    assert all(0 < row["ceiling_share"] < 1.5 for row in result["batches"])
    rows = {name: tuple(kind(**row) for row in result[name]) for name, kind in KINDS}
    text = to_text(Result(**{**result, **rows}))
    assert "plain loop" in text and "sessions" in text


def test_missing_checkpoints_are_named(options, capsys):
    assert main(options, random_weights=False, small=False, seconds=0.01, as_json=False, plot=None) == 1
    assert "musetalkV15" in capsys.readouterr().err


def test_operations_are_counted():
    model = MouthModel(*random_networks(small=True))
    small = flops(model, 384)
    convolution = 2 * 9 * 32 * 3 * 256 * 256  # the last one alone
    assert convolution < small < 1e11
