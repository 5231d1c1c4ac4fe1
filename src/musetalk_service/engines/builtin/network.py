"""The network from mel frames to mouth classes: a causal temporal convolutional network in numpy.

Architecture (Bai et al., 2018, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks"):
two stacked 10 ms frames -> linear -> residual blocks of a dilated causal convolution (kernel 3) and a
linear layer -> three heads. Every 20 ms step, each head gives the class logits of two 10 ms frames: those of
its look-ahead ago, about which it has heard so much more. Batch normalisation is folded into the weights
when they are written.
"""

import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_table import CLASSES

STACK = 2
"""Frames to a step."""
STEP_MS = 20
LOOK_AHEADS = (0, 40, 80)
"""What each head waits for, in ms after the frame that it judges."""

Array = NDArray[np.float32]


class _Block(NamedTuple):
    dilation: int
    kernel: Array
    least: Array
    """The negative bias: max(h + b, 0) is max(h, -b) + b, and the latter's b goes into `mix_bias`."""
    mix: Array
    mix_bias: Array


class MouthNetwork:
    """Weights, shared and read-only; the streaming state is the caller's (a tuple of arrays)."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take the arrays of a weights file; ValueError where they do not fit this code."""
        self.metadata: dict[str, Any] = json.loads(str(weights["metadata"]))
        if tuple(self.metadata["classes"]) != CLASSES:
            raise ValueError("the weights were trained for other mouth classes")
        if tuple(self.metadata.get("look_aheads_ms", ())) != LOOK_AHEADS:
            raise ValueError(f"the weights were trained for other look-aheads than {LOOK_AHEADS} ms")

        def array(name: str) -> Array:
            value = np.ascontiguousarray(weights[name], dtype=np.float32)
            value.flags.writeable = False
            return value

        self._input, self._input_bias = array("input.weight"), array("input.bias")
        self._output, self._output_bias = array("output.weight"), array("output.bias")
        self._blocks: list[_Block] = []
        for index, dilation in enumerate(self.metadata["dilations"]):
            bias, mix = array(f"block{index}.bias"), array(f"block{index}.mix")
            mix_bias = array(f"block{index}.mix_bias") + bias @ mix
            self._blocks.append(_Block(int(dilation), array(f"block{index}.kernel"), -bias, mix, mix_bias))
        width = self._input.shape[1]
        if self._input.shape[0] != STACK * mel.BANDS or self._output.shape != (
            width,
            len(LOOK_AHEADS) * STACK * len(CLASSES),
        ):
            raise ValueError("the weights have other shapes than the network")

    def initial(self) -> tuple[Array, ...]:
        """The state before the first step: each block's past inputs, all zero."""
        width = self._input.shape[1]
        return tuple(np.zeros((2 * block.dilation, width), np.float32) for block in self._blocks)

    def run(self, state: tuple[Array, ...], frames: Array) -> tuple[tuple[Array, ...], Array]:
        """Take normalised mel frames (2 n, 40); return the new state and posteriors (2 n, heads, classes).

        Those of step s and a head are of the frames of its look-ahead before step s.
        """
        steps = len(frames) // STACK
        x = np.maximum(frames.reshape(steps, STACK * mel.BANDS) @ self._input + self._input_bias, 0.0)
        histories = []
        for block, history in zip(self._blocks, state, strict=True):
            past = np.concatenate((history, x))
            histories.append(past[steps:])
            taps = np.concatenate((past[:steps], past[block.dilation : block.dilation + steps], x), axis=1)
            hidden = taps @ block.kernel
            np.maximum(hidden, block.least, out=hidden)
            x = x + hidden @ block.mix
            x += block.mix_bias
        logits = np.maximum(x, 0.0) @ self._output + self._output_bias
        logits = logits.reshape(steps, len(LOOK_AHEADS), STACK, len(CLASSES))
        logits -= logits.max(axis=3, keepdims=True)
        posteriors = np.exp(logits, out=logits)
        posteriors /= posteriors.sum(axis=3, keepdims=True)
        return tuple(histories), posteriors.transpose(0, 2, 1, 3).reshape(steps * STACK, len(LOOK_AHEADS), -1)


@functools.cache
def load_network() -> MouthNetwork:
    """The network that ships with the package, loaded once and shared by all sessions."""
    asset = importlib.resources.files("musetalk_service") / "assets" / "builtin" / "mouth_net.npz"
    with importlib.resources.as_file(asset) as path, np.load(path, allow_pickle=False) as weights:
        return MouthNetwork(weights)
