"""The VAE's decoder for the lower face alone, which is all of a patch that is shown.

Up to its first upsampling the decoder sees the whole face, which costs a ninth of it and lets every place know of every
other. From there on only the rows are computed that the mask lets through, and some more above them, which the
convolutions reach. Group normalisation (Wu and He, 2018) would then have other statistics, so those of the whole face
at rest are used, taken once.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_service.engines.musetalk.model import FullDecoder
from musetalk_service.engines.musetalk.options import PATCH

TOP: Final = 104
"""The first row of a patch that is computed: the mask begins at half the height, and its blur reaches to row 108."""
_HALO: Final = 4
"""Rows above it at the place of the cut, which the convolutions below want to see."""
_SCALE: Final = 4
"""Rows of the patch for one at the place of the cut."""


class LowerDecoder(nn.Module):
    """Decodes rows from :data:`TOP` on; those above are left black."""

    def __init__(self, full: FullDecoder) -> None:
        """Uses the same layers as the full decoder, which stays as it is."""
        super().__init__()
        self.full = full
        decoder: Any = full.decoder
        self._norms = [norm for block in decoder.up_blocks[1:] for norm in _norms(block)] + [decoder.conv_norm_out]
        groups = {norm.num_groups for norm in self._norms}
        if len(groups) != 1 or len(decoder.up_blocks) != 4:
            raise ValueError("the decoder is of another form than MuseTalk's")
        self.statistics_shape = (len(self._norms), 2, groups.pop())
        """Of one face: mean and reciprocal deviation of each group, for each normalisation after the cut."""

    def statistics(self, latents: Tensor) -> Tensor:
        """(batch, norms, 2, groups), float32: those of whole faces.

        Args:
            latents: (batch, 4, 32, 32), scaled.
        """
        found: list[Tensor] = []

        def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(norm, nn.GroupNorm)
            grouped = inputs[0].float().reshape(len(inputs[0]), norm.num_groups, -1)
            variance, mean = torch.var_mean(grouped, dim=2, correction=0)
            found.append(torch.stack([mean, torch.rsqrt(variance + norm.eps)], dim=1))

        handles = [norm.register_forward_pre_hook(note) for norm in self._norms]
        try:
            self.full(latents)
        finally:
            for handle in handles:
                handle.remove()
        return torch.stack(found, dim=1)

    def forward(self, latents: Tensor, statistics: Tensor) -> Tensor:
        """(batch, 3, 256, 256) RGB in -1..1, not limited.

        Args:
            latents: (batch, 4, 32, 32), scaled.
            statistics: (batch, norms, 2, groups).
        """
        decoder: Any = self.full.decoder
        x = decoder.mid_block(decoder.conv_in(self.full.post_quant_conv(latents)))
        x = decoder.up_blocks[0](x)
        cut = TOP // _SCALE - _HALO
        x = x[:, :, cut:]
        remaining = iter(statistics.unbind(1))
        for block in decoder.up_blocks[1:]:
            for residual in block.resnets:
                x = _residual(residual, x, remaining)
            for upsampler in block.upsamplers or ():
                x = upsampler(x)
        x = decoder.conv_out(functional.silu(_normalise(decoder.conv_norm_out, x, next(remaining))))
        above = PATCH - x.shape[2]
        lower = x[:, :, TOP - above :]
        return functional.pad(lower, (0, 0, TOP, 0), value=-1.0)


def _norms(block: Any) -> list[nn.GroupNorm]:
    return [norm for residual in block.resnets for norm in (residual.norm1, residual.norm2)]


def _residual(block: Any, x: Tensor, statistics: Any) -> Tensor:
    y = block.conv1(functional.silu(_normalise(block.norm1, x, next(statistics))))
    y = block.conv2(functional.silu(_normalise(block.norm2, y, next(statistics))))
    return (x if block.conv_shortcut is None else block.conv_shortcut(x)) + y


def _normalise(norm: nn.GroupNorm, x: Tensor, statistics: Tensor) -> Tensor:
    """Group normalisation with given statistics (batch, 2, groups): one multiplication and one addition a value."""
    repeat = norm.num_channels // norm.num_groups
    mean, factor = statistics.repeat_interleave(repeat, dim=2).unbind(1)
    scale = factor * norm.weight.float()
    offset = norm.bias.float() - mean * scale
    return x * scale[..., None, None].to(x.dtype) + offset[..., None, None].to(x.dtype)


def lower_error(lower: LowerDecoder, latents: Tensor, statistics: Tensor) -> float:
    """Relative root mean square of what the cut changes in the lower half, which is what is shown in full.

    Args:
        lower: the decoder.
        latents: (batch, 4, 32, 32), scaled: speaking faces.
        statistics: (batch, norms, 2, groups): of the faces at rest.
    """
    with torch.inference_mode():
        exact = lower.full(latents)[:, :, PATCH // 2 :].float()
        found = lower(latents, statistics)[:, :, PATCH // 2 :].float()
    return float((found - exact).norm() / exact.norm())
