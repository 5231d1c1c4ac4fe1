"""MuseTalk's networks with random values: they cost what the published ones cost, and need no download."""

from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file

from musetalk_service.engines.musetalk.options import Version
from musetalk_service.engines.musetalk.weights import TAESD, UNETS, VAE, WHISPER
from musetalk_service.engines.musetalk.whisper import WhisperEncoder

_CROSS_DOWN, _CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
_UNET: Final[dict[str, Any]] = {
    "sample_size": 64,
    "in_channels": 8,
    "out_channels": 4,
    "cross_attention_dim": 384,
    "attention_head_dim": 8,
    "layers_per_block": 2,
    "down_block_types": (_CROSS_DOWN, _CROSS_DOWN, _CROSS_DOWN, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", _CROSS_UP, _CROSS_UP, _CROSS_UP),
}
_VAE: Final[dict[str, Any]] = {
    "latent_channels": 4,
    "layers_per_block": 2,
    "sample_size": 256,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
_FULL_CHANNELS: Final = ((320, 640, 1280, 1280), (128, 256, 512, 512))
_SMALL_CHANNELS: Final = ((32, 64, 64, 64), (32, 32, 64, 64))
WIDTH: Final = 384


def random_networks(*, small: bool) -> tuple[UNet2DConditionModel, AutoencoderKL]:
    """Both networks, float32 on the CPU; the small ones have the published form with a tenth of the channels."""
    unet_channels, vae_channels = _SMALL_CHANNELS if small else _FULL_CHANNELS
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**_UNET, block_out_channels=unet_channels)
    return unet.eval(), AutoencoderKL(**_VAE, block_out_channels=vae_channels).eval()


def write_random(root: Path, version: Version, *, small: bool) -> None:
    """Files of everything that MuseTalk needs, in the published layout: 3.8 GB, or 60 MB of ``small`` networks.

    Whisper and TAESD are small enough as they are. Raises ``OSError`` where there is no room.
    """
    unet, vae = random_networks(small=small)
    whisper = WhisperEncoder(WIDTH, positions=1500, layers=4, mlp_width=4 * WIDTH)
    for part, network, prefix in (
        (UNETS[version], unet, ""),
        (VAE, vae, ""),
        (TAESD, AutoencoderTiny(), ""),
        (WHISPER, whisper, "encoder."),
    ):
        folder = root / part.folder
        folder.mkdir(parents=True)
        if part.config is not None:
            (folder / part.config).write_text(network.to_json_string(), "utf-8")
        name = next(name for name in part.weights if name.endswith(".safetensors"))
        save_file({prefix + key: tensor.contiguous() for key, tensor in network.state_dict().items()}, folder / name)
