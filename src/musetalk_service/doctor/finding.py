"""What every check comes to."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``problem``: the service cannot run; ``warning``: it runs with less."""

    name: str
    level: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""
