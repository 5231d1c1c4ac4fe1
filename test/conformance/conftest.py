"""The pages and tools that these tests hold against the code."""

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def spec() -> str:
    """The protocol's page."""
    return (ROOT / "musetalk_websocket_spec.md").read_text("utf-8")


@pytest.fixture(scope="session")
def spec_diagram() -> dict[str, Any]:
    """The names of tools/spec_diagram.py."""
    return runpy.run_path(str(ROOT / "tools" / "spec_diagram.py"))
