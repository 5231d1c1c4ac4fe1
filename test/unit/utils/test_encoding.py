"""The hand-built JSON of frames is what the message models say."""

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from musetalk_service.models.messages import ActionFrame, VideoFrame, parse_server_message
from musetalk_service.utils.encoding import FramePayload, frame_bytes, frame_text, json_head


@given(
    unit=st.binary(min_size=1, max_size=300),
    is_idr=st.booleans(),
    state=st.sampled_from(["idle", "speaking"]),
    audio=st.none() | st.integers(0, 10**9),
    frame=st.integers(0, 10**8),
    sequence=st.integers(0, 10**8),
    session_id=st.text(st.characters(codec="utf-8"), max_size=40),
)
def test_video_frame_parses_as_its_model(
    unit: bytes, is_idr: bool, state: str, audio: int | None, frame: int, sequence: int, session_id: str
) -> None:
    payload = FramePayload(unit, is_idr, state, audio)
    message = parse_server_message(frame_text(json_head("VIDEO_FRAME", session_id), frame, sequence, payload))
    assert isinstance(message, VideoFrame)
    assert message.session_id == session_id
    assert base64.b64decode(message.data.frame_data) == unit
    assert message.data.frame_timestamp == 40 * frame
    assert message.data.sequence_number == sequence
    assert (message.data.is_keyframe, message.data.state, message.data.audio_timestamp) == (is_idr, state, audio)


@given(st.floats(0, 1))
def test_action_frame_parses_as_its_model(progress: float) -> None:
    payload = FramePayload(b"x", False, "action", None, progress)
    message = parse_server_message(frame_text(json_head("ACTION_FRAME", "s"), 1, 1, payload))
    assert isinstance(message, ActionFrame)
    assert abs(message.data.action_progress - progress) <= 1e-4


def test_fields_are_exactly_those_of_the_models() -> None:
    video = json.loads(frame_text(json_head("VIDEO_FRAME", "s"), 0, 0, FramePayload(b"x", True, "idle")))
    assert set(video["data"]) == set(VideoFrame.model_fields["data"].annotation.model_fields)
    action = FramePayload(b"x", True, "action", None, 0.5)
    shown = json.loads(frame_text(json_head("ACTION_FRAME", "s"), 0, 0, action))
    assert set(shown["data"]) == set(ActionFrame.model_fields["data"].annotation.model_fields)


def test_shared_part_is_built_once() -> None:
    payload = FramePayload(b"x" * 1000, True, "idle")
    assert payload.json_tail is payload.json_tail


@given(
    unit=st.binary(max_size=300),
    is_idr=st.booleans(),
    state=st.sampled_from(["idle", "speaking"]),
    audio=st.none() | st.integers(0, 10**9),
    frame=st.integers(0, 10**8),
    sequence=st.integers(0, 10**8),
)
def test_binary_header_is_laid_out_as_specified(
    unit: bytes, is_idr: bool, state: str, audio: int | None, frame: int, sequence: int
) -> None:
    data = frame_bytes(frame, sequence, FramePayload(unit, is_idr, state, audio))
    assert data[:3] == b"MF\x01"
    assert data[3] == is_idr
    assert int.from_bytes(data[4:8], "big") == sequence
    assert int.from_bytes(data[8:12], "big") == frame * 40 % 2**32
    assert int.from_bytes(data[12:16], "big") == (0xFFFFFFFF if audio is None else audio)
    assert data[16:18] == b"\0\0"
    assert data[18:20] == bytes([{"idle": 0, "speaking": 1}[state], 0])
    assert int.from_bytes(data[20:24], "big") == len(unit)
    assert data[24:] == unit


@given(st.floats(0, 1))
def test_binary_action_frame_carries_its_progress(progress: float) -> None:
    data = frame_bytes(1, 2, FramePayload(b"x", True, "action", None, progress))
    assert data[3] == 0b11 and data[18] == 2
    assert abs(int.from_bytes(data[16:18], "big") / 65535 - progress) <= 1e-5
