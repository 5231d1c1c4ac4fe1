"""The painter's work: orders of all engine hosts, in batches by when their frames are due.

Synchronous: :meth:`PaintService.step` takes what has come and starts the next batch before it waits for the one
before, so that the device has work while answers are written.
"""

import heapq
import itertools
import logging
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from musetalk_service.bus.local import PayloadSocket
from musetalk_service.bus.patch_memory import (
    Done,
    EncodeOrder,
    Order,
    PainterReady,
    PaintOrder,
    PatchMemory,
    decode_order,
    encode,
)
from musetalk_service.engines.musetalk.painter import Classes, Latents, PainterInfo, PaintJob, Patch, Window
from musetalk_service.errors import BusClosedError, EngineError

log = logging.getLogger(__name__)


class Pending(Protocol):
    """A batch that the device is at work on."""

    def wait(self) -> NDArray[np.uint8]:
        """(frames, 256, 256, 3) BGR."""
        ...


class BatchPainter(Protocol):
    """The networks, as :class:`engines.musetalk.networks.NetworkPainter` has them."""

    info: PainterInfo

    def next_batch(self, waiting: int) -> int: ...

    def encode_face(self, face: Patch) -> Latents: ...

    def parse_face(self, picture: NDArray[np.uint8]) -> Classes: ...

    def start(self, jobs: Sequence[PaintJob]) -> Pending: ...


@dataclass(eq=False)
class _Host:
    """One host that is connected."""

    socket: PayloadSocket
    memory: PatchMemory


@dataclass(frozen=True)
class _Waiting:
    """A frame that is not done yet."""

    host: _Host
    slot: int
    job: PaintJob


class PaintService:
    """Serves all hosts that connect."""

    def __init__(
        self, painter: BatchPainter, listener: socket.socket, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.frames = self.batches = self.late = 0
        """What has been painted, and how much of it after it was due."""
        self._now = now
        self._painter = painter
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._queue: list[tuple[float, int, _Waiting]] = []
        self._numbers = itertools.count()
        self._pending: tuple[list[_Waiting], Pending] | None = None

    def end_with(self, front: socket.socket) -> None:
        """Let :meth:`step` raise :class:`BusClosedError` when this link ends."""
        self._selector.register(front, selectors.EVENT_READ, front)

    def step(self, wait_s: float | None = None) -> None:
        """Take what has come, wait for it (so long) if there is nothing to do, and do one batch."""
        busy = self._queue or self._pending
        for key, _ in self._selector.select(0 if busy else wait_s):
            self._take(key.fileobj, key.data)
        started = self._start_batch()
        if self._pending is not None:
            self._finish(*self._pending)
        self._pending = started

    def close(self) -> None:
        """Let all hosts go."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Host):
                self._drop(key.data)
        self._selector.close()

    def _take(self, source: Any, data: object) -> None:
        if source is self._listener:
            self._accept()
        elif isinstance(data, _Host):
            try:
                payloads = data.socket.receive()
            except BusClosedError:
                self._drop(data)
                return
            for payload in payloads:
                self._order(data, decode_order(payload))
        else:
            raise BusClosedError

    def _accept(self) -> None:
        end, _ = self._listener.accept()
        try:
            _, descriptors, _, _ = socket.recv_fds(end, 1, 1)
        except OSError:
            descriptors = []
        if not descriptors:  # a host that has ended already
            end.close()
            return
        host = _Host(PayloadSocket(end), PatchMemory(descriptors[0]))
        self._selector.register(end, selectors.EVENT_READ, host)
        self._answer(host, PainterReady(*self._painter.info))

    def _drop(self, host: _Host) -> None:
        """A host that is gone: nobody waits for its frames any more."""
        if host.socket.fileno() < 0:
            return
        self._selector.unregister(host.socket)
        host.socket.close()
        host.memory.close()
        self._queue = [entry for entry in self._queue if entry[2].host is not host]
        heapq.heapify(self._queue)

    def _order(self, host: _Host, order: Order) -> None:
        memory, slot = host.memory, order.slot
        if isinstance(order, PaintOrder):
            window = Window(memory.pcm(slot)[: order.samples], order.centre, order.start)
            job = PaintJob(order.stream, window, order.frame, order.face, memory.latents(slot), order.due)
            heapq.heappush(self._queue, (order.due, next(self._numbers), _Waiting(host, slot, job)))
            return
        try:
            if isinstance(order, EncodeOrder):
                memory.latents(slot)[:] = self._painter.encode_face(memory.patch(slot).copy())
            else:
                memory.classes[:] = self._painter.parse_face(memory.to_parse.copy())
        except EngineError as error:
            self._answer(host, Done(slot, error.message))
        else:
            self._answer(host, Done(slot))

    def _start_batch(self) -> tuple[list[_Waiting], Pending] | None:
        """The frames that are due first."""
        if not self._queue:
            return None
        count = self._painter.next_batch(len(self._queue))
        batch = [heapq.heappop(self._queue)[2] for _ in range(count)]
        try:
            return batch, self._painter.start([waiting.job for waiting in batch])
        except EngineError as error:
            for waiting in batch:
                self._answer(waiting.host, Done(waiting.slot, error.message))
            return None

    def _finish(self, batch: list[_Waiting], pending: Pending) -> None:
        for waiting, patch in zip(batch, pending.wait(), strict=True):
            waiting.host.memory.patch(waiting.slot)[:] = patch
        now = self._now()
        self.batches += 1
        self.frames += len(batch)
        self.late += sum(waiting.job.due < now for waiting in batch)
        for host in dict.fromkeys(waiting.host for waiting in batch):
            self._answer(host, *(Done(waiting.slot) for waiting in batch if waiting.host is host))

    def _answer(self, host: _Host, *answers: PainterReady | Done) -> None:
        try:
            host.socket.send([encode(answer) for answer in answers])
        except BusClosedError:
            self._drop(host)
