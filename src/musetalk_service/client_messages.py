"""What the client library hands out: the server's messages as frozen data."""

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_HEADER = struct.Struct(">2sBBIIIHBBI")
"""Of a binary frame: 24 bytes, see "Binary frames" in musetalk_websocket_spec.md."""
_MAGIC, _VERSION = b"MF", 1
_KEY_FRAME, _ACTION = 1, 2
_NO_AUDIO = 0xFFFFFFFF
_STATES = ("idle", "speaking", "action")


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
    max_kbps: int | None
    """Peak rate of the video in kbit/s."""
    resume_token: str | None = field(repr=False)
    """Takes the session up again after a lost connection; None where the server does not offer it."""
    resume_grace_s: float
    """How long the server waits for a lost client, in seconds."""
    resumed: bool
    """True when this goes on with a session of before."""
    audio_received_ms: int
    """Audio that the server has accepted so far, in ms."""
    data: Mapping[str, Any] = field(repr=False)
    """All of the message's data."""


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
class EngineSwitched:
    """ENGINE_SWITCHED."""

    engine: str
    delay_ms: int
    """From audio received to the frame that speaks it, from now on."""


@dataclass(frozen=True)
class Event:
    """EVENT, for those who asked for events; it belongs to the frame beside it."""

    name: str
    """speech_started, speech_ended, engine_changed, degraded, recovered or blendshapes; newer servers may know more."""
    audio_timestamp_ms: int | None
    """The position in the session's audio, in ms; None where no audio is played."""
    engine: str | None
    """With engine_changed: what renders now."""
    reason: str | None
    """With degraded: why, for people."""
    timestamp_ms: int | None = None
    """With blendshapes: the frame that shows this mouth."""
    blendshapes: Mapping[str, float] | None = None
    """With blendshapes: coefficients from 0 to 1 by ARKit's names; every other one of its 52 is left alone."""


@dataclass(frozen=True)
class CloseAck:
    """CLOSE_ACK; `reason` is client_request, server_shutdown, timeout or error."""

    reason: str


@dataclass(frozen=True)
class OtherMessage:
    """A message of a newer protocol than this library's."""

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
    | EngineSwitched
    | Event
    | CloseAck
    | OtherMessage
    | ServerError
)


def read_server_message(raw: str | bytes, received_at: float) -> ServerMessage:
    """Reads one WebSocket message, text or binary. Raises ValueError when it is none of the protocol's.

    Of text it is more forgiving than the server's own `models.messages`, since it also reads older and newer
    servers. A binary frame names its version, and must be as that one says to the last bit.
    """
    if isinstance(raw, bytes):
        return read_binary_frame(raw, received_at)
    envelope = json.loads(raw)
    try:
        data = envelope.get("data") or {}
        return _text_message(envelope["type"], envelope["session_id"], data, received_at)
    except (KeyError, TypeError, AttributeError) as cause:
        raise ValueError(f"not a message of the protocol: {raw[:200]!r}") from cause


def read_binary_frame(raw: bytes, received_at: float) -> ReceivedFrame:
    """Reads a frame in binary form. Raises ValueError that says what is wrong with it."""
    if len(raw) < _HEADER.size:
        raise ValueError(f"a binary frame has a header of {_HEADER.size} bytes, this one has {len(raw)} in all")
    magic, version, flags, sequence, timestamp, audio, progress, state, reserved, size = _HEADER.unpack_from(raw)
    if (magic, version) != (_MAGIC, _VERSION):
        raise ValueError(f"not a binary frame of version {_VERSION}: it begins with {raw[:3].hex()}")
    if flags & ~(_KEY_FRAME | _ACTION) or state >= len(_STATES) or reserved:
        raise ValueError(f"a binary frame's header has unknown values: flags {flags}, state {state}, {reserved}")
    is_action = bool(flags & _ACTION)
    if progress and not is_action:
        raise ValueError("a binary frame outside an action has an action's progress")
    if size != len(raw) - _HEADER.size or not size:
        raise ValueError(f"a binary frame announces {size} bytes and has {len(raw) - _HEADER.size}")
    return ReceivedFrame(
        access_unit=raw[_HEADER.size :],
        timestamp_ms=timestamp,
        sequence_number=sequence,
        is_keyframe=bool(flags & _KEY_FRAME),
        state=_STATES[state],
        audio_timestamp_ms=None if audio == _NO_AUDIO else audio,
        action_progress=progress / 65535 if is_action else None,
        received_at=received_at,
    )


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
                max_kbps=data.get("max_kbps"),
                resume_token=data.get("resume_token"),
                resume_grace_s=data.get("resume_grace_s") or 0.0,
                resumed=data.get("resumed", False),
                audio_received_ms=data.get("audio_received_ms", 0),
                data=data,
            )
        case "STATE_CHANGED":
            return StateChanged(data["current_state"], data["current_video"])
        case "ACTION_TRIGGERED":
            return ActionTriggered(data["action_index"])
        case "INTERRUPTED":
            return Interrupted(data["audio_played_ms"], data["audio_dropped_ms"])
        case "ENGINE_SWITCHED":
            return EngineSwitched(data["engine"], data["delay_ms"])
        case "EVENT":
            return Event(
                data["event"],
                data.get("audio_timestamp"),
                data.get("engine"),
                data.get("reason"),
                data.get("frame_timestamp"),
                data.get("blendshapes"),
            )
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
