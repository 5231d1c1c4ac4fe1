"""The MuseTalk engine: a lower face painted for the speech, laid on the moving portrait."""

import contextlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from musetalk_service import __version__
from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import EngineInfo, EngineStream, FrameRequest, Pcm, Picture
from musetalk_service.engines.musetalk.audio_stream import AudioStream
from musetalk_service.engines.musetalk.blending import Image
from musetalk_service.engines.musetalk.faces import AvatarFace, FaceStore
from musetalk_service.engines.musetalk.options import FRAME_SAMPLES, MuseTalkOptions
from musetalk_service.engines.musetalk.painter import Painter, PainterGoneError, Painting, PaintJob
from musetalk_service.models.avatar_manifest import ENGINES_FOLDER
from musetalk_service.models.face import REST
from musetalk_service.models.media import FrameSize

_EASE_FRAMES: Final = 3
"""In which a painted mouth comes and goes."""


@dataclass
class MuseTalkStream:
    """One session."""

    name: str
    """Unique among all sessions whose frames are painted together."""
    avatar: Avatar
    size: FrameSize
    audio: AudioStream
    strength: float = 0.0
    """How much of the painted mouth is seen."""
    patch: Image | None = None
    """The last one, which goes when the speech does."""
    ordered: dict[int, Painting] = field(default_factory=dict)
    """Patches of frames that are not drawn yet, by their audio positions; rising."""

    def push(self, pcm: Pcm, position: int) -> None:
        """More audio; ``position`` is that of its first sample. A gap forgets what was before it."""
        self.audio.push(pcm, position)


class MuseTalkEngine:
    """Versions 1.5 and 1.0. Not thread-safe."""

    def __init__(self, options: MuseTalkOptions, painter: Painter) -> None:
        """Needs no painter yet.

        Args:
            options: of which those of the networks are the painter's.
            painter: has the networks.
        """
        self._listening = options.listening
        self._painter = painter
        self._faces = FaceStore(
            painter,
            options.listening.version,
            options.cache_dir / ENGINES_FOLDER,
            mask=options.mask,
            memory_bytes=options.face_bytes,
        )
        self._numbers = itertools.count()
        try:
            _, device, precision = painter.info
        except PainterGoneError:
            device, precision = options.device, options.precision
        version = f"{__version__} ({options.listening.version}, {precision})"
        self.info = EngineInfo("musetalk", version, device, options.listening.look_ahead_samples)

    def open(self, avatar: Avatar, size: FrameSize) -> EngineStream:
        """A stream for one session; the first of an avatar takes longer, since its face is encoded.

        Raises :class:`EngineError` when the avatar's face does not lie in its picture.
        """
        with contextlib.suppress(PainterGoneError):  # it may be back when the session speaks
            self._faces.get(avatar, size, None if avatar.has_face else 0)
        name = f"{os.getpid()}-{next(self._numbers)}"
        return MuseTalkStream(name, avatar, size, AudioStream(self._listening))

    def order(self, batch: Sequence[FrameRequest]) -> None:
        """Have the patches painted of those that speak; in silence no network runs."""
        speaking = [request for request in batch if _speaks(request) and _ordered(request) is None]
        if speaking:
            paintings = self._painter.order([self._job(request) for request in speaking])
            for request, painting in zip(speaking, paintings, strict=True):
                assert request.position is not None
                _stream(request).ordered[request.position] = painting

    def is_ready(self, request: FrameRequest) -> bool:
        """Whether the patch has come, or will not come."""
        painting = _ordered(request)
        return painting is None or painting.is_done()

    def fileno(self) -> int | None:
        """The painter's."""
        return self._painter.fileno()

    def render(self, batch: Sequence[FrameRequest]) -> list[Picture]:
        """One picture per request; patches that were not ordered are, all of them together."""
        self.order(batch)
        patches = [None if (painting := _ordered(request)) is None else painting.patch() for request in batch]
        return [self._draw(request, patch) for request, patch in zip(batch, patches, strict=True)]

    def _job(self, request: FrameRequest) -> PaintJob:
        stream, face = _stream(request), self._face(request)
        position = request.position
        assert position is not None
        window = stream.audio.window(position)
        frame = (position - window.start) // FRAME_SAMPLES
        return PaintJob(stream.name, window, frame, face.name, face.latents, request.due)

    def _face(self, request: FrameRequest) -> AvatarFace:
        """The face that is seen there; frames of a video are encoded when they are first shown."""
        stream = _stream(request)
        return self._faces.get(stream.avatar, stream.size, stream.avatar.video_frame(stream.size, request.place))

    def _draw(self, request: FrameRequest, patch: Image | None) -> Picture:
        """The face at rest, and as much of the painted mouth as is due."""
        stream = _stream(request)
        change = 1 / _EASE_FRAMES
        if patch is None:
            stream.strength = max(0.0, stream.strength - change)
        else:
            stream.strength, stream.patch = min(1.0, stream.strength + change), patch
        if request.position is not None:  # frames that nobody asks for any more go with those before this one
            stream.ordered = {at: later for at, later in stream.ordered.items() if at > request.position}
        if stream.strength < 1e-6:
            stream.strength, stream.patch = 0.0, None
        # A painted mouth does not smile, so the cheeks beside it must not either.
        pose = request.pose._replace(smile=request.pose.smile * (1.0 - stream.strength))
        picture = stream.avatar.draw_canvas(stream.size, request.place, pose, REST)
        if stream.patch is not None:
            still = stream.avatar.video_frame(stream.size, request.place) is not None
            moved = None if still else stream.avatar.renderer(stream.size).origins(pose)
            self._face(request).overlay.paint(picture, stream.patch, stream.strength, moved)
        return stream.avatar.show(stream.size, picture)


def _speaks(request: FrameRequest) -> bool:
    return request.position is not None and not _stream(request).audio.is_silent(request.position)


def _ordered(request: FrameRequest) -> Painting | None:
    return None if request.position is None else _stream(request).ordered.get(request.position)


def _stream(request: FrameRequest) -> MuseTalkStream:
    assert isinstance(request.stream, MuseTalkStream)
    return request.stream
