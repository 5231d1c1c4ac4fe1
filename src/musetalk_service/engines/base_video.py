"""The part of an avatar that is a video: frames with shut lips on disk, and the clips that they make."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.painted_video import PaintedVideo
from musetalk_service.models.avatar_manifest import ClipRange
from musetalk_service.models.clips import ACTION, IDLE, kind_of
from musetalk_service.models.media import GOP_FRAMES, HEIGHT, WIDTH, ClipPosition

_LONGEST_STEP = 12
"""Frames that a session may leave out, under load, and still be in the same movement."""


@dataclass(frozen=True)
class BaseVideo:
    """Frames of 512x512 and the clips among them."""

    frames: NDArray[np.uint8]
    """(n, 768, 512) I420, mapped from a file: only frames that are shown are in memory."""
    transforms: NDArray[np.float32] | None
    """(n, 2, 3) from pixels of the portrait to those of each frame; None where the portrait has no landmarks."""
    clips: Mapping[str, ClipRange]
    painted: PaintedVideo | None = None
    """What came with the frames for MuseTalk."""

    def length(self, clip: str) -> int:
        """Frames of a clip, in whole GOPs but for an action's."""
        found = self.clips[clip]
        return 2 * found.frames if found.ping_pong else found.frames

    def index(self, place: ClipPosition) -> int:
        """Which frame is shown at a place in a clip."""
        found = self.clips[place.clip]
        step = place.index % self.length(place.clip)
        return found.first + (step if step < found.frames else 2 * found.frames - 1 - step)

    def alike(self, one: str, other: str) -> bool:
        """Whether two clips show the same frames."""
        return one in self.clips and self.clips[one] == self.clips.get(other)

    def joins(self, before: ClipPosition, after: ClipPosition) -> bool:
        """Whether the picture goes on from one place to the other by itself."""
        if self.alike(before.clip, after.clip):
            step = (after.index - before.index) % self.length(after.clip)
        elif self._idles_on(before.clip) and self._idles_on(after.clip):  # they all begin and end alike
            step = -before.index % self.length(before.clip) + after.index % self.length(after.clip)
        else:
            return False
        return 0 < step <= _LONGEST_STEP

    def _idles_on(self, clip: str) -> bool:
        return clip in self.clips and kind_of(clip) == IDLE


def read_base_video(frames: Path, transforms: Path | None, clips: Mapping[str, ClipRange]) -> BaseVideo:
    """From NumPy files. Raises ``ValueError`` for what does not fit together, ``OSError``."""
    pictures = np.load(frames, mmap_mode="r", allow_pickle=False)
    if pictures.ndim != 3 or pictures.shape[1:] != (HEIGHT * 3 // 2, WIDTH) or pictures.dtype != np.uint8:
        raise ValueError(f"base video frames are {pictures.shape} {pictures.dtype}")
    video = BaseVideo(pictures, _read_transforms(transforms, len(pictures)), dict(clips))
    for name, clip in clips.items():
        looped = kind_of(name) != ACTION
        if clip.first + clip.frames > len(pictures) or (looped and video.length(name) % GOP_FRAMES):
            raise ValueError(f"clip {name} is not among the {len(pictures)} frames, or no whole seconds long")
    return video


def _read_transforms(path: Path | None, frames: int) -> NDArray[np.float32] | None:
    if path is None:
        return None
    matrices = np.load(path, allow_pickle=False)
    if matrices.shape != (frames, 2, 3) or not np.isfinite(matrices).all():
        raise ValueError(f"{frames} base video frames need as many transforms, not {matrices.shape}")
    return np.asarray(matrices, np.float32)
