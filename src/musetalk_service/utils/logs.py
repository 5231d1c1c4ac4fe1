"""Structured logs: one event a line, with its fields; never audio, never a token."""

import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=MappingProxyType({}))
# W3C Trace Context, section 3.2: version, trace-id, parent-id, flags; all zero ids are not valid.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def bind(**fields: str | None) -> None:
    """Put fields on every later log line of this task and of the tasks that it starts."""
    _context.set({**_context.get(), **{name: value for name, value in fields.items() if value is not None}})


def trace_id(traceparent: str | None) -> str | None:
    """The trace id of a ``traceparent`` header, so that a caller's traces and our logs can be joined."""
    match = _TRACEPARENT.fullmatch((traceparent or "").strip())
    return match[1] if match and not match[0].startswith("ff") else None


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    own = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return {**_context.get(), **own}


class JsonFormatter(logging.Formatter):
    """One JSON object per event."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


class TextFormatter(logging.Formatter):
    """For people: time, level, event, then the fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        line = f"{clock} {record.levelname.lower():7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(level: str, log_format: str) -> None:
    """Send everything to standard error in one of the two formats."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "websockets", "asyncio"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
        logging.getLogger(name).propagate = True
