"""What the client library hands out: the server's messages as frozen data."""

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# musetalk_websocket_spec.md, "Binary frames": magic, version, flags, sequence number, frame timestamp,
# audio timestamp, action progress, state, reserved, payload length.
BINARY_HEADER = struct.Struct(">2sBBIIIHBBI")
BINARY_MAGIC = b"MF"
BINARY_VERSION = 1
NO_AUDIO_TIMESTAMP = 0xFFFFFFFF
FLAG_KEYFRAME = 1
FLAG_ACTION = 2
STATES = ("idle", "speaking", "action")


@dataclass(frozen=True)
class SessionStarted:
    """INIT_SUCCESS. What only newer servers send is empty or zero from older ones."""

    session_id: str
    available_videos: tuple[str, ...]
    default_video: str
    engine: str
    codec: str
    delay_ms: int
    width: int
    height: int
    fps: int
    data: Mapping[str, Any]


@dataclass(frozen=True)
class ReceivedFrame:
    """VIDEO_FRAME or ACTION_FRAME: one picture of the stream."""

    access_unit: bytes = field(repr=False)
    """One H.264 access unit, Annex B; key frames carry their parameter sets."""
    timestamp_ms: int
    """Presentation time in ms from the session's first frame, a multiple of 40."""
    sequence_number: int
    """Counts the frames sent; a hole in `timestamp_ms` without one here is a frame dropped on purpose."""
    is_keyframe: bool
    state: str
    """"idle", "speaking" or "action"."""
    audio_timestamp_ms: int | None
    """The position in the session's audio that the mouth follows, in ms; None where it follows none."""
    action_progress: float | None
    """0 to 1 in an action, else None."""
    received_at: float
    """`time.monotonic()` at arrival, in seconds."""


@dataclass(frozen=True)
class StateChanged:
    """STATE_CHANGED."""

    state: str
    video: str


@dataclass(frozen=True)
class ActionTriggered:
    """ACTION_TRIGGERED."""

    index: int


@dataclass(frozen=True)
class Interrupted:
    """INTERRUPTED: how much speech had been played, and how much was dropped."""

    audio_played_ms: int
    audio_dropped_ms: int


@dataclass(frozen=True)
class CloseAck:
    """CLOSE_ACK; `reason` is client_request, server_shutdown, timeout or error."""

    reason: str


@dataclass(frozen=True)
class OtherMessage:
    """Any other message, such as EVENT or ENGINE_SWITCHED."""

    type: str
    data: Mapping[str, Any]


class ServerError(Exception):
    """ERROR: the server refused a message or could not serve it. `code` is one of the protocol's."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details

    @property
    def retry_after_ms(self) -> int | None:
        """How long to wait before the next try, in ms, where the server says."""
        value = self.details.get("retry_after_ms")
        return value if isinstance(value, int) else None


ServerMessage = (
    SessionStarted
    | ReceivedFrame
    | StateChanged
    | ActionTriggered
    | Interrupted
    | CloseAck
    | OtherMessage
    | ServerError
)


def parse_server_message(raw: str | bytes, received_at: float) -> ServerMessage:
    """Reads one WebSocket message, text or binary. Raises ValueError when it is none of the protocol's."""
    if isinstance(raw, bytes):
        return _binary_frame(raw, received_at)
    envelope = json.loads(raw)
    try:
        data = envelope.get("data") or {}
        return _text_message(envelope["type"], envelope["session_id"], data, received_at)
    except (KeyError, TypeError, AttributeError) as cause:
        raise ValueError(f"not a message of the protocol: {raw[:200]}") from cause


def _text_message(kind: str, session_id: str, data: Mapping[str, Any], received_at: float) -> ServerMessage:
    match kind:
        case "VIDEO_FRAME" | "ACTION_FRAME":
            return _text_frame(kind, data, received_at)
        case "INIT_SUCCESS":
            return SessionStarted(
                session_id=session_id,
                available_videos=tuple(data["available_videos"]),
                default_video=data["default_video"],
                engine=data.get("engine", ""),
                codec=data.get("codec", ""),
                delay_ms=data.get("delay_ms", 0),
                width=data.get("width", 512),
                height=data.get("height", 512),
                fps=data.get("fps", 25),
                data=data,
            )
        case "STATE_CHANGED":
            return StateChanged(data["current_state"], data["current_video"])
        case "ACTION_TRIGGERED":
            return ActionTriggered(data["action_index"])
        case "INTERRUPTED":
            return Interrupted(data["audio_played_ms"], data["audio_dropped_ms"])
        case "CLOSE_ACK":
            return CloseAck(data["reason"])
        case "ERROR":
            return ServerError(data["code"], data["message"], data.get("details") or {})
        case _:
            return OtherMessage(kind, data)


def _text_frame(kind: str, data: Mapping[str, Any], received_at: float) -> ReceivedFrame:
    return ReceivedFrame(
        access_unit=base64.b64decode(data["frame_data"]),
        timestamp_ms=data["frame_timestamp"],
        sequence_number=data.get("sequence_number", data["frame_timestamp"] // 40),
        is_keyframe=data.get("is_keyframe", False),
        state=data.get("state", "action" if kind == "ACTION_FRAME" else "speaking"),
        audio_timestamp_ms=data.get("audio_timestamp"),
        action_progress=data["action_progress"] if kind == "ACTION_FRAME" else None,
        received_at=received_at,
    )


def _binary_frame(raw: bytes, received_at: float) -> ReceivedFrame:
    if len(raw) < BINARY_HEADER.size:
        raise ValueError(f"a binary frame of {len(raw)} bytes is shorter than its header")
    header = BINARY_HEADER.unpack_from(raw)
    magic, version, flags, sequence, timestamp, audio, progress, state, _reserved, length = header
    if (magic, version) != (BINARY_MAGIC, BINARY_VERSION) or state >= len(STATES):
        raise ValueError(f"not a binary frame of version {BINARY_VERSION}: {raw[:BINARY_HEADER.size].hex()}")
    access_unit = raw[BINARY_HEADER.size :]
    if length != len(access_unit):
        raise ValueError(f"a binary frame announces {length} bytes and carries {len(access_unit)}")
    return ReceivedFrame(
        access_unit=access_unit,
        timestamp_ms=timestamp,
        sequence_number=sequence,
        is_keyframe=bool(flags & FLAG_KEYFRAME),
        state=STATES[state],
        audio_timestamp_ms=None if audio == NO_AUDIO_TIMESTAMP else audio,
        action_progress=progress / 65_535 if flags & FLAG_ACTION else None,
        received_at=received_at,
    )
