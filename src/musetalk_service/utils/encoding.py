"""Base64 and the hand-built JSON of frames.

A VIDEO_FRAME is written 25 times a second for each session, and for idle packets most of its text is
the same for all: the shared part is built once, and only a short head is made per session.
"""

import base64
import json
from dataclasses import dataclass, field
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
    pts: int = field(default=0)

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


def json_head(message_type: str, session_id: str) -> str:
    """The start of a frame message up to its data; the session id is escaped."""
    return f'{{"type":"{message_type}","session_id":{json.dumps(session_id)},"data":{{'


def frame_text(head: str, frame: int, sequence_number: int, payload: FramePayload) -> str:
    """A whole VIDEO_FRAME or ACTION_FRAME; ``frame`` counts from the session's first."""
    return f'{head}"frame_timestamp":{frame * FRAME_MS},"sequence_number":{sequence_number},{payload.json_tail}'
