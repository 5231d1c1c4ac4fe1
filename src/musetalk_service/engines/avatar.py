"""An avatar in memory: a portrait, its landmarks, and its clips as tables of poses."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.landmarks import Face
from musetalk_service.engines.face.motion import CLIP_FRAMES, make_clip
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.clips import ACTION, kind_of
from musetalk_service.models.face import Pose
from musetalk_service.models.media import HEIGHT, WIDTH, ClipPosition

DEFAULT_AVATAR = "default"
_MEMORY_PER_PORTRAIT_BYTE = 24
"""A renderer's textures and warps against its portrait: some 18 MB for 512x512."""


@dataclass(frozen=True)
class Avatar:
    """One face that can be posed. Made by :func:`load_default_avatar`; immutable and shared."""

    name: str
    portrait: NDArray[np.uint8]
    """(512, 512, 3) BGR, upright and frontal."""
    landmarks: NDArray[np.float32]
    """(478, 3) pixels, MediaPipe Face Mesh convention."""
    digest: str
    """Of the picture and the landmarks: part of the key of everything cached for this avatar."""
    clips: tuple[str, ...] = field(default=tuple(CLIP_FRAMES))

    def memory_bytes(self) -> int:
        """About what it takes in memory, its renderer included."""
        return self.portrait.nbytes * _MEMORY_PER_PORTRAIT_BYTE

    @cached_property
    def renderer(self) -> FaceRenderer:
        """Made on first use, since the front needs none."""
        return FaceRenderer(self.portrait, self.landmarks)

    @cached_property
    def _tables(self) -> dict[str, NDArray[np.float32]]:
        return {name: make_clip(name) for name in self.clips}

    def clip_frames(self, clip: str) -> int:
        """Length of a clip in frames. Raises ``KeyError`` for a clip that this avatar has not."""
        return CLIP_FRAMES[clip]

    def pose(self, place: ClipPosition) -> Pose:
        """The pose at a place in a clip; loops wrap, one-shots keep their last frame.

        Raises ``KeyError`` for a clip that this avatar has not.
        """
        table = self._tables[place.clip]
        looped = kind_of(place.clip) != ACTION
        row = place.index % len(table) if looped else min(place.index, len(table) - 1)
        return Pose(*table[row].tolist())


def load_default_avatar() -> Avatar:
    """The drawn portrait that ships with the package."""
    folder = resources.files("musetalk_service") / "assets" / "default_avatar"
    return load_avatar(DEFAULT_AVATAR, (folder / "portrait.png").read_bytes(), (folder / "landmarks.json").read_bytes())


def load_avatar(name: str, png: bytes, points: bytes) -> Avatar:
    """From a 512x512 picture file and a JSON object whose ``points`` are 478 rows of x, y, z.

    Raises ``ValueError`` when the picture or the landmarks have another form.
    """
    portrait = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if portrait is None or portrait.shape != (HEIGHT, WIDTH, 3):
        raise ValueError(f"the portrait of avatar {name!r} is not a {WIDTH}x{HEIGHT} picture")
    landmarks = np.asarray(json.loads(points)["points"], np.float32)
    Face.measure(landmarks)
    return Avatar(
        name,
        np.asarray(portrait, np.uint8),
        landmarks,
        hashlib.sha256(png + points).hexdigest()[:16],
    )
