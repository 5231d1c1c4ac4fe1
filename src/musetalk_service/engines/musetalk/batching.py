"""Frames of all sessions through the networks in batches of a few fixed sizes.

With CUDA each size is one captured graph, so that a batch costs one launch; inputs are copied on the device, and the
pixels come back through pinned memory while the next batch runs.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musetalk_service.engines.musetalk.features import TOKENS
from musetalk_service.engines.musetalk.model import MouthModel
from musetalk_service.engines.musetalk.options import LATENT_SHAPE, PATCH
from musetalk_service.errors import EngineError

log = logging.getLogger(__name__)

SIZES: Final = (1, 2, 4, 8, 16)
_WARM_RUNS: Final = 3
_WASTE: Final = 0.25
"""A batch is filled up with nothing when no more than this share of it is empty."""


def split(count: int, sizes: Sequence[int]) -> list[int]:
    """Batch sizes, of those allowed (rising), that hold ``count`` frames; the last may have room to spare."""
    batches: list[int] = []
    while count > 0:
        enough = next((size for size in sizes if size >= count), None)
        if enough is not None and enough - count <= _WASTE * enough:
            return [*batches, enough]
        best = max(size for size in sizes if size <= count)
        batches.append(best)
        count -= best
    return batches


class PatchRunner:
    """Runs the model. Not thread-safe."""

    def __init__(
        self, model: MouthModel, device: torch.device, dtype: torch.dtype, width: int, *, largest: int = 16
    ) -> None:
        """Moves the model to the device.

        Args:
            model: both networks.
            device: where they run.
            dtype: of weights and activations.
            width: of an audio token.
            largest: frames of the largest batch.
        """
        self.device, self.dtype = device, dtype
        self._model = model.to(device, dtype, memory_format=torch.channels_last).eval()
        self._width = width
        self._sizes = [size for size in SIZES if size <= largest]
        self._graphs: dict[int, _Graph] = {}

    @property
    def sizes(self) -> list[int]:
        """The batch sizes that fit the device's memory."""
        return list(self._sizes)

    def warm_up(self) -> None:
        """Run every size once, the largest first; capture graphs where there are any.

        Raises :class:`EngineError` when not even one frame fits the memory.
        """
        for size in reversed(list(self._sizes)):
            try:
                if self.device.type == "cuda":
                    self._graphs[size] = _Graph(self._model, size, self.device, self.dtype, self._width)
                elif size == 1:  # sizes differ in nothing there
                    self._run_plain([torch.zeros(LATENT_SHAPE)], [torch.zeros(TOKENS, self._width)])
            except torch.OutOfMemoryError:
                self._forget(size)

    def run(self, latents: Sequence[Tensor], audio: Sequence[Tensor]) -> NDArray[np.uint8]:
        """Patches of any number of frames, waited for; as :meth:`start` otherwise."""
        return self.start(latents, audio).wait()

    def start(self, latents: Sequence[Tensor], audio: Sequence[Tensor]) -> "Pending":
        """Queue any number of frames on the device.

        Args:
            latents: one (8, 32, 32) a frame, best on the device already.
            audio: one (50, width) a frame, with positional encoding.

        Raises:
            EngineError: one frame alone is too much for the device's memory.
        """
        with torch.inference_mode():
            while True:
                batches = split(len(latents), self._sizes)
                try:
                    return Pending(self._run_batches(batches, latents, audio), self.device)
                except torch.OutOfMemoryError:
                    self._forget(max(batches))

    def _run_batches(self, batches: list[int], latents: Sequence[Tensor], audio: Sequence[Tensor]) -> list[Tensor]:
        results: list[Tensor] = []
        done = 0
        for size in batches:
            part = slice(done, min(done + size, len(latents)))
            graph = self._graphs.get(size)
            run = self._run_plain if graph is None else graph.run
            results.append(run(latents[part], audio[part]))
            done = part.stop
        return results

    def _run_plain(self, latents: Sequence[Tensor], audio: Sequence[Tensor]) -> Tensor:
        faces = torch.stack([t.to(self.device, self.dtype) for t in latents])
        heard = torch.stack([t.to(self.device, self.dtype) for t in audio])
        with torch.inference_mode():
            return self._model(faces.contiguous(memory_format=torch.channels_last), heard).cpu()

    def _forget(self, size: int) -> None:
        """Do without a batch size that does not fit; the smallest stays, and raises :class:`EngineError`."""
        smaller = [kept for kept in self._sizes if kept < size]
        if smaller:
            self._sizes = smaller
            self._graphs = {kept: graph for kept, graph in self._graphs.items() if kept < size}
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if not smaller:
            raise EngineError(f"the memory of {self.device} is too small for one frame")
        log.warning("batches made smaller", extra={"largest": self._sizes[-1], "device": str(self.device)})


class Pending:
    """Frames that the device is at work on."""

    def __init__(self, results: list[Tensor], device: torch.device) -> None:
        self._results = results
        self._done = None
        if device.type == "cuda":
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(device))

    def wait(self) -> NDArray[np.uint8]:
        """(frames, 256, 256, 3) BGR."""
        if self._done is not None:
            self._done.synchronize()
        if not self._results:
            return np.zeros((0, PATCH, PATCH, 3), np.uint8)
        return np.concatenate([result.numpy() for result in self._results])


class _Graph:
    """One batch size on a CUDA device, captured."""

    def __init__(self, model: MouthModel, size: int, device: torch.device, dtype: torch.dtype, width: int) -> None:
        self._latents = torch.zeros((size, *LATENT_SHAPE), device=device, dtype=dtype).contiguous(
            memory_format=torch.channels_last
        )
        self._audio = torch.zeros((size, TOKENS, width), device=device, dtype=dtype)
        # Libraries choose their kernels in the first runs, which must not be captured: on a stream of their own.
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.inference_mode(), torch.cuda.stream(side):
            for _ in range(_WARM_RUNS):
                model(self._latents, self._audio)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph: Any = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(self._graph):
            self._pixels = model(self._latents, self._audio)

    def run(self, latents: Sequence[Tensor], audio: Sequence[Tensor]) -> Tensor:
        """Patches in pinned memory, complete once the current stream has been synchronised."""
        count = len(latents)
        for index in range(count):
            self._latents[index].copy_(latents[index], non_blocking=True)
            self._audio[index].copy_(audio[index], non_blocking=True)
        self._graph.replay()
        # The copy is queued before the next replay overwrites the pixels; each batch has memory of its own.
        pixels = torch.empty((count, PATCH, PATCH, 3), dtype=torch.uint8, pin_memory=True)
        return pixels.copy_(self._pixels[:count], non_blocking=True)
