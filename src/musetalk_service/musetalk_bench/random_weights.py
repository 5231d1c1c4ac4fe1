"""MuseTalk's networks with random values: they cost what the published ones cost, and need no download."""

from typing import Any, Final

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

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


def random_taesd() -> AutoencoderTiny:
    """TAESD, which is small enough as it is."""
    torch.manual_seed(0)
    return AutoencoderTiny().eval()


def random_whisper() -> WhisperEncoder:
    """The encoder of whisper-tiny, which is small enough as it is."""
    torch.manual_seed(0)
    return WhisperEncoder(WIDTH, positions=1500, layers=4, mlp_width=4 * WIDTH).eval()
