"""openai-whisper's own classes, to compare with; its word timing, which nobody here uses, would need numba."""

import sys
import types
from typing import Any

import pytest


def import_whisper() -> Any:
    """The package, or the test is skipped."""
    if "numba" not in sys.modules:
        try:
            import numba  # noqa: F401
        except ImportError:
            stand_in = types.ModuleType("numba")
            stand_in.jit = lambda *_, **__: lambda function: function  # type: ignore[attr-defined]
            sys.modules["numba"] = stand_in
    return pytest.importorskip("whisper", reason="openai-whisper is not installed")
