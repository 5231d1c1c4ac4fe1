"""Which engines there are, and what stands in for what."""

from collections.abc import Callable, Sequence

from musetalk_service.engines.base import Engine
from musetalk_service.engines.builtin.engine import BuiltinEngine
from musetalk_service.engines.static import StaticEngine
from musetalk_service.errors import ModelNotFoundError

FACTORIES: dict[str, Callable[[], Engine]] = {"builtin": BuiltinEngine, "static": StaticEngine}
"""In falling order: an engine's stand-ins are those after it."""


def chain_from(name: str) -> list[str]:
    """An engine and its stand-ins, best first.

    Raises :class:`ModelNotFoundError` for an unknown name.
    """
    names = list(FACTORIES)
    if name not in FACTORIES:
        raise ModelNotFoundError(f"no engine {name!r}", allowed=names)
    return names[names.index(name) :]


def load_engines(names: Sequence[str]) -> dict[str, Engine]:
    """Load engines by name, in order."""
    return {name: FACTORIES[name]() for name in names}
