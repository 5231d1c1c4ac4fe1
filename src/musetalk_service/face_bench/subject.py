"""What is measured: a face made from a photo, or the default one."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.face import NEUTRAL, REST, Mouth, Pose
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.photo import PhotoLimits, make_portrait
from musetalk_service.preparation.picture_file import read_picture

Picture = NDArray[np.uint8]

DEFAULT: Final = "default"


class Subject(Protocol):
    """A face that can be drawn."""

    @property
    def name(self) -> str: ...

    @property
    def prepare_s(self) -> float:
        """Seconds it took to make it from its file."""
        ...

    @property
    def old_mouth(self) -> NDArray[np.float64] | None:
        """How far the mouth was open in each frame of a base video, in inter-ocular distances; None for a portrait."""
        ...

    @property
    def nose_level(self) -> int:
        """Row of the nose's root: no mouth changes anything above it."""
        ...

    def base(self, frame: int) -> Picture:
        """The picture of a frame with the mouth at rest and the head as it is, I420."""
        ...

    def draw(self, frame: int, pose: Pose, mouth: Mouth) -> Picture:
        """The picture of a frame, I420."""
        ...


@dataclass(frozen=True)
class PortraitSubject:
    """A portrait, whose pose is free."""

    name: str
    renderer: FaceRenderer
    nose_level: int
    prepare_s: float
    old_mouth: None = None

    def base(self, frame: int) -> Picture:
        """Every frame is the portrait."""
        return self.renderer.render(NEUTRAL, REST)

    def draw(self, frame: int, pose: Pose, mouth: Mouth) -> Picture:
        """The portrait, posed."""
        return self.renderer.render(pose, mouth)


def load_subject(source: str, landmarker: FaceLandmarker) -> Subject:
    """A face from a file, or the default one by its name.

    Raises:
        PreparationError: no avatar can be made of the file.
        OSError: the file cannot be read.
    """
    started = time.perf_counter()
    if source == DEFAULT:
        avatar = load_default_avatar()
        return _portrait(DEFAULT, avatar.portrait, avatar.landmarks, started)
    path = Path(source)
    limits = PhotoLimits()
    photo = read_picture(path, max_pixels=limits.max_pixels)
    portrait = make_portrait(photo, landmarker, limits)
    return _portrait(path.name, portrait.picture, portrait.landmarks, started)


def _portrait(name: str, picture: Picture, landmarks: NDArray[np.float32], started: float) -> Subject:
    renderer = FaceRenderer(picture, landmarks)
    return PortraitSubject(name, renderer, int(landmarks[168, 1]), time.perf_counter() - started)
