"""The networks that are measured, and the device."""

from typing import Any

import torch

from musetalk_service.engines.musetalk.networks import choose_device, choose_dtype
from musetalk_service.engines.musetalk.options import MuseTalkOptions
from musetalk_service.engines.musetalk.weights import load_taesd, load_unet, load_vae, load_whisper
from musetalk_service.musetalk_bench.measure import Result, measure
from musetalk_service.musetalk_bench.random_weights import random_networks, random_taesd, random_whisper


def run(options: MuseTalkOptions, *, random_weights: bool, small: bool, seconds: float) -> Result:
    """Raises :class:`CheckpointError` or :class:`EngineError`."""
    device = choose_device(options)
    if device.type == "cpu":
        torch.set_num_threads(1)  # as in an engine host
    tiny: Any = None
    if random_weights:
        unet, vae = random_networks(small=small)
        whisper = random_whisper()
        tiny = random_taesd().decoder if options.decoder == "taesd" else None
    else:
        unet, vae = load_unet(options.model_path, options.listening.version), load_vae(options.model_path)
        whisper = load_whisper(options.model_path)
        tiny = load_taesd(options.model_path).decoder if options.decoder == "taesd" else None
    dtype = choose_dtype(options, device)
    return measure(
        unet,
        vae,
        tiny,
        whisper,
        device,
        dtype,
        lower=options.decoder == "lower",
        seconds=seconds,
        largest=options.largest_batch,
    )
