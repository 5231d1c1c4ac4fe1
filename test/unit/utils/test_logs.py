"""Log lines: one event each, with its fields."""

import json
import logging
import sys

import pytest

from musetalk_service.utils.logs import JsonFormatter, TextFormatter, configure_logging


def _record(message: str, **fields: object) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": "a.b", "levelno": logging.WARNING, "levelname": "WARNING", "msg": message})
    vars(record).update(fields)
    return record


def test_json_is_one_line_with_the_fields() -> None:
    line = JsonFormatter().format(_record('two\nlines "quoted"', session_id="s", cause=ValueError("x")))
    assert "\n" not in line
    event = json.loads(line)
    assert event["event"] == 'two\nlines "quoted"'
    assert event["level"] == "warning" and event["logger"] == "a.b"
    assert event["session_id"] == "s" and event["cause"] == "x"
    assert event["time"].endswith("Z")


def test_json_carries_the_exception() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = _record("failed")
        record.exc_info = sys.exc_info()
    line = JsonFormatter().format(record)
    assert "ValueError: why" in json.loads(line)["exception"]
    assert "\n" not in line


def test_text_shows_fields_as_key_value() -> None:
    assert TextFormatter().format(_record("engine failed", engine="builtin")).endswith("engine failed engine=builtin")


def test_configuration_quiets_the_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("info", "json")
        logging.getLogger("uvicorn.error").info("chatter")
        logging.getLogger("musetalk_service.x").info("event", extra={"n": 1})
        lines = capsys.readouterr().err.splitlines()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert [json.loads(line)["event"] for line in lines] == ["event"]
