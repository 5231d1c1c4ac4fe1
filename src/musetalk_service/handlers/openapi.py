"""``openapi.yaml``: the REST routes as FastAPI describes them, and the WebSocket's messages as schemas."""

from collections.abc import Sequence
from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from musetalk_service.models.messages import CLIENT_MESSAGES, PROTOCOL_VERSION, SERVER_MESSAGES, USER_ID_PATTERN

WEBSOCKET_PATH = "/musetalk/v1/ws/{user_id}"
_REF = "#/components/schemas/{model}"


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application, message schemas included."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models: list[tuple[type[BaseModel], Any]] = [(m, "validation") for m in CLIENT_MESSAGES]
    models += [(m, "serialization") for m in SERVER_MESSAGES]
    _, schemas = models_json_schema(models, ref_template=_REF)
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components.update(schemas.get("$defs", {}))
    components["ClientMessage"] = _one_of(CLIENT_MESSAGES)
    components["ServerMessage"] = _one_of(SERVER_MESSAGES)
    document["paths"][WEBSOCKET_PATH] = {"get": _handshake()}
    return document


def to_yaml(document: dict[str, Any]) -> str:
    """Stable text: the same document always gives the same bytes."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _one_of(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """One of the models, told apart by ``type``, whose values are not the schemas' names."""
    mapping = {m.model_json_schema()["properties"]["type"]["const"]: _REF.format(model=m.__name__) for m in models}
    return {
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }


def _handshake() -> dict[str, Any]:
    """OpenAPI has no WebSockets: the handshake is described as the GET that it is."""
    retry = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return {
        "summary": "WebSocket: live avatar stream",
        "description": (
            f"Upgrade to a WebSocket that speaks protocol {PROTOCOL_VERSION}: JSON text messages, "
            "ClientMessage in and ServerMessage out. See musetalk_websocket_spec.md."
        ),
        "parameters": [
            {
                "name": "user_id",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": USER_ID_PATTERN},
            }
        ],
        "responses": {
            "101": {
                "description": "Switching protocols; each message from then on is one of these.",
                "content": {
                    "application/json": {
                        "schema": {
                            "oneOf": [
                                {"$ref": _REF.format(model="ClientMessage")},
                                {"$ref": _REF.format(model="ServerMessage")},
                            ]
                        }
                    }
                },
            },
            "400": _refusal("user_id does not match the pattern."),
            "403": _refusal("The Origin is not one of CORS_ORIGINS."),
            "404": _refusal("No avatar for this user, and the default avatar is switched off."),
            "429": {**_refusal("Too many handshakes or sessions of one user or address."), "headers": retry},
            "503": {**_refusal("No free session, starting or draining."), "headers": retry},
        },
    }


def _refusal(description: str) -> dict[str, Any]:
    body = {"$ref": _REF.format(model="ErrorBody")}
    return {"description": description, "content": {"application/json": {"schema": body}}}
