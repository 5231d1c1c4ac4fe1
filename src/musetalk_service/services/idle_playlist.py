"""Which idle packet belongs to which frame: one clip after another, so that minutes do not repeat.

All idle clips begin and end alike, so any may follow any without a seam; their lengths are whole
GOPs, so that each begins with an IDR.
"""

import random
from collections.abc import Collection, Mapping

from musetalk_service.models.clips import DEFAULT_CLIP
from musetalk_service.models.media import GOP_FRAMES, ClipPosition

LISTENING_CLIP = "idle_6"
"""Small nods: played only on request, while somebody else speaks."""
_BACK_TO_DEFAULT = 0.5
"""Share of the other clips after which the calm one comes again."""


class IdlePlaylist:
    """One session's walk through its avatar's idle clips; ``ready`` are those whose packets exist."""

    def __init__(self, clip_frames: Mapping[str, int], ready: Collection[str], seed: int) -> None:
        self._clip_frames = clip_frames
        self._ready = ready
        self._random = random.Random(seed)
        self._pinned: str | None = None
        self._clip = DEFAULT_CLIP
        self._start = 0

    def place(self, frame: int) -> ClipPosition:
        """The packet of a frame; frames come in rising order, except after :meth:`enter`."""
        while frame - self._start >= self._clip_frames[self._clip]:
            self._start += self._clip_frames[self._clip]
            self._clip = self._pinned or self._next()
        return ClipPosition(self._clip, max(0, frame - self._start))

    def is_idr(self, frame: int) -> bool:
        """Whether the packet of a frame is an IDR."""
        return self.place(frame).index % GOP_FRAMES == 0

    def enter(self, frame: int) -> None:
        """Make the packet of this frame an IDR: the next GOP is moved up to it."""
        index = max(0, frame - self._start)
        self._start = frame - (index + -index % GOP_FRAMES)
        self.place(frame)

    def pin(self, clip: str | None, frame: int) -> bool:
        """Play one clip over and over from a frame on, or vary again; returns whether the picture changes now.

        A clip without packets is not pinned: the variation goes on.
        """
        self._pinned = clip if clip in self._ready else None
        if self._pinned is None or self._pinned == self._clip:
            return False
        self._start = frame - self.place(frame).index % GOP_FRAMES  # the IDRs stay where they were
        self._clip = self._pinned
        return True

    def _next(self) -> str:
        others = [clip for clip in self._ready if clip not in (self._clip, DEFAULT_CLIP, LISTENING_CLIP)]
        if not others or (self._clip != DEFAULT_CLIP and self._random.random() < _BACK_TO_DEFAULT):
            return DEFAULT_CLIP
        return self._random.choice(sorted(others))
