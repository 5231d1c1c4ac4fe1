"""Which engines there are, and what stands in for what."""

from collections.abc import Callable, Sequence

from musetalk_service.engines.base import Engine
from musetalk_service.engines.builtin.engine import BuiltinEngine
from musetalk_service.engines.builtin.network import LOOK_AHEADS
from musetalk_service.engines.static import StaticEngine
from musetalk_service.errors import ModelNotFoundError

FACTORIES: dict[str, Callable[[int], Engine]] = {"builtin": BuiltinEngine, "static": lambda _: StaticEngine()}
"""From the built-in network's look-ahead in ms. In falling order: an engine's stand-ins are those after it."""


def chain_from(name: str) -> list[str]:
    """An engine and its stand-ins, best first.

    Raises :class:`ModelNotFoundError` for an unknown name.
    """
    names = list(FACTORIES)
    if name not in FACTORIES:
        raise ModelNotFoundError(f"no engine {name!r}", allowed=names)
    return names[names.index(name) :]


def load_engines(names: Sequence[str], look_ahead_ms: int = LOOK_AHEADS[-1]) -> dict[str, Engine]:
    """Load engines by name, in order; `look_ahead_ms` is that of the network that hears the speech."""
    return {name: FACTORIES[name](look_ahead_ms) for name in names}
