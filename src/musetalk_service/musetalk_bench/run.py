"""What is measured: the networks by themselves, then the processes that serve them."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from musetalk_service.config import Settings
from musetalk_service.engines.musetalk.networks import choose_device, choose_dtype
from musetalk_service.engines.musetalk.weights import load_taesd, load_unet, load_vae, load_whisper
from musetalk_service.musetalk_bench.measure import Result, measure
from musetalk_service.musetalk_bench.random_weights import write_random
from musetalk_service.musetalk_bench.sessions import measure_sessions
from musetalk_service.painter import musetalk_options


def run(settings: Settings, *, random_weights: bool, small: bool, seconds: float) -> Result:
    """Raises :class:`CheckpointError`, :class:`EngineError`, or ``OSError`` where random weights have no room."""
    if not random_weights:
        return _run(settings, seconds)
    with tempfile.TemporaryDirectory(prefix="musetalk-bench-") as folder:
        models = Path(folder) / "models"
        write_random(models, settings.musetalk_version, small=small)
        # Pictures of random weights are not alike, whatever the decoder.
        changes = {"model_path": models, "cache_dir": Path(folder) / "cache", "musetalk_least_psnr_db": 0.0}
        return _run(settings.model_copy(update=changes), seconds)


def _run(settings: Settings, seconds: float) -> Result:
    networks = _networks(settings, seconds)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # for the painter
    hosts, sessions = asyncio.run(measure_sessions(settings, seconds))
    return replace(networks, hosts=hosts, sessions=sessions)


def _networks(settings: Settings, seconds: float) -> Result:
    options = musetalk_options(settings)
    device = choose_device(options)
    if device.type == "cpu":
        torch.set_num_threads(1)  # as in the painter
    return measure(
        load_unet(options.model_path, options.listening.version),
        load_vae(options.model_path),
        load_taesd(options.model_path).decoder if options.decoder == "taesd" else None,
        load_whisper(options.model_path),
        device,
        choose_dtype(options, device),
        lower=options.decoder == "lower",
        seconds=seconds,
        largest=options.largest_batch,
    )
