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
from musetalk_service.engines.musetalk.lower_decoder import LowerDecoder
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
        decoder = getattr(model, "decoder", None)
        self._lower = decoder if isinstance(decoder, LowerDecoder) else None
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
                    shape = None if self._lower is None else self._lower.statistics_shape
                    self._graphs[size] = _Graph(self._model, size, self.device, self.dtype, self._width, shape)
                elif size == 1:  # sizes differ in nothing there
                    face = torch.zeros(LATENT_SHAPE)
                    self._run_plain([face], [torch.zeros(TOKENS, self._width)], self._of_rest([face]))
            except torch.OutOfMemoryError:
                self._forget(size)

    def statistics(self, latents: Tensor) -> Tensor | None:
        """What the decoder wants to know of a face at rest, (8, 32, 32), once; None where it wants nothing.

        Raises :class:`EngineError` when the device's memory is too small.
        """
        if self._lower is None:
            return None
        with torch.inference_mode():
            whole = latents[None, LATENT_SHAPE[0] // 2 :].to(self.device, self.dtype)
            try:
                return self._lower.statistics(whole.contiguous(memory_format=torch.channels_last))[0]
            except torch.OutOfMemoryError:
                raise EngineError(f"the memory of {self.device} is too small for a face") from None

    def run(
        self, latents: Sequence[Tensor], audio: Sequence[Tensor], statistics: Sequence[Tensor] | None = None
    ) -> NDArray[np.uint8]:
        """Patches of any number of frames, waited for; as :meth:`start` otherwise."""
        return self.start(latents, audio, statistics).wait()

    def start(
        self, latents: Sequence[Tensor], audio: Sequence[Tensor], statistics: Sequence[Tensor] | None = None
    ) -> "Pending":
        """Queue any number of frames on the device.

        Args:
            latents: one (8, 32, 32) a frame, best on the device already.
            audio: one (50, width) a frame, with positional encoding.
            statistics: one a frame, as :meth:`statistics` gives them; found out anew where they are not given.

        Raises:
            EngineError: one frame alone is too much for the device's memory.
        """
        with torch.inference_mode():
            known = self._of_rest(latents) if statistics is None else statistics
            while True:
                batches = split(len(latents), self._sizes)
                try:
                    return Pending(self._run_batches(batches, latents, audio, known), self.device)
                except torch.OutOfMemoryError:
                    self._forget(max(batches))

    def _of_rest(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """One a frame; empty for a decoder that wants nothing."""
        return [found for face in latents if (found := self.statistics(face)) is not None]

    def _run_batches(
        self, batches: list[int], latents: Sequence[Tensor], audio: Sequence[Tensor], statistics: Sequence[Tensor]
    ) -> list[Tensor]:
        results: list[Tensor] = []
        done = 0
        for size in batches:
            part = slice(done, min(done + size, len(latents)))
            graph = self._graphs.get(size)
            run = self._run_plain if graph is None else graph.run
            results.append(run(latents[part], audio[part], statistics[part]))
            done = part.stop
        return results

    def _run_plain(self, latents: Sequence[Tensor], audio: Sequence[Tensor], statistics: Sequence[Tensor]) -> Tensor:
        faces = torch.stack([t.to(self.device, self.dtype) for t in latents])
        heard = torch.stack([t.to(self.device, self.dtype) for t in audio])
        at_rest = [torch.stack([t.to(self.device) for t in statistics])] if statistics else []
        with torch.inference_mode():
            return self._model(faces.contiguous(memory_format=torch.channels_last), heard, *at_rest).cpu()

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

    def __init__(
        self,
        model: MouthModel,
        size: int,
        device: torch.device,
        dtype: torch.dtype,
        width: int,
        statistics_shape: tuple[int, ...] | None,
    ) -> None:
        self._latents = torch.zeros((size, *LATENT_SHAPE), device=device, dtype=dtype).contiguous(
            memory_format=torch.channels_last
        )
        self._audio = torch.zeros((size, TOKENS, width), device=device, dtype=dtype)
        self._statistics = None if statistics_shape is None else torch.ones((size, *statistics_shape), device=device)
        # Libraries choose their kernels in the first runs, which must not be captured: on a stream of their own.
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.inference_mode(), torch.cuda.stream(side):
            for _ in range(_WARM_RUNS):
                model(self._latents, self._audio, self._statistics)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph: Any = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(self._graph):
            self._pixels = model(self._latents, self._audio, self._statistics)

    def run(self, latents: Sequence[Tensor], audio: Sequence[Tensor], statistics: Sequence[Tensor]) -> Tensor:
        """Patches in pinned memory, complete once the current stream has been synchronised."""
        count = len(latents)
        for index in range(count):
            self._latents[index].copy_(latents[index], non_blocking=True)
            self._audio[index].copy_(audio[index], non_blocking=True)
            if self._statistics is not None:
                self._statistics[index].copy_(statistics[index], non_blocking=True)
        self._graph.replay()
        # The copy is queued before the next replay overwrites the pixels; each batch has memory of its own.
        pixels = torch.empty((count, PATCH, PATCH, 3), dtype=torch.uint8, pin_memory=True)
        return pixels.copy_(self._pixels[:count], non_blocking=True)
