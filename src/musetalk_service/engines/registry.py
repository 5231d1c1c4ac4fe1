"""Which engines there are, and what stands in for what."""

from collections.abc import Sequence

from musetalk_service.engines.base import Engine
from musetalk_service.engines.builtin.engine import BuiltinEngine
from musetalk_service.engines.builtin.network import LOOK_AHEADS
from musetalk_service.engines.static import StaticEngine
from musetalk_service.errors import ModelNotFoundError

NAMES = ("musetalk", "builtin", "static")
"""In falling order: an engine's stand-ins are those after it."""


def chain_from(name: str) -> list[str]:
    """An engine and its stand-ins, best first.

    Raises :class:`ModelNotFoundError` for an unknown name.
    """
    if name not in NAMES:
        raise ModelNotFoundError(f"no engine {name!r}", allowed=list(NAMES))
    return list(NAMES[NAMES.index(name) :])


def load_engines(
    names: Sequence[str], look_ahead_ms: int = LOOK_AHEADS[-1], musetalk: Engine | None = None
) -> dict[str, Engine]:
    """Load engines by name, in order.

    Args:
        names: as :func:`chain_from` gives them.
        look_ahead_ms: of the network that hears the speech for the built-in engine.
        musetalk: MuseTalk, if it is among them; None: sessions get its stand-in.
    """
    engines: dict[str, Engine] = {}
    for name in names:
        if name == "builtin":
            engines[name] = BuiltinEngine(look_ahead_ms)
        elif name == "static":
            engines[name] = StaticEngine()
        elif musetalk is not None:
            engines[name] = musetalk
    return engines
