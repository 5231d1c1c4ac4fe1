"""The two forms in which a frame travels: hand-built JSON with base64, and a binary header with the bytes.

A VIDEO_FRAME is written 25 times a second for each session, and for idle packets most of its text is
the same for all: the shared part is built once, and only a short head is made per session.
"""

import base64
import json
import struct
from dataclasses import dataclass
from functools import cached_property

from musetalk_service.models.media import FRAME_MS


@dataclass(frozen=True)
class FramePayload:
    """One access unit ready to be sent; shared by all sessions that show it."""

    access_unit: bytes
    is_idr: bool
    state: str
    audio_timestamp_ms: int | None = None
    action_progress: float | None = None

    @cached_property
    def json_tail(self) -> str:
        """Everything after the fields that differ per session, closing braces included."""
        progress = "" if self.action_progress is None else f'"action_progress":{self.action_progress:.4f},'
        audio = "null" if self.audio_timestamp_ms is None else str(self.audio_timestamp_ms)
        return (
            f'"is_keyframe":{"true" if self.is_idr else "false"},"state":"{self.state}",'
            f'"audio_timestamp":{audio},{progress}'
            f'"frame_data":"{base64.b64encode(self.access_unit).decode("ascii")}"}}}}'
        )


_BINARY_HEADER = struct.Struct(">2sBBIIIHBBI")
"""Magic, version, flags, sequence number, frame timestamp, audio timestamp, progress, state, reserved, length."""
_KEY_FRAME, _ACTION_FRAME = 1, 2
_NO_AUDIO = 0xFFFFFFFF
_STATES = {"idle": 0, "speaking": 1, "action": 2}


def json_head(message_type: str, session_id: str) -> str:
    """The start of a frame message up to its data; the session id is escaped."""
    return f'{{"type":"{message_type}","session_id":{json.dumps(session_id)},"data":{{'


def frame_text(head: str, frame: int, sequence_number: int, payload: FramePayload) -> str:
    """A whole VIDEO_FRAME or ACTION_FRAME; ``frame`` counts from the session's first."""
    return f'{head}"frame_timestamp":{frame * FRAME_MS},"sequence_number":{sequence_number},{payload.json_tail}'


def frame_bytes(frame: int, sequence_number: int, payload: FramePayload) -> bytes:
    """The same frame in binary form: a 24-byte big-endian header, then the access unit.

    Counters of 32 bits wrap around; at 40 ms a frame the timestamp does so after 49 days.
    """
    progress = payload.action_progress
    flags = (_KEY_FRAME if payload.is_idr else 0) | (0 if progress is None else _ACTION_FRAME)
    audio = payload.audio_timestamp_ms
    header = _BINARY_HEADER.pack(
        b"MF",
        1,
        flags,
        sequence_number & 0xFFFFFFFF,
        frame * FRAME_MS & 0xFFFFFFFF,
        _NO_AUDIO if audio is None else audio & 0xFFFFFFFF,
        0 if progress is None else round(progress * 0xFFFF),
        _STATES[payload.state],
        0,
        len(payload.access_unit),
    )
    return header + payload.access_unit
