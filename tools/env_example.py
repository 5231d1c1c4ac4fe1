"""Writes .env.example: every setting with its description and default.

    python tools/env_example.py

Comes from ``config.Settings``, in its order; a test fails when the file is behind.
"""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from musetalk_service.config import Settings

FILE = Path(__file__).parents[1] / ".env.example"
_WIDTH = 118
_HEAD = """\
# Settings of the MuseTalk service. Copy this file to .env in the working directory and change what you need; every
# value here is the default. The environment wins over .env, and options of the command line win over both.
"""
_GROUPS = {
    "host": "Core",
    "hf_endpoint": "Model files, for `musetalk-service models`",
    "tls_certfile": "TLS and proxies",
    "auth_secret": "Authentication: clients need a token as soon as a secret or a key set is given",
    "engine": "Engines and their hosts",
    "video_crf": "Stream",
    "max_sessions": "Limits",
    "rate_user_messages_per_s": "Rate limits; 0 is none, and AUDIO_BACKLOG_S of audio may always come at once",
    "log_level": "Logs",
}
"""Titles by the first setting under them."""


def render() -> str:
    """The file's text."""
    return _HEAD + "".join(_lines())


def _lines() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name in _GROUPS:
            yield f"\n# --- {_GROUPS[name]} ---\n"
        yield "\n" + textwrap.fill(field.description or "", _WIDTH, initial_indent="# ", subsequent_indent="# ") + "\n"
        yield _assignment(name.upper(), field)


def _assignment(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return f"#{name}={'~/.cache/musetalk-service' if name == 'CACHE_DIR' else ''}\n"
    return f"#{name}=\n" if field.default in (None, "") else f"{name}={_value(field.default)}\n"


def _value(default: Any) -> str:
    if isinstance(default, bool | list):
        return json.dumps(default)
    return f"{default:.15g}" if isinstance(default, float) else str(default)


if __name__ == "__main__":
    FILE.write_text(render(), "utf-8")
