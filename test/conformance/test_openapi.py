"""openapi.yaml is valid, and what the code says now."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from musetalk_service.config import default_settings
from musetalk_service.handlers import openapi
from musetalk_service.models import messages as wire
from musetalk_service.server import create_app

_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")
"""FastAPI's schemas; they differ between its versions."""


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "openapi.yaml").read_text("utf-8")


@pytest.fixture(scope="module")
def document(text: str) -> dict[str, Any]:
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def current() -> dict[str, Any]:
    described = create_app(default_settings()).openapi()
    loaded = yaml.safe_load(openapi.to_yaml(described))
    assert isinstance(loaded, dict)
    return loaded


def test_the_file_is_what_the_code_says(document: dict[str, Any], current: dict[str, Any]) -> None:
    for one in (document, current):
        for name in _FRAMEWORKS_OWN:
            one["components"]["schemas"].pop(name, None)
    assert document == current, "run: make openapi"


def test_the_document_is_valid_openapi(text: str) -> None:
    validate(yaml.safe_load(text))


def test_every_reference_resolves(text: str) -> None:
    schemas = yaml.safe_load(text)["components"]["schemas"]
    references = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert references and references <= set(schemas)


def test_no_schema_comes_twice(text: str) -> None:
    schemas = yaml.safe_load(text)["components"]["schemas"]
    assert not [name for name in schemas if name.endswith(("-Input", "-Output"))]


def test_every_message_is_told_apart_by_its_type(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, models in (("ClientMessage", wire.CLIENT_MESSAGES), ("ServerMessage", wire.SERVER_MESSAGES)):
        mapping = schemas[name]["discriminator"]["mapping"]
        assert {reference.rpartition("/")[2] for reference in mapping.values()} == {m.__name__ for m in models}
        for value, reference in mapping.items():
            assert schemas[reference.rpartition("/")[2]]["properties"]["type"]["const"] == value


def test_the_documented_routes_are_there(document: dict[str, Any]) -> None:
    routes = {(method, path) for path, item in document["paths"].items() for method in item}
    assert {
        ("get", "/"),
        ("get", "/health"),
        ("get", "/livez"),
        ("get", "/readyz"),
        ("get", "/sessions"),
        ("get", "/metrics"),
        ("post", "/prepare_avatar/{user_id}"),
        ("get", "/openapi.yaml"),
        ("get", openapi.WEBSOCKET_PATH),
    } <= routes
