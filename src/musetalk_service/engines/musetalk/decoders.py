"""Which decoder makes the pixels: the VAE's, or TAESD's, which is small and comes close.

TAESD (Bohan 2023, https://github.com/madebyollin/taesd) was distilled from the VAE of Stable Diffusion 1, whose
fine-tuned sibling MuseTalk uses. It takes a twentieth of the operations and paints a little differently, so it is used
only where its picture of a real face is as good as is asked for.
"""

import logging
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.musetalk.face_crop import cut_face, face_box, to_68
from musetalk_service.engines.musetalk.lower_decoder import LowerDecoder
from musetalk_service.engines.musetalk.model import FaceEncoder, FullDecoder, to_pixels
from musetalk_service.engines.musetalk.options import PATCH, MuseTalkOptions
from musetalk_service.engines.musetalk.weights import load_taesd
from musetalk_service.models.media import FrameSize

log = logging.getLogger(__name__)

_PEAK: Final = 255.0
Decode = Callable[[Tensor], Tensor]
"""From scaled latents (batch, 4, 32, 32) to RGB in -1..1."""


def choose_decoder(options: MuseTalkOptions, vae: AutoencoderKL) -> nn.Module:
    """The decoder that the options ask for, where it is good enough; the log says what was found.

    Raises :class:`CheckpointError` for TAESD's file.
    """
    if options.decoder == "full":
        return FullDecoder(vae)
    small = load_taesd(options.model_path).decoder if options.decoder == "taesd" else None
    latents = face_latents(vae)
    altered = face_latents(vae, altered=True) if small is None else latents
    full = FullDecoder(vae)
    chosen = LowerDecoder(full) if small is None else small
    found = psnr(frozen(chosen, latents) if isinstance(chosen, LowerDecoder) else chosen, full, altered)
    if found < options.least_psnr_db:
        log.warning(
            "the decoder %s is left out: %.1f dB to the full one, %.1f are asked for (MUSETALK_LEAST_PSNR_DB)",
            options.decoder,
            found,
            options.least_psnr_db,
        )
        return full
    log.info("the decoder %s is used, %.1f dB to the full one", options.decoder, found)
    return chosen


def frozen(decoder: LowerDecoder, at_rest: Tensor) -> Decode:
    """The decoder with the statistics of one face: (1, 4, 32, 32), scaled."""
    with torch.inference_mode():
        statistics = decoder.statistics(at_rest)
    return lambda latents: decoder(latents, statistics.expand(len(latents), -1, -1, -1))


def psnr(one: Decode, other: Decode, latents: Tensor) -> float:
    """Peak signal-to-noise ratio in dB between two decoders' pixels in the lower half, which is what is shown.

    Args:
        one: from scaled latents to RGB in -1..1.
        other: the same.
        latents: (batch, 4, 32, 32), scaled.
    """
    with torch.inference_mode():
        first, second = (to_pixels(decoder(latents))[:, PATCH // 2 :].float() for decoder in (one, other))
    error = float(((first - second) ** 2).mean())
    return float("inf") if error == 0.0 else 10.0 * float(torch.log10(torch.tensor(_PEAK**2 / error)))


def face_latents(vae: AutoencoderKL, *, altered: bool = False) -> Tensor:
    """(1, 4, 32, 32), scaled: the default avatar's face, or the same with its lower half upside down.

    That changes more than speech does: frozen statistics are not to be judged by the face that they were taken from.
    """
    avatar = load_default_avatar()
    height, width = avatar.portrait.shape[:2]
    box = face_box(to_68(avatar.landmarks), FrameSize(width, height))
    encode = FaceEncoder(vae, torch.device("cpu"), torch.float32)
    face = cut_face(avatar.portrait, box)
    if altered:
        face = np.concatenate((face[: PATCH // 2], face[: PATCH // 2 - 1 : -1]))
    return torch.from_numpy(encode(face))[None, 4:]
