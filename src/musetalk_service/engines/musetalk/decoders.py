"""Which decoder makes the pixels: the VAE's, or TAESD's, which is small and comes close.

TAESD (Bohan 2023, https://github.com/madebyollin/taesd) was distilled from the VAE of Stable Diffusion 1, whose
fine-tuned sibling MuseTalk uses. It takes a twentieth of the operations and paints a little differently, so it is used
only where its picture of a real face is as good as is asked for.
"""

import logging
from typing import Final

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


def choose_decoder(options: MuseTalkOptions, vae: AutoencoderKL) -> nn.Module:
    """The decoder that the options ask for, where it is good enough; the log says what was found.

    Raises :class:`CheckpointError` for TAESD's file.
    """
    if options.decoder == "full":
        return FullDecoder(vae)
    if options.decoder == "lower":
        return LowerDecoder(FullDecoder(vae))
    small = load_taesd(options.model_path).decoder
    latents = face_latents(vae)
    full = FullDecoder(vae)
    found = psnr(small, full, latents)
    if found < options.least_psnr_db:
        log.warning(
            "TAESD is left out: %.1f dB to the full decoder, %.1f are asked for (MUSETALK_LEAST_PSNR_DB)",
            found,
            options.least_psnr_db,
        )
        return full
    log.info("TAESD decodes, %.1f dB to the full decoder", found)
    return small


def psnr(one: nn.Module, other: nn.Module, latents: Tensor) -> float:
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


def face_latents(vae: AutoencoderKL) -> Tensor:
    """(1, 4, 32, 32), scaled: the default avatar's face."""
    avatar = load_default_avatar()
    height, width = avatar.portrait.shape[:2]
    box = face_box(to_68(avatar.landmarks), FrameSize(width, height))
    encode = FaceEncoder(vae, torch.device("cpu"), torch.float32)
    return torch.from_numpy(encode(cut_face(avatar.portrait, box)))[None, 4:]
