"""Which engines there are, and what stands in for what."""

import logging
from collections.abc import Sequence

from musetalk_service.engines.base import Engine
from musetalk_service.engines.builtin.engine import BuiltinEngine
from musetalk_service.engines.builtin.network import LOOK_AHEADS
from musetalk_service.engines.musetalk.options import MuseTalkOptions
from musetalk_service.engines.static import StaticEngine
from musetalk_service.errors import CheckpointError, EngineError, ModelNotFoundError

log = logging.getLogger(__name__)

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
    names: Sequence[str], look_ahead_ms: int = LOOK_AHEADS[-1], musetalk: MuseTalkOptions | None = None
) -> dict[str, Engine]:
    """Load engines by name, in order.

    MuseTalk is left out, and the log says why, where its libraries or checkpoints are missing or it does not fit:
    sessions then get its stand-in.

    Args:
        names: as :func:`chain_from` gives them.
        look_ahead_ms: of the network that hears the speech for the built-in engine.
        musetalk: how MuseTalk is to run, if it is among them.
    """
    engines: dict[str, Engine] = {}
    for name in names:
        if name == "builtin":
            engines[name] = BuiltinEngine(look_ahead_ms)
        elif name == "static":
            engines[name] = StaticEngine()
        elif musetalk is not None:
            found = _load_musetalk(musetalk)
            if found is not None:
                engines[name] = found
    return engines


def _load_musetalk(options: MuseTalkOptions) -> Engine | None:
    try:
        from musetalk_service.engines.musetalk.engine import MuseTalkEngine
    except ImportError as error:
        log.error("MuseTalk is left out: %s; pip install 'musetalk-service[musetalk]'", error)
        return None
    try:
        return MuseTalkEngine(options)
    except (CheckpointError, EngineError) as error:
        log.error("MuseTalk is left out: %s", error)
        return None
