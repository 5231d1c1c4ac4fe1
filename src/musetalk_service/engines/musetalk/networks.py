"""MuseTalk's networks on one device: they hear, encode faces and paint, for whoever asks."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musetalk_service.engines.musetalk.batching import PatchRunner, Pending, split
from musetalk_service.engines.musetalk.decoders import choose_decoder
from musetalk_service.engines.musetalk.face_parsing import FaceParser
from musetalk_service.engines.musetalk.features import positional_encoding, take_window, whisper_mel
from musetalk_service.engines.musetalk.model import FaceEncoder, MouthModel
from musetalk_service.engines.musetalk.options import (
    FRAME_SAMPLES,
    LATENT_SHAPE,
    POSITION_SAMPLES,
    Listening,
    MuseTalkOptions,
)
from musetalk_service.engines.musetalk.painter import Classes, Latents, PainterInfo, PaintJob, Patch, Window
from musetalk_service.engines.musetalk.weights import load_parser, load_unet, load_vae, load_whisper, missing_files
from musetalk_service.engines.musetalk.whisper import WhisperEncoder
from musetalk_service.errors import CheckpointError, EngineError
from musetalk_service.models.media import FRAME_SECONDS
from musetalk_service.utils.byte_cache import ByteCache

log = logging.getLogger(__name__)

_FULL_SCALE: Final = 32_768.0
_HEARD_BYTES: Final = 64 << 20
"""What has been heard of hops that are not over."""
_MEASURED_RUNS: Final = 3
_MEASURED_S: Final = 1.0
_USED: Final = 0.9


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


def load_painter(options: MuseTalkOptions) -> "NetworkPainter":
    """Load the checkpoints and warm up, which takes seconds.

    Raises:
        CheckpointError: a file is missing or wrong.
        EngineError: the device's memory is too small.
    """
    missing = missing_files(options)
    if missing:
        raise CheckpointError("; ".join(missing))
    device = choose_device(options)
    if device.type == "cpu":
        log.warning("MuseTalk on a CPU is far from real time: sessions will fall behind")
    dtype = choose_dtype(options, device)
    vae = load_vae(options.model_path)
    checkpoint = checkpoint_digest(vae.encoder, vae.quant_conv)
    whisper = load_whisper(options.model_path).to(device, dtype)
    faces = FaceEncoder(vae, device, torch.float32)
    model = MouthModel(load_unet(options.model_path, options.listening.version), vae, choose_decoder(options, vae))
    runner = PatchRunner(model, device, dtype, whisper.ln_post.weight.shape[0], largest=options.largest_batch)
    runner.warm_up()
    parser = load_parser(options.model_path).to(device) if options.mask == "parsing" else None
    return NetworkPainter(
        whisper, faces, runner, options.listening, checkpoint, parser=parser, latents_bytes=options.latents_bytes
    )


class NetworkPainter:
    """A :class:`Painter` in this process. Not thread-safe."""

    def __init__(
        self,
        whisper: WhisperEncoder,
        faces: Callable[[Patch], Latents],
        runner: PatchRunner,
        listening: Listening,
        checkpoint: str,
        *,
        parser: FaceParser | None = None,
        latents_bytes: int = 256 << 20,
    ) -> None:
        """Take networks that are where they shall run.

        Args:
            whisper: hears, in the runner's type.
            faces: encodes faces.
            runner: paints.
            listening: how the windows are cut that will come.
            checkpoint: which weights these are.
            parser: tells skin from hair, in float32.
            latents_bytes: what latents on the device may take.
        """
        self._whisper = whisper
        self._encode_face = faces
        self._parser = parser
        self._runner = runner
        self._listening = listening
        self._places = positional_encoding(whisper.ln_post.weight.shape[0])[0].to(runner.device, runner.dtype)
        self._faces: ByteCache[str, _Face] = ByteCache(latents_bytes, _Face.memory_bytes, grow=False)
        self._heard: ByteCache[str, tuple[int, Tensor]] = ByteCache(
            _HEARD_BYTES, lambda heard: _bytes(heard[1]), grow=False
        )
        self.info = PainterInfo(checkpoint, str(runner.device), str(runner.dtype).removeprefix("torch."))

    @property
    def sizes(self) -> list[int]:
        """The batch sizes that fit the device's memory."""
        return self._runner.sizes

    def next_batch(self, waiting: int) -> int:
        """How many of so many frames that wait are best started together."""
        return min(waiting, split(waiting, self.sizes)[0])

    def encode_face(self, face: Patch) -> Latents:
        """A face as latents. Raises :class:`EngineError` when the device's memory is too small."""
        try:
            return self._encode_face(face)
        except torch.OutOfMemoryError:
            raise EngineError(f"the memory of {self._runner.device} is too small for a face") from None

    def parse_face(self, picture: NDArray[np.uint8]) -> Classes:
        """(512, 512) classes of a (512, 512, 3) BGR picture's pixels.

        Raises :class:`EngineError` without BiSeNet, and when the device's memory is too small.
        """
        if self._parser is None:
            raise EngineError("MuseTalk's process runs without BiSeNet; is MUSETALK_MASK the same for all?")
        try:
            with torch.inference_mode():
                rgb = torch.from_numpy(picture[..., ::-1].copy()).to(self._runner.device)
                scores = self._parser(rgb.permute(2, 0, 1)[None].float() / 255)
                return np.asarray(scores[0].argmax(0).to(torch.uint8).cpu().numpy())
        except torch.OutOfMemoryError:
            raise EngineError(f"the memory of {self._runner.device} is too small to parse a face") from None

    def paint(self, jobs: Sequence[PaintJob]) -> NDArray[np.uint8]:
        """Patches of any number of jobs. Raises :class:`EngineError` when the device's memory is too small."""
        return self.start(jobs).wait()

    def start(self, jobs: Sequence[PaintJob]) -> Pending:
        """Queue jobs on the device. Raises :class:`EngineError` when the device's memory is too small."""
        with torch.inference_mode():
            heard = self._hear(jobs)
            audio = [heard[job.stream][job.frame] + self._places for job in jobs]
            faces = [self._face(job) for job in jobs]
            statistics = [face.statistics for face in faces if face.statistics is not None]
            return self._runner.start([face.latents for face in faces], audio, statistics)

    def measure(self, clock: Callable[[], float] = time.perf_counter) -> dict[int, float]:
        """Frames a second of each batch size, everything included: hearing, painting, and the way there and back.

        Sizes beyond one that takes longer than a second are left out: they could not be of use.
        """
        window = Window(np.zeros(self._listening.window_samples, np.int16), 0, 0)
        latents = np.zeros(LATENT_SHAPE, np.float32)
        rates = {}
        for size in self.sizes:
            times: list[float] = []
            while len(times) < _MEASURED_RUNS and sum(times) < _MEASURED_S:
                heard = window._replace(start=len(times))
                jobs = [PaintJob(f"measured {i}", heard, 0, "", latents, 0.0) for i in range(size)]
                start = clock()
                self.paint(jobs)
                times.append(clock() - start)
            rates[size] = size / max(min(times), 1e-9)
            if min(times) > _MEASURED_S:
                break
        return {size: rate for size, rate in rates.items() if size in self.sizes}

    def _face(self, job: PaintJob) -> "_Face":
        face = self._faces.get(job.face)
        if face is None:
            latents = _upload(torch.from_numpy(job.latents.copy()), self._runner.device).to(self._runner.dtype)
            face = _Face(latents, self._runner.statistics(latents))
            self._faces.put(job.face, face)
        return face

    def _hear(self, jobs: Sequence[PaintJob]) -> dict[str, Tensor]:
        """Whisper's rows for the hop of each stream, of which those that it has heard already cost nothing."""
        kept = {job.stream: self._heard.get(job.stream) for job in jobs}
        heard = {job.stream: rows[1] for job in jobs if (rows := kept[job.stream]) and rows[0] == job.window.start}
        waiting = {job.stream: job.window for job in jobs if job.stream not in heard}
        for (stream, window), rows in zip(waiting.items(), self._encode(list(waiting.values())), strict=True):
            self._heard.put(stream, (window.start, rows))
            heard[stream] = rows
        return heard

    def _encode(self, windows: list[Window]) -> list[Tensor]:
        """As few passes as the memory allows."""
        if not windows:
            return []
        try:
            return hear(self._whisper, windows, self._listening, self._runner.device)
        except torch.OutOfMemoryError:
            half = len(windows) // 2
            if not half:
                raise EngineError(f"the memory of {self._runner.device} is too small for one window of audio") from None
        return self._encode(windows[:half]) + self._encode(windows[half:])


class _Face(NamedTuple):
    """A face on the device."""

    latents: Tensor
    statistics: Tensor | None
    """What the decoder wants to know of it at rest."""

    def memory_bytes(self) -> int:
        return _bytes(self.latents) + (0 if self.statistics is None else _bytes(self.statistics))


def sustained_sessions(rates: Mapping[int, float]) -> int:
    """How many sessions of 25 frames a second keep up, from the frames a second of each batch size; at least one.

    A batch that alone takes longer than a frame is shown does not count, and a tenth is left for what comes unevenly.
    """
    in_time = [rate for size, rate in rates.items() if size <= rate * FRAME_SECONDS]
    return max(1, int(_USED * max(in_time, default=0.0) * FRAME_SECONDS))


def hear(encoder: WhisperEncoder, windows: list[Window], listening: Listening, device: torch.device) -> list[Tensor]:
    """Whisper's view of windows, all in one pass.

    Returns:
        One (hop_frames, 50, width) per window, on the device, in the encoder's own type.
    """
    dtype = encoder.conv1.weight.dtype
    pcm = torch.zeros((len(windows), listening.window_samples), dtype=torch.int16, pin_memory=device.type == "cuda")
    for row, window in zip(pcm.numpy(), windows, strict=True):
        row[: len(window.pcm)] = window.pcm
    heard = _upload(torch.tensor([len(window.pcm) for window in windows]), device)
    waves = pcm.to(device, non_blocking=True).float() / _FULL_SCALE
    mel = whisper_mel(waves, listening.version, heard)
    states = encoder(mel.to(dtype), normalise_last=listening.version == "1.5")
    step = FRAME_SAMPLES // POSITION_SAMPLES
    return [
        torch.stack(
            [
                take_window(rows, window.centre + step * frame, len(window.pcm) // POSITION_SAMPLES, listening.version)
                for frame in range(listening.hop_frames)
            ]
        )
        for rows, window in zip(states, windows, strict=True)
    ]


def _upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without waiting for what it has to do: for that the memory must be pinned."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def checkpoint_digest(*modules: nn.Module) -> str:
    """What tells one set of weights from another, 16 hex digits."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
