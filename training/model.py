"""The network in torch, as it is trained; `musetalk_service` runs the same one in numpy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_table import CLASSES
from musetalk_service.engines.builtin.network import STACK


class Block(nn.Module):
    """x + mix(relu(norm(conv(x)))), the convolution causal and dilated, kernel 3."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Take and return (batch, width, steps)."""
        padded = nn.functional.pad(x, (2 * self.dilation, 0))
        mixed: Tensor = self.mix(torch.relu(self.norm(self.conv(padded))))
        return x + mixed


class TorchMouthNetwork(nn.Module):
    """Causal temporal convolutional network from stacked mel frames to mouth classes."""

    def __init__(self, width: int, dilations: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.input = nn.Conv1d(STACK * mel.BANDS, width, 1)
        self.dilations = dilations
        self.blocks = nn.ModuleList(Block(width, dilation) for dilation in dilations)
        self.dropout = nn.Dropout1d(dropout)
        self.output = nn.Conv1d(width, STACK * len(CLASSES), 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Take normalised frames (batch, time, 40); return logits (batch, time, classes), still delayed."""
        batch, time, _ = frames.shape
        x = torch.relu(self.input(frames.reshape(batch, time // STACK, -1).transpose(1, 2)))
        for block in self.blocks:
            x = self.dropout(block(x))
        logits: Tensor = self.output(torch.relu(x)).transpose(1, 2)
        return logits.reshape(batch, time, len(CLASSES))

    def export(self) -> dict[str, NDArray[np.float32]]:
        """Weights as the numpy network wants them, the batch normalisation folded in."""

        def numpy(tensor: Tensor) -> NDArray[np.float32]:
            result: NDArray[np.float32] = tensor.detach().cpu().numpy().astype(np.float32)
            return result

        arrays = {
            "input.weight": numpy(self.input.weight[:, :, 0].T),
            "input.bias": numpy(self.input.bias),  # type: ignore[arg-type]
            "output.weight": numpy(self.output.weight[:, :, 0].T),
            "output.bias": numpy(self.output.bias),  # type: ignore[arg-type]
        }
        for index, module in enumerate(self.blocks):
            block: Any = module
            scale = block.norm.weight / torch.sqrt(block.norm.running_var + block.norm.eps)
            arrays[f"block{index}.kernel"] = numpy((block.conv.weight * scale[:, None, None]).permute(2, 1, 0))
            arrays[f"block{index}.bias"] = numpy(block.norm.bias - block.norm.running_mean * scale)
            arrays[f"block{index}.mix"] = numpy(block.mix.weight[:, :, 0].T)
            arrays[f"block{index}.mix_bias"] = numpy(block.mix.bias)
        return arrays
