"""musetalk_websocket_spec.md says what the code does: examples, messages, fields, settings, state machine."""

import base64
import json
import re
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from musetalk_service.config import Settings
from musetalk_service.models import messages as wire
from musetalk_service.models.media import FRAME_MS
from musetalk_service.models.session import CloseReason
from musetalk_service.services.authentication import Reason
from musetalk_service.utils import h264
from musetalk_service.utils.encoding import FramePayload, frame_bytes
from musetalk_service.utils.video_codec import synthetic_label

CLIENT = {model.model_json_schema()["properties"]["type"]["const"]: model for model in wire.CLIENT_MESSAGES}
SERVER = {model.model_json_schema()["properties"]["type"]["const"]: model for model in wire.SERVER_MESSAGES}


def examples(spec: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", spec, re.DOTALL | re.MULTILINE)]


def section(spec: str, title: str) -> str:
    """The text under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", spec, re.DOTALL | re.MULTILINE)
    assert found, f"the page has no section {title!r}"
    return found.group(1)


def field_names(model: type[BaseModel]) -> set[str]:
    data = model.model_fields["data"].annotation
    assert isinstance(data, type) and issubclass(data, BaseModel)
    return set(data.model_fields)


def test_every_message_has_an_example(spec: str) -> None:
    assert {example["type"] for example in examples(spec)} == {*CLIENT, *SERVER}


def test_every_example_is_what_the_models_make_of_it(spec: str) -> None:
    for example in examples(spec):
        text = json.dumps(example)
        parse = wire.parse_client_message if example["type"] in CLIENT else wire.parse_server_message
        message: BaseModel = parse(text)
        # Unknown fields would be dropped and wrong names replaced by defaults: nothing of the example may be lost.
        assert message.model_dump(exclude_unset=True) == example


def test_base64_in_examples_is_real(spec: str) -> None:
    frames = [example["data"]["frame_data"] for example in examples(spec) if "frame_data" in example["data"]]
    chunks = [example["data"]["audio_chunk"] for example in examples(spec) if "audio_chunk" in example["data"]]
    assert frames and chunks
    for frame in frames:
        assert [h264.nal_type(nal) for nal in h264.nal_units(base64.b64decode(frame, validate=True))]
    for chunk in chunks:
        assert len(wire.AudioChunk(**chunk).pcm()) == 2 * 16 * chunk["duration_ms"]


@pytest.mark.parametrize("name", [*CLIENT, *SERVER])
def test_every_field_is_in_its_table(spec: str, name: str) -> None:
    model = (CLIENT | SERVER)[name]
    text = section(spec, name)
    if name == "ACTION_FRAME":  # says "the same fields, and"
        text += section(spec, "VIDEO_FRAME")
    rows = "".join(line for line in text.splitlines() if line.startswith("| `"))
    tabled = set(re.findall(r"`(\w+)(?:\.\w+)?`", rows))
    assert field_names(model) <= tabled


def test_every_event_is_described(spec: str) -> None:
    assert all(f"`{event}`" in section(spec, "EVENT") for event in get_args(wire.EventName))


def test_the_binary_examples_are_the_frames_of_the_json_ones(spec: str) -> None:
    frames = [example["data"] for example in examples(spec) if "frame_data" in example["data"]]
    told = re.findall(r"^4d46 [0-9a-f ]+$", section(spec, "Binary frames"), re.MULTILINE)
    assert len(told) == len(frames)
    for data, text in zip(frames, told, strict=True):
        payload = FramePayload(
            base64.b64decode(data["frame_data"]),
            data["is_keyframe"],
            data["state"],
            data["audio_timestamp"],
            data.get("action_progress"),
        )
        number = data["frame_timestamp"] // FRAME_MS
        assert frame_bytes(number, data["sequence_number"], payload) == bytes.fromhex(text)


def test_the_state_machine_is_the_codes(spec: str, spec_diagram: dict[str, Any]) -> None:
    assert spec_diagram["updated"](spec) == spec, "run: python tools/spec_diagram.py"


def test_a_page_without_the_markers_is_an_error(spec_diagram: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="state machine"):
        spec_diagram["updated"]("no markers here")


def test_error_codes_are_those_of_the_models(spec: str) -> None:
    told = set(re.findall(r"^\| `([A-Z_]+)` ", section(spec, "Errors"), re.MULTILINE))
    assert told == set(get_args(wire.ErrorData.model_fields["code"].annotation))


def test_close_reasons_are_those_of_the_models(spec: str) -> None:
    told = re.findall(r"^\| `([a-z_]+)` \|", section(spec, "Closing"), re.MULTILINE)
    assert set(told) == set(get_args(CloseReason)) == set(get_args(wire.CloseAckData.model_fields["reason"].annotation))


def test_limits_have_the_settings_names_and_defaults(spec: str) -> None:
    rows = re.findall(r"^\| [^|]+ \| `([A-Z_]+)` \| ([\d.]+) \|", section(spec, "Limits"), re.MULTILINE)
    assert len(rows) >= 10
    for name, default in rows:
        assert float(default) == Settings.model_fields[name.lower()].default, name
    rates = {name.upper() for name in Settings.model_fields if name.startswith("rate_")}
    assert rates <= {name for name, _ in rows}


def test_the_settings_it_names_exist(spec: str) -> None:
    known = {name.upper() for name in Settings.model_fields}
    prefixes = (
        "MAX_",
        "AUDIO_",
        "VIDEO_C",
        "VIDEO_MAX",
        "SPEECH_END_",
        "HOST_",
        "OUTBOX_",
        "RETRY_",
        "DEFAULT_",
        "RATE_U",
        "RATE_A",
    )
    named = {name for name in re.findall(r"`([A-Z_]+)`", spec) if name.startswith(prefixes)}
    assert named <= known


def test_every_reason_to_refuse_a_token_is_there(spec: str) -> None:
    assert all(f"`{reason}`" in section(spec, "Authentication") for reason in get_args(Reason))


def test_the_mark_of_synthetic_pictures(spec: str) -> None:
    assert str(h264.SYNTHETIC_UUID) in spec
    assert synthetic_label("builtin", "0.1.0") in spec


def test_the_user_id_pattern(spec: str) -> None:
    assert wire.USER_ID_PATTERN in spec
