"""Imports point down, as the contracts in pyproject.toml say."""

import subprocess
import sys
from pathlib import Path


def test_import_contracts(root: Path) -> None:
    program = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([program, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout
