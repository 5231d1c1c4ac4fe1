"""What is measured: a face made from a photo or a video, or the default one."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.engines.face.video_face import VideoFace
from musetalk_service.models.face import NEUTRAL, REST, Mouth, Pose
from musetalk_service.preparation.base_video import find_face, shut_mouths
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.matte import cut_out
from musetalk_service.preparation.photo import PhotoLimits, make_portrait
from musetalk_service.preparation.picture_file import is_picture, read_picture
from musetalk_service.preparation.segmenter import PersonSegmenter
from musetalk_service.preparation.video_file import VideoFrames, VideoLimits

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


class VideoSubject:
    """A base video, played forwards and backwards, whose head moves by itself."""

    def __init__(self, name: str, face: VideoFace, aperture: NDArray[np.float64], nose_level: int, prepare_s: float):
        self.name, self.nose_level, self.prepare_s = name, nose_level, prepare_s
        self._face = face
        self._order = [*range(len(face)), *range(len(face) - 2, 0, -1)]
        self.old_mouth = aperture[self._order]

    def base(self, frame: int) -> Picture:
        """A frame with its mouth shut."""
        return self.draw(frame, NEUTRAL, REST)

    def draw(self, frame: int, pose: Pose, mouth: Mouth) -> Picture:
        """A frame with a mouth; the pose is the video's."""
        return self._face.draw(self._order[frame % len(self._order)], mouth)


def load_subject(source: str, landmarker: FaceLandmarker, segmenter: PersonSegmenter | None = None) -> Subject:
    """A face from a file, or the default one by its name. Without a segmenter a photo's background bends.

    Raises:
        PreparationError: no avatar can be made of the file.
        OSError: the file cannot be read.
    """
    started = time.perf_counter()
    if source == DEFAULT:
        avatar = load_default_avatar()
        return _portrait(DEFAULT, avatar.portrait, avatar.landmarks, avatar.matte, started)
    path = Path(source)
    limits = PhotoLimits()
    if not is_picture(path):
        return _video(path, landmarker, limits, started)
    photo = read_picture(path, max_pixels=limits.max_pixels)
    portrait = make_portrait(photo, landmarker, limits)
    matte = None
    if segmenter is not None:
        matte = cut_out(portrait.picture, portrait.landmarks, segmenter.believe(portrait.picture))
    return _portrait(path.name, portrait.picture, portrait.landmarks, matte, started)


def _portrait(
    name: str, picture: Picture, landmarks: NDArray[np.float32], matte: Picture | None, started: float
) -> Subject:
    renderer = FaceRenderer(picture, landmarks, matte)
    return PortraitSubject(name, renderer, int(landmarks[168, 1]), time.perf_counter() - started)


def _video(path: Path, landmarker: FaceLandmarker, limits: PhotoLimits, started: float) -> Subject:
    film = VideoFrames(path, VideoLimits())
    found = find_face(film, landmarker, lambda share: None, limits)
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames.npy"
        made = shut_mouths([found.take(film)], found.shown, frames, lambda share: None)
        mapped = np.load(frames, mmap_mode="r", allow_pickle=False)  # the file lives as long as its mapping
        face = VideoFace(FaceRenderer(made.portrait, made.landmarks), mapped, made.transforms)
    seconds = time.perf_counter() - started
    noses = made.transforms @ np.append(made.landmarks[168, :2], 1.0).astype(np.float32)
    return VideoSubject(path.name, face, found.aperture.astype(np.float64), int(noses[:, 1].min()), seconds)
