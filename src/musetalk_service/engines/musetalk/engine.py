"""The MuseTalk engine: speech heard by Whisper, the lower face painted by a UNet, laid on the moving portrait."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from musetalk_service import __version__
from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import EngineInfo, EngineStream, FrameRequest, Pcm, Picture
from musetalk_service.engines.musetalk.audio_stream import AudioStream, encode
from musetalk_service.engines.musetalk.batching import PatchRunner
from musetalk_service.engines.musetalk.blending import Image
from musetalk_service.engines.musetalk.faces import AvatarFace, FaceStore, checkpoint_digest
from musetalk_service.engines.musetalk.features import positional_encoding
from musetalk_service.engines.musetalk.model import FaceEncoder, MouthModel
from musetalk_service.engines.musetalk.options import MuseTalkOptions
from musetalk_service.engines.musetalk.weights import load_unet, load_vae, load_whisper, missing_files
from musetalk_service.errors import CheckpointError
from musetalk_service.models.avatar_manifest import ENGINES_FOLDER
from musetalk_service.models.face import REST
from musetalk_service.models.media import FrameSize

log = logging.getLogger(__name__)

_EASE_FRAMES: Final = 3
"""In which a painted mouth comes and goes."""


def choose_device(options: MuseTalkOptions) -> torch.device:
    """The device that is asked for, or the CPU where there is none."""
    there = options.device == "cpu" or (
        torch.cuda.is_available() if options.device == "cuda" else torch.backends.mps.is_available()
    )
    if not there:
        log.warning("no such device, MuseTalk runs on the CPU", extra={"device": options.device})
    return torch.device(options.device if there else "cpu")


def choose_dtype(options: MuseTalkOptions, device: torch.device) -> torch.dtype:
    """The type of weights and activations on a device."""
    if options.precision != "auto":
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[options.precision]
    return torch.float16 if options.half and device.type != "cpu" else torch.float32


@dataclass
class MuseTalkStream:
    """One session."""

    avatar: Avatar
    size: FrameSize
    audio: AudioStream
    strength: float = 0.0
    """How much of the painted mouth is seen."""
    patch: Image | None = None
    """The last one, which goes when the speech does."""

    def push(self, pcm: Pcm, position: int) -> None:
        """More audio; ``position`` is that of its first sample. A gap forgets what was before it."""
        self.audio.push(pcm, position)


class MuseTalkEngine:
    """Versions 1.5 and 1.0. Not thread-safe."""

    def __init__(self, options: MuseTalkOptions) -> None:
        """Load the checkpoints and make ready, which takes seconds.

        Raises:
            CheckpointError: a file is missing or wrong.
            EngineError: the device's memory is too small.
        """
        missing = missing_files(options.model_path, options.listening.version)
        if missing:
            raise CheckpointError("; ".join(missing))
        device = choose_device(options)
        if device.type == "cpu":
            log.warning("MuseTalk on a CPU is far from real time: sessions will fall behind")
        dtype = choose_dtype(options, device)
        version = options.listening.version
        vae = load_vae(options.model_path)
        checkpoint = checkpoint_digest(vae.encoder, vae.quant_conv)
        self._listening = options.listening
        self._device = device
        self._whisper = load_whisper(options.model_path).to(device, dtype)
        width = self._whisper.ln_post.weight.shape[0]
        self._places = positional_encoding(width)[0].to(device, dtype)
        self._faces = FaceStore(
            FaceEncoder(vae, device, torch.float32),
            checkpoint,
            version,
            options.cache_dir / ENGINES_FOLDER,
            device,
            dtype,
            memory_bytes=options.avatar_memory_bytes,
        )
        model = MouthModel(load_unet(options.model_path, version), vae)
        self._runner = PatchRunner(model, device, dtype, width, largest=options.largest_batch)
        self._runner.warm_up()
        name = str(dtype).removeprefix("torch.")
        self.info = EngineInfo(
            "musetalk", f"{__version__} ({version}, {name})", str(device), options.listening.look_ahead_samples
        )

    def open(self, avatar: Avatar, size: FrameSize) -> EngineStream:
        """A stream for one session; the first of an avatar takes longer, since its face is encoded.

        Raises :class:`EngineError` when the avatar's face does not lie in its picture.
        """
        self._faces.get(avatar, size, None if avatar.has_face else 0)
        return MuseTalkStream(avatar, size, AudioStream(self._listening))

    def render(self, batch: Sequence[FrameRequest]) -> list[Picture]:
        """One picture per request. Networks run for those that speak only, all of them together."""
        speaking = [request for request in batch if _speaks(request)]
        if speaking:
            self._hear(speaking)
            latents = [self._face(request).latents for request in speaking]
            heard = [_stream(request).audio.frame(_position(request)) + self._places for request in speaking]
            for request, patch in zip(speaking, self._runner.run(latents, heard), strict=True):
                _stream(request).patch = patch
        spoken = {id(request) for request in speaking}
        return [self._draw(request, speaks=id(request) in spoken) for request in batch]

    def _face(self, request: FrameRequest) -> AvatarFace:
        """The face that is seen there; frames of a video are encoded when they are first shown."""
        stream = _stream(request)
        return self._faces.get(stream.avatar, stream.size, stream.avatar.video_frame(stream.size, request.place))

    def _draw(self, request: FrameRequest, *, speaks: bool) -> Picture:
        """The face at rest, and as much of the painted mouth as is due."""
        stream = _stream(request)
        change = 1 / _EASE_FRAMES
        stream.strength = min(1.0, stream.strength + change) if speaks else max(0.0, stream.strength - change)
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

    def _hear(self, speaking: Sequence[FrameRequest]) -> None:
        """Whisper for the hops that it has not heard yet."""
        waiting = []
        for request in speaking:
            window = _stream(request).audio.window(_position(request))
            if window is not None:
                waiting.append((request, window))
        if waiting:
            with torch.inference_mode():
                rows = encode(self._whisper, [window for _, window in waiting], self._listening, self._device)
            for (request, _), kept in zip(waiting, rows, strict=True):
                _stream(request).audio.keep(_position(request), kept)


def _speaks(request: FrameRequest) -> bool:
    return request.position is not None and not _stream(request).audio.is_silent(request.position)


def _stream(request: FrameRequest) -> MuseTalkStream:
    assert isinstance(request.stream, MuseTalkStream)
    return request.stream


def _position(request: FrameRequest) -> int:
    assert request.position is not None
    return request.position
