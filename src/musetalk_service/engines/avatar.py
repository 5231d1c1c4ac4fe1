"""An avatar in memory: a portrait, its landmarks, and its clips as tables of poses."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.avatar_view import Framing, View, choose_framing, largest_within
from musetalk_service.engines.base_video import BaseVideo
from musetalk_service.engines.face.landmarks import Face
from musetalk_service.engines.face.motion import CLIP_FRAMES, make_clip
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.engines.face.video_face import VideoFace
from musetalk_service.errors import EngineError
from musetalk_service.models.clips import ACTION, IDLE, kind_of
from musetalk_service.models.face import Mouth, Pose
from musetalk_service.models.media import BASE_SIZE, HEIGHT, WIDTH, ClipPosition, FrameSize
from musetalk_service.utils.i420 import Plane
from musetalk_service.utils.pictures import PNG_HEAD, png_size

DEFAULT_AVATAR = "default"
_LARGEST_VIEW = 2048
"""Pixels a side of a picture that is read beside a portrait."""
_MEMORY_PER_PICTURE_BYTE = 30
"""A renderer's textures and warps against its picture: some 23 MB for 512x512, half of it for layers."""


@dataclass(frozen=True)
class Avatar:
    """One face that can be posed. Made by :func:`load_default_avatar`; immutable and shared."""

    name: str
    portrait: NDArray[np.uint8]
    """(512, 512, 3) BGR, upright and frontal."""
    landmarks: NDArray[np.float32]
    """(478, 3) pixels, MediaPipe Face Mesh convention; (0, 3) where only its video is known."""
    digest: str
    """Of the picture and the landmarks: part of the key of everything cached for this avatar."""
    clips: tuple[str, ...] = field(default=tuple(CLIP_FRAMES))
    matte: NDArray[np.uint8] | None = None
    """(512, 512) how much of each pixel of the portrait is the person, 255 all of it; None where that is not known."""
    more_views: tuple[View, ...] = ()
    """Pictures that are finer than the portrait, or show more."""

    base_video: BaseVideo | None = None
    """Frames that some of its clips show instead of the portrait."""

    folder: Path | None = None
    """Its version's folder, beside whose files engines keep what they compute of it; None: it has none of its own."""

    def with_base_video(self, video: BaseVideo) -> "Avatar":
        """The same face, some of whose clips are a video. Drawn idle clips would jump beside such ones."""
        idles = any(kind_of(clip) == IDLE for clip in video.clips)
        drawn = tuple(clip for clip in self.clips if not (idles and kind_of(clip) == IDLE)) if self.has_face else ()
        clips = tuple(clip for clip in self.clips if clip in drawn or clip in video.clips)
        return replace(self, base_video=video, clips=clips)

    @property
    def has_face(self) -> bool:
        """Whether it can be posed and drawn; otherwise there is its video alone, which only MuseTalk makes speak."""
        return len(self.landmarks) > 0

    def draw(self, size: FrameSize, place: ClipPosition, pose: Pose, mouth: Mouth) -> Plane:
        """A frame in :meth:`drawn_size`, I420: of the base video where that is shown, else of the portrait.

        The pose is the portrait's; a video's head moves by itself.
        """
        return self.show(size, self.draw_canvas(size, place, pose, mouth))

    def draw_canvas(self, size: FrameSize, place: ClipPosition, pose: Pose, mouth: Mouth) -> Plane:
        """The same in :meth:`canvas_size`, before :meth:`show` cuts it: for engines that paint on it."""
        frame = self.video_frame(size, place)
        if frame is not None and self.base_video is not None:
            return self._video_face.draw(frame, mouth) if self.has_face else np.array(self.base_video.frames[frame])
        return self.renderer(size).render(pose, mouth)

    def show(self, size: FrameSize, picture: Plane) -> Plane:
        """Of an I420 picture of :meth:`canvas_size` the part that is shown, in :meth:`drawn_size`."""
        return self._framing(size).show(picture)

    def video_frame(self, size: FrameSize, place: ClipPosition) -> int | None:
        """Which frame of the base video is shown there; None where the portrait is."""
        if self.base_video is None or not self._shows_video(size, place):
            return None
        return self.base_video.index(place)

    def joins(self, size: FrameSize, before: ClipPosition, after: ClipPosition) -> bool:
        """Whether the picture goes on from one place to the other by itself, or jumps."""
        videos = self._shows_video(size, before), self._shows_video(size, after)
        if self.base_video is None or videos == (False, False):
            return True
        return videos == (True, True) and self.base_video.joins(before, after)

    def _shows_video(self, size: FrameSize, place: ClipPosition) -> bool:
        """Videos have one size; where a finer one is drawn, the portrait stands in."""
        return (
            self.base_video is not None and place.clip in self.base_video.clips and self.canvas_size(size) == BASE_SIZE
        )

    @cached_property
    def _video_face(self) -> VideoFace:
        assert self.base_video is not None and self.base_video.transforms is not None
        return VideoFace(self.renderer(BASE_SIZE), self.base_video.frames, self.base_video.transforms)

    def memory_bytes(self) -> int:
        """About what it takes in memory, its renderers included."""
        drawn = sum(size.pixels * 3 for _, size in self._renderers) or self.portrait.nbytes
        return drawn * _MEMORY_PER_PICTURE_BYTE

    def drawn_size(self, size: FrameSize) -> FrameSize:
        """The size of the pictures that are to be shown in ``size``: as fine as that, if the avatar is."""
        return self._framing(size).size

    def canvas_size(self, size: FrameSize) -> FrameSize:
        """The size of the whole picture, which :meth:`show` takes a part of."""
        return self._framing(size).drawn

    def renderer(self, size: FrameSize) -> FaceRenderer:
        """Draws in :meth:`canvas_size`. Made on first use, since the front needs none.

        Raises :class:`EngineError` for an avatar without a face.
        """
        if not self.has_face:
            raise EngineError(f"avatar {self.name!r} has no landmarks: only its video can be shown")
        framing = self._framing(size)
        key = framing.view.size, framing.drawn
        renderer = self._renderers.get(key)
        if renderer is None:
            picture, landmarks = framing.prepare(self.landmarks)
            renderer = self._renderers[key] = FaceRenderer(picture, landmarks, framing.prepare_matte(self.matte))
        return renderer

    def _framing(self, size: FrameSize) -> Framing:
        framing = self._framings.get(size)
        if framing is None:
            base = View(BASE_SIZE, 0, 0, WIDTH, HEIGHT, lambda: self.portrait)
            if self.has_face:
                framing = choose_framing((base, *self.more_views), self.landmarks, size)
            else:
                framing = choose_framing((base,), self._video_landmarks(), largest_within(BASE_SIZE, size))
            self._framings[size] = framing
        return framing

    def _video_landmarks(self) -> NDArray[np.float32]:
        """(4, 3) the corners of the face in the first frame."""
        assert self.base_video is not None and self.base_video.painted is not None
        return np.pad(self.base_video.painted.corners(0), ((0, 0), (0, 1))).astype(np.float32)

    @cached_property
    def _framings(self) -> dict[FrameSize, Framing]:
        return {}

    @cached_property
    def _renderers(self) -> dict[tuple[FrameSize, FrameSize], FaceRenderer]:
        """By the view's own size and that of the canvas, which sizes of other shapes share."""
        return {}

    @cached_property
    def _tables(self) -> dict[str, NDArray[np.float32]]:
        return {name: make_clip(name) for name in self.clips}

    def clip_frames(self, clip: str) -> int:
        """Length of a clip in frames. Raises ``KeyError`` for a clip that this avatar has not."""
        if self.base_video is not None and clip in self.base_video.clips:
            return self.base_video.length(clip)
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
    """The drawn portrait that ships with the package, and the larger pictures of the same drawing."""
    folder = resources.files("musetalk_service") / "assets" / "default_avatar"
    avatar = load_avatar(
        DEFAULT_AVATAR, (folder / "portrait.png").read_bytes(), (folder / "landmarks.json").read_bytes()
    )
    table = (folder / "views.json").read_bytes()
    digest = hashlib.sha256(avatar.digest.encode() + table + (folder / "matte.png").read_bytes())
    matte = _read_picture(folder / "matte.png", grey=True)
    views = []
    for row in json.loads(table):
        file, matte_file = folder / row["file"], folder / row["matte"]
        digest.update(file.read_bytes() + matte_file.read_bytes())
        left, top, width, height = row["shows"]
        size, read_matte = FrameSize(*row["size"]), partial(_read_picture, matte_file, grey=True)
        views.append(View(size, left, top, width, height, partial(_read_picture, file), read_matte))
    return replace(avatar, matte=matte, more_views=tuple(views), digest=digest.hexdigest()[:16])


def add_matte(avatar: Avatar, png: bytes) -> Avatar:
    """The avatar with what of its portrait is the person. Raises ``ValueError`` when it is no 512x512 PNG picture."""
    if png_size(png) != BASE_SIZE:  # before it is decoded
        raise ValueError(f"the matte of avatar {avatar.name!r} is not a {WIDTH}x{HEIGHT} PNG picture")
    matte = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if matte is None:
        raise ValueError(f"the matte of avatar {avatar.name!r} is damaged")
    digest = hashlib.sha256(avatar.digest.encode() + png).hexdigest()[:16]
    return replace(avatar, matte=np.asarray(matte, np.uint8), digest=digest)


def add_large_view(avatar: Avatar, file: Path) -> Avatar:
    """The avatar with a finer picture of the square that its portrait shows.

    Raises ``ValueError`` when the file is no square PNG picture of 514 to 2048 pixels a side, ``OSError``.
    """
    with file.open("rb") as opened:
        size = png_size(opened.read(PNG_HEAD))
    side = size.width if size is not None else 0
    if size != (side, side) or not WIDTH < side <= _LARGEST_VIEW or side % 2:  # before it is decoded
        raise ValueError(f"{file.name} is not a square PNG picture larger than the portrait, up to {_LARGEST_VIEW}")
    picture = _read_picture(file)
    view = View(FrameSize(side, side), 0, 0, WIDTH, HEIGHT, partial(_read_picture, file))
    digest = hashlib.sha256(avatar.digest.encode() + picture.tobytes()).hexdigest()[:16]
    return replace(avatar, more_views=(*avatar.more_views, view), digest=digest)


def _read_picture(file: Traversable, *, grey: bool = False) -> NDArray[np.uint8]:
    form = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    picture = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), form)
    if picture is None:
        raise ValueError(f"{file.name} is no picture")
    return np.asarray(picture, np.uint8)


def load_avatar(name: str, png: bytes, points: bytes | None) -> Avatar:
    """From a 512x512 PNG file and a JSON object whose ``points`` are 478 rows of x, y, z; None where it has none.

    Raises ``ValueError`` when the picture or the landmarks have another form.
    """
    fits = png_size(png) == BASE_SIZE  # before it is decoded
    portrait = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) if fits else None
    if portrait is None or portrait.shape != (HEIGHT, WIDTH, 3):
        raise ValueError(f"the portrait of avatar {name!r} is not a {WIDTH}x{HEIGHT} PNG picture")
    landmarks = np.empty((0, 3), np.float32)
    if points is not None:
        landmarks = np.asarray(json.loads(points)["points"], np.float32)
        Face.measure(landmarks)
    return Avatar(
        name,
        np.asarray(portrait, np.uint8),
        landmarks,
        hashlib.sha256(png + (points or b"")).hexdigest()[:16],
    )
