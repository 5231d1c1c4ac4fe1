"""What waits to be written to one client. Bounded: a slow reader loses whole frames, never an answer.

A lost P-frame would break the picture up to the next IDR, so once frames are dropped, all are until
an IDR comes (H.264, 3.62: decoding can begin there). ``wants_idr`` asks the encoder to hurry it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from musetalk_service.models.clips import ACTION
from musetalk_service.utils.encoding import FramePayload, frame_bytes, frame_text, json_head


@dataclass(frozen=True, slots=True)
class _QueuedFrame:
    number: int
    payload: FramePayload


class Outbox:
    """One writer takes with :meth:`next`; anyone on the event loop puts."""

    def __init__(self, max_frames: int) -> None:
        self._max_frames = max_frames
        self._items: deque[str | _QueuedFrame] = deque()
        self._frames = 0
        self._skipping = False
        self._closed = False
        self._filled = asyncio.Event()
        self._heads = ("", "")
        self._binary = False
        self.send_now: Callable[[str | bytes], bool] | None = None
        """The transport's way to write without a turn of the event loop, where it has one."""
        self.frames_sent = 0
        self.frames_dropped = 0
        self.bytes_sent = 0

    def follow(self, before: "Outbox") -> None:
        """Go on for a session that was written to another connection before."""
        self._heads, self._binary = before._heads, before._binary
        self.frames_sent, self.bytes_sent = before.frames_sent, before.bytes_sent
        self.frames_dropped = before.frames_dropped

    def name_session(self, session_id: str, *, binary: bool) -> None:
        """The id and the form of frames; to be called before the first frame."""
        self._binary = binary
        self._heads = (json_head("VIDEO_FRAME", session_id), json_head("ACTION_FRAME", session_id))

    @property
    def backlog(self) -> int:
        """Frames that wait to be written."""
        return self._frames

    @property
    def wants_idr(self) -> bool:
        """True while frames are dropped until the next IDR."""
        return self._skipping

    def put(self, text: str) -> None:
        """An answer: never dropped."""
        if not self._closed:
            self._items.append(text)
            self._filled.set()

    def put_frame(self, number: int, payload: FramePayload) -> None:
        """A frame, counted from the session's first; may be dropped."""
        if self._closed:
            return
        if self._skipping and payload.is_idr and self._frames < self._max_frames:
            self._skipping = False
        if self._frames >= self._max_frames:
            self._drop_frames()
            self._skipping = not payload.is_idr
        if self._skipping:
            self.frames_dropped += 1
            return
        if self.send_now is not None and not self._items:
            message = self._message(number, payload)
            if self.send_now(message):
                self._count(message)
                return
        self._items.append(_QueuedFrame(number, payload))
        self._frames += 1
        self._filled.set()

    def close(self) -> None:
        """No more is taken; :meth:`next` ends when the answers have been written."""
        if not self._closed:
            self._drop_frames()
            self._closed = True
            self._filled.set()

    def abandon(self) -> None:
        """The client is gone: nothing more is to be written."""
        self._items.clear()
        self._frames = 0
        self._closed = True
        self._filled.set()

    async def next(self) -> str | bytes | None:
        """The next message to write, or None when the outbox is closed and empty."""
        while not self._items:
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()
        item = self._items.popleft()
        if isinstance(item, str):
            return item
        self._frames -= 1
        message = self._message(item.number, item.payload)
        self._count(message)
        return message

    def _message(self, number: int, payload: FramePayload) -> str | bytes:
        if self._binary:
            return frame_bytes(number, self.frames_sent, payload)
        return frame_text(self._heads[payload.state == ACTION], number, self.frames_sent, payload)

    def _count(self, message: str | bytes) -> None:
        self.frames_sent += 1
        self.bytes_sent += len(message)

    def _drop_frames(self) -> None:
        kept = [item for item in self._items if isinstance(item, str)]
        self.frames_dropped += len(self._items) - len(kept)
        self._items = deque(kept)
        self._frames = 0
