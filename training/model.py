"""The network in torch, as it is trained; `musetalk_service` runs the same one in numpy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_table import CLASSES
from musetalk_service.engines.builtin.network import LOOK_AHEADS, STACK


class Block(nn.Module):
    """x + mix(relu(norm(conv(x)))), the convolution causal and dilated, kernel 3."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Linear(3 * width, width, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Take and return (batch, steps, width)."""
        batch, steps, width = x.shape
        padded = nn.functional.pad(x, (0, 0, 2 * self.dilation, 0))
        taps = torch.cat((padded[:, :steps], padded[:, self.dilation : self.dilation + steps], x), 2)
        hidden = self.norm(self.conv(taps).reshape(batch * steps, width)).reshape(batch, steps, width)
        mixed: Tensor = self.mix(torch.relu(hidden))
        return x + mixed


class TorchMouthNetwork(nn.Module):
    """Causal temporal convolutional network from stacked mel frames to mouth classes, with a head per look-ahead."""

    def __init__(self, width: int, dilations: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.input = nn.Linear(STACK * mel.BANDS, width)
        self.dilations = dilations
        self.blocks = nn.ModuleList(Block(width, dilation) for dilation in dilations)
        self.dropout = nn.Dropout1d(dropout)
        self.output = nn.Linear(width, len(LOOK_AHEADS) * STACK * len(CLASSES))

    def forward(self, frames: Tensor) -> Tensor:
        """Take normalised frames (batch, time, 40); return logits (batch, time, heads, classes), still delayed."""
        batch, time, _ = frames.shape
        x = torch.relu(self.input(frames.reshape(batch, time // STACK, -1)))
        for block in self.blocks:
            x = self.dropout(block(x).transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.output(torch.relu(x))
        return logits.reshape(batch, time // STACK, len(LOOK_AHEADS), STACK, len(CLASSES)).transpose(2, 3).flatten(1, 2)

    def export(self) -> dict[str, NDArray[np.float32]]:
        """Weights as the numpy network wants them, the batch normalisation folded in."""

        def numpy(tensor: Tensor) -> NDArray[np.float32]:
            result: NDArray[np.float32] = tensor.detach().cpu().numpy().astype(np.float32)
            return result

        arrays = {
            "input.weight": numpy(self.input.weight.T),
            "input.bias": numpy(self.input.bias),
            "output.weight": numpy(self.output.weight.T),
            "output.bias": numpy(self.output.bias),
        }
        for index, module in enumerate(self.blocks):
            block: Any = module
            scale = block.norm.weight / torch.sqrt(block.norm.running_var + block.norm.eps)
            arrays[f"block{index}.kernel"] = numpy((block.conv.weight * scale[:, None]).T)
            arrays[f"block{index}.bias"] = numpy(block.norm.bias - block.norm.running_mean * scale)
            arrays[f"block{index}.mix"] = numpy(block.mix.weight.T)
            arrays[f"block{index}.mix_bias"] = numpy(block.mix.bias)
        return arrays
