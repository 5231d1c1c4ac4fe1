"""The command that draws a clip writes a picture with its cells and its plots."""

import subprocess
import sys
from pathlib import Path

import cv2

TOOL = Path(__file__).parents[2] / "tools" / "clip_sheet.py"


def test_writes_a_picture(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    subprocess.run([sys.executable, TOOL, "action_1", sheet, "--rate", "2"], check=True, timeout=120)
    picture = cv2.imread(str(sheet))
    assert picture is not None
    cells, plots = 140, 12 * 84  # six pictures fit one row
    assert picture.shape == (cells + plots, 1680, 3)
    assert picture[:cells, :140].std() > 20
    assert (picture[cells:] < 100).any()


def test_refuses_an_unknown_clip(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, TOOL, "idle_9", tmp_path / "x.png"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "idle_0" in run.stderr
