"""From a masked face and what is heard to its lower half: the UNet, then the VAE's decoder, as published but folded.

The published scripts run the UNet at timestep 0 always, so what the timestep adds is part of the convolutions' bias
here; the latent scale is part of the decoder's first weights; the divisions by one are gone. The results are the same
within rounding.
"""

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from musetalk_service.engines.musetalk.options import LATENT_SHAPE, PATCH

Patch = NDArray[np.uint8]
"""(256, 256, 3) BGR."""


class MouthModel(nn.Module):
    """Both networks, for batches of any size."""

    def __init__(self, unet: UNet2DConditionModel, vae: AutoencoderKL, decoder: nn.Module | None = None) -> None:
        """Take the networks over; they are changed and cannot be used by themselves afterwards.

        Args:
            unet: as :func:`load_unet` gives it, float32.
            vae: as :func:`load_vae` gives it, float32; only its decoder is kept.
            decoder: in place of the VAE's, from scaled latents (batch, 4, 32, 32) to RGB in -1..1.
        """
        super().__init__()
        fold_timestep(unet)
        self.unet = unet
        self.decoder = FullDecoder(vae) if decoder is None else decoder

    def forward(self, latents: Tensor, audio: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Patches.

        Args:
            latents: (batch, 8, 32, 32), scaled.
            audio: (batch, 50, width) with positional encoding.
            statistics: of the faces at rest, for a decoder that wants them.

        Returns:
            (batch, 256, 256, 3) uint8 BGR.
        """
        return to_pixels(self.decode(self.predict(latents, audio), statistics))

    def predict(self, latents: Tensor, audio: Tensor) -> Tensor:
        """The UNet alone: (batch, 4, 32, 32), the clean latents of the speaking face, scaled."""
        unet = self.unet
        x = unet.conv_in(latents)
        passed = (x,)
        for block in unet.down_blocks:
            x, states = block(x, None, encoder_hidden_states=audio) if _hears(block) else block(x, None)
            passed += states
        x = unet.mid_block(x, None, encoder_hidden_states=audio)
        for block in unet.up_blocks:
            count = len(block.resnets)
            passed, states = passed[:-count], passed[-count:]
            more = {"encoder_hidden_states": audio} if _hears(block) else {}
            x = block(x, res_hidden_states_tuple=states, temb=None, **more)
        return unet.conv_out(functional.silu(unet.conv_norm_out(x)))

    def decode(self, latents: Tensor, statistics: Tensor | None = None) -> Tensor:
        """The decoder alone: (batch, 3, 256, 256) RGB in -1..1, not limited."""
        return self.decoder(latents) if statistics is None else self.decoder(latents, statistics)


class FullDecoder(nn.Module):
    """The VAE's own decoder for latents as the UNet gives them."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Takes the decoder's half of the VAE over and changes it."""
        super().__init__()
        self.post_quant_conv = vae.post_quant_conv
        self.decoder = vae.decoder
        fold_scale(self.post_quant_conv, float(vae.config.scaling_factor))
        _simplify(self.decoder)

    def forward(self, latents: Tensor) -> Tensor:
        """(batch, 4, 32, 32), scaled, to (batch, 3, 256, 256) RGB in -1..1, not limited."""
        return self.decoder(self.post_quant_conv(latents))


def to_pixels(picture: Tensor) -> Tensor:
    """RGB in -1..1, (batch, 3, h, w), as (batch, h, w, 3) uint8 BGR, halves rounded to even."""
    levels = (picture.float() / 2 + 0.5).clamp(0, 1) * 255
    return levels.round().to(torch.uint8).flip(1).permute(0, 2, 3, 1).contiguous()


def fold_timestep(unet: Any) -> None:
    """Make what timestep 0 adds in each residual block a part of the bias before it (Ho et al. 2020, appendix B)."""
    with torch.no_grad():
        zero = torch.zeros(1, dtype=torch.long)
        embedding = functional.silu(unet.time_embedding(unet.time_proj(zero).to(unet.conv_in.weight.dtype)))
        for module in unet.modules():
            if isinstance(module, ResnetBlock2D) and module.time_emb_proj is not None:
                added = module.time_emb_proj(embedding)[0]
                module.conv1.bias = nn.Parameter((module.conv1.bias + added).clone(), requires_grad=False)
    _simplify(unet)
    unet.time_embedding = unet.time_proj = None


def fold_scale(first: nn.Conv2d, scale: float) -> None:
    """Make a convolution take latents that are ``scale`` times what it was trained on."""
    first.weight = nn.Parameter(first.weight.detach() / scale, requires_grad=False)


def _simplify(model: nn.Module) -> None:
    """Put plain residual blocks in the place of diffusers', which divide by one and add a timestep."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ResnetBlock2D):
                setattr(parent, name, _Residual(child))


class _Residual(nn.Module):
    """Norm, SiLU, convolution, twice, and the shortcut."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        plain = block.up is False and block.down is False and block.time_embedding_norm in ("default", "group")
        if not plain or float(block.output_scale_factor) != 1.0 or not isinstance(block.nonlinearity, nn.SiLU):
            raise ValueError("a residual block is of another kind than MuseTalk's")
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.conv_shortcut = block.conv_shortcut

    def forward(self, x: Tensor, temb: None = None) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.conv2(functional.silu(self.norm2(y)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + y


def _hears(block: Any) -> bool:
    return bool(getattr(block, "has_cross_attention", False))


class FaceEncoder:
    """A face as latents, by the mean of the VAE's posterior: the same face gives the same latents."""

    def __init__(self, vae: AutoencoderKL, device: torch.device, dtype: torch.dtype) -> None:
        """Keeps the encoder's half of the VAE, on the device."""
        self._scale = float(vae.config.scaling_factor)
        self._encoder = vae.encoder.to(device, dtype)
        self._quant_conv = vae.quant_conv.to(device, dtype)
        self._device, self._dtype = device, dtype

    def __call__(self, face: Patch) -> NDArray[np.float32]:
        """(256, 256, 3) BGR to (8, 32, 32): first without its lower half, then whole, scaled."""
        pixels = prepare_face(face).to(self._device, self._dtype)
        with torch.inference_mode():
            moments = self._quant_conv(self._encoder(pixels))
        means = moments.chunk(2, dim=1)[0].float() * self._scale
        latents: NDArray[np.float32] = means.reshape(LATENT_SHAPE).cpu().numpy()
        return latents


def prepare_face(face: Patch) -> Tensor:
    """(2, 3, 256, 256) RGB in -1..1: the masked face, whose lower half is -1, and the whole one."""
    whole = torch.from_numpy(np.ascontiguousarray(face[..., ::-1])).permute(2, 0, 1).float() / 255
    masked = whole.clone()
    masked[:, PATCH // 2 :] = 0
    return (torch.stack([masked, whole]) - 0.5) / 0.5
