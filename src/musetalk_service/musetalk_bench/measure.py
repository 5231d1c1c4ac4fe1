"""How fast MuseTalk is on a device: beside what the device can do, and beside the published script's loop."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from musetalk_service.engines.musetalk.batching import PatchRunner
from musetalk_service.engines.musetalk.features import TOKENS
from musetalk_service.engines.musetalk.lower_decoder import LowerDecoder, lower_error
from musetalk_service.engines.musetalk.model import FullDecoder, MouthModel, to_pixels
from musetalk_service.engines.musetalk.options import LATENT_SHAPE
from musetalk_service.musetalk_bench.sessions import SessionsRow

_PLAIN_BATCH: Final = 20
"""Of the published script."""


@dataclass(frozen=True)
class BatchRow:
    """One batch size."""

    batch: int
    frames_per_s: float
    p50_ms: float
    p99_ms: float
    memory_mb: float
    """Most that the device held; 0 where that is not known."""
    ceiling_share: float
    """Of what the device reaches in one large matrix product."""


@dataclass(frozen=True)
class Result:
    """What was measured."""

    device: str
    precision: str
    decoder: str
    cut_error: float | None
    """Of the lower face decoded alone: relative root mean square of its lower half; None for other decoders."""
    gflop_per_frame: float
    ceiling_tflops: float
    plain_frames_per_s: float
    whisper_ms: float
    batches: tuple[BatchRow, ...]
    hosts: int = 0
    """Engine hosts that served the sessions."""
    sessions: tuple[SessionsRow, ...] = ()


def measure(
    unet: Any,
    vae: Any,
    tiny: nn.Module | None,
    whisper: Any,
    device: torch.device,
    dtype: torch.dtype,
    *,
    lower: bool,
    seconds: float,
    largest: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Run the networks; the sessions are :func:`sessions.measure_sessions`'s.

    Args:
        unet: float32 on the CPU; is taken over.
        vae: likewise.
        tiny: TAESD's decoder to be used in place of the VAE's, or None. The plain loop has the VAE's in any case.
        lower: whether the VAE's is to compute the lower face alone.
        whisper: the encoder.
        device: where to run.
        dtype: of weights and activations.
        seconds: how long each row takes, at least.
        largest: frames of the largest batch.
        clock: seconds.
    """
    width = int(unet.config.cross_attention_dim)
    plain = plain_rate(copy.deepcopy(unet), copy.deepcopy(vae), device, dtype, seconds, clock)
    decoder = LowerDecoder(FullDecoder(vae)) if lower else tiny
    error = None
    model = MouthModel(unet, vae, decoder)
    if isinstance(decoder, LowerDecoder):
        error = cut_error(model, decoder, width)
    gflop = flops(model, width) / 1e9
    runner = PatchRunner(model, device, dtype, width, largest=largest)
    runner.warm_up()
    ceiling = matmul_ceiling(device, dtype, seconds, clock)
    batches = tuple(_batch(runner, size, width, gflop, ceiling, seconds, clock) for size in runner.sizes)
    return Result(
        str(device),
        str(dtype).removeprefix("torch."),
        "lower" if lower else "full" if tiny is None else "taesd",
        error,
        gflop,
        ceiling / 1e12,
        plain,
        _whisper(whisper.to(device, dtype), device, dtype, seconds, clock),
        batches,
    )


def flops(model: MouthModel, width: int) -> float:
    """Floating-point operations of one frame, two for each multiplication with addition."""
    counter = FlopCounterMode(display=False)
    statistics = None
    if isinstance(model.decoder, LowerDecoder):
        statistics = torch.ones(1, *model.decoder.statistics_shape)
    with torch.no_grad(), counter:
        model(torch.zeros(1, *LATENT_SHAPE), torch.zeros(1, TOKENS, width), statistics)
    return float(counter.get_total_flops())


def cut_error(model: MouthModel, lower: LowerDecoder, width: int) -> float:
    """Of faces that speak noise, with the statistics of the faces at rest. With random weights it says nothing."""
    faces = torch.randn(2, *LATENT_SHAPE)
    with torch.inference_mode():
        at_rest = lower.statistics(faces[:, LATENT_SHAPE[0] // 2 :])
        return lower_error(lower, model.predict(faces, torch.randn(2, TOKENS, width)), at_rest)


def plain_rate(
    unet: Any, vae: Any, device: torch.device, dtype: torch.dtype, seconds: float, clock: Callable[[], float]
) -> float:
    """Frames a second of the published script's loop: batches of 20, nothing folded, copies that block."""
    for network in (unet, vae):
        torch.nn.Module.to(network, device, dtype)  # diffusers' own says what does not matter here
    latents = torch.randn(_PLAIN_BATCH, *LATENT_SHAPE).to(device, dtype)
    audio = torch.randn(_PLAIN_BATCH, TOKENS, int(unet.config.cross_attention_dim)).to(device, dtype)
    zero = torch.tensor([0], device=device)

    def once() -> None:
        with torch.no_grad():
            clean = unet(latents, zero, encoder_hidden_states=audio).sample
            to_pixels(vae.decode(clean / vae.config.scaling_factor).sample).cpu()

    once()
    times = _repeat(once, seconds, clock)
    return _PLAIN_BATCH / float(np.mean(times))


def matmul_ceiling(device: torch.device, dtype: torch.dtype, seconds: float, clock: Callable[[], float]) -> float:
    """Operations a second in the best of several square matrix products."""
    side = 8192 if device.type == "cuda" else 1024
    one = torch.randn(side, side, device=device, dtype=dtype)
    two = torch.randn(side, side, device=device, dtype=dtype)

    def once() -> None:
        torch.mm(one, two)
        _wait(device)

    once()
    return 2.0 * side**3 / min(_repeat(once, seconds, clock))


def _batch(
    runner: PatchRunner,
    size: int,
    width: int,
    gflop: float,
    ceiling: float,
    seconds: float,
    clock: Callable[[], float],
) -> BatchRow:
    inputs = _inputs(runner, size, width)
    if runner.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runner.device)
    runner.run(*inputs)
    times = _repeat(lambda: runner.run(*inputs), seconds, clock)
    memory = torch.cuda.max_memory_reserved(runner.device) / 1e6 if runner.device.type == "cuda" else 0.0
    rate = size / float(np.mean(times))
    p50, p99 = (float(np.percentile(times, share)) * 1000 for share in (50, 99))
    return BatchRow(size, rate, p50, p99, memory, rate * gflop * 1e9 / ceiling)


def _whisper(
    whisper: Any, device: torch.device, dtype: torch.dtype, seconds: float, clock: Callable[[], float]
) -> float:
    """Milliseconds of one pass over 30 s."""
    mel = torch.randn(1, 80, 3000, device=device, dtype=dtype)

    def once() -> None:
        with torch.inference_mode():
            whisper(mel, normalise_last=True)
        _wait(device)

    once()
    return float(np.median(_repeat(once, seconds, clock))) * 1000


def _inputs(runner: PatchRunner, count: int, width: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    latents = list(torch.randn(count, *LATENT_SHAPE).to(runner.device, runner.dtype))
    audio = torch.randn(count, TOKENS, width).to(runner.device, runner.dtype)
    return latents, list(audio), [found for face in latents if (found := runner.statistics(face)) is not None]


def _repeat(once: Callable[[], object], seconds: float, clock: Callable[[], float]) -> Sequence[float]:
    """Durations of at least three runs."""
    times: list[float] = []
    until = clock() + seconds
    while len(times) < 3 or clock() < until:
        start = clock()
        once()
        times.append(clock() - start)
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
