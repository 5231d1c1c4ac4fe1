import json

import cv2
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.config import default_settings
from musetalk_service.engines.musetalk.model import MouthModel
from musetalk_service.musetalk_bench import main, to_text
from musetalk_service.musetalk_bench.measure import BatchRow, Result, flops
from musetalk_service.musetalk_bench.random_weights import random_networks
from musetalk_service.musetalk_bench.sessions import SessionsRow

torch.set_num_threads(1)
KINDS = (("batches", BatchRow), ("sessions", SessionsRow))


@pytest.fixture
def settings(tmp_path):
    changes = {"model_path": tmp_path / "models", "cache_dir": tmp_path / "cache", "device": "cpu"}
    changes |= {"musetalk_max_batch": 1, "musetalk_window_s": 1.0, "workers": 1}
    return default_settings().model_copy(update=changes)


def test_everything_is_measured(settings, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("musetalk_service.musetalk_bench.measure._PLAIN_BATCH", 1)
    assert main(settings, random_weights=True, small=True, seconds=0.01, as_json=True, plot=tmp_path / "a.png") == 0
    assert cv2.imread(str(tmp_path / "a.png")).std() > 10
    result = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in result["batches"]] == [1]
    assert result["device"] == "cpu" and result["hosts"] == 1
    row = result["sessions"][0]
    assert row["sessions"] == 1 and row["first_ms"] > 132 and row["not_painted"] <= 50
    assert row["kept_up"] == (row["p99_late_ms"] <= 0 and not row["not_painted"])
    assert all(0 < row["ceiling_share"] < 1.5 for row in result["batches"])
    rows = {name: tuple(kind(**row) for row in result[name]) for name, kind in KINDS}
    text = to_text(Result(**{**result, **rows}))
    assert "plain loop" in text and "sessions" in text


def test_missing_checkpoints_are_named(settings, capsys):
    assert main(settings, random_weights=False, small=False, seconds=0.01, as_json=False, plot=None) == 1
    assert "musetalkV15" in capsys.readouterr().err


def test_operations_are_counted():
    model = MouthModel(*random_networks(small=True))
    small = flops(model, 384)
    convolution = 2 * 9 * 32 * 3 * 256 * 256  # the last one alone
    assert convolution < small < 1e11
