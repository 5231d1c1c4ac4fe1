"""The host's end of the painter: a :class:`Painter` whose networks are in another process."""

import functools
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from musetalk_service.bus.local import PayloadSocket
from musetalk_service.bus.patch_memory import (
    SLOTS,
    Done,
    EncodeOrder,
    Order,
    PainterReady,
    PaintOrder,
    ParseOrder,
    PatchMemory,
    decode_answer,
    encode,
)
from musetalk_service.engines.musetalk.painter import Classes, Latents, PainterGoneError, PainterInfo, PaintJob, Patch
from musetalk_service.errors import BusClosedError, EngineError

log = logging.getLogger(__name__)

_REST_S: Final = 1.0
"""A painter that was lost is not asked again for so long, so that nobody waits for it twice in a row."""


class RemotePainter:
    """Orders, and takes what comes back. Not thread-safe."""

    def __init__(self, path: Path, timeout_s: float, now: Callable[[], float] = time.monotonic) -> None:
        """Connects when it is first needed.

        Args:
            path: of the Unix socket that the painter listens on.
            timeout_s: the painter is lost when it takes longer for anything that was ordered.
            now: seconds.
        """
        self._path = path
        self._timeout_s = timeout_s
        self._now = now
        self._link: _Link | None = None
        self._rests_until = 0.0

    @property
    def info(self) -> PainterInfo:
        """Raises :class:`PainterGoneError`."""
        return self._connected().info

    def fileno(self) -> int | None:
        """Of the connection, while there is something ordered that has not come."""
        return self._link.socket.fileno() if self._link is not None and self._link.waiting else None

    def encode_face(self, face: Patch) -> Latents:
        """A face as latents. Raises :class:`EngineError`."""
        link, slot = self._free_slot()
        link.memory.patch(slot)[:] = face
        ordered = self._begin(link, slot, lambda: link.memory.latents(slot))
        self._send(link, [EncodeOrder(slot)])
        return ordered.result()

    def parse_face(self, picture: NDArray[np.uint8]) -> Classes:
        """What the pixels of a (512, 512, 3) BGR picture show. Raises :class:`EngineError`."""
        link, slot = self._free_slot()
        link.memory.to_parse[:] = picture
        ordered = self._begin(link, slot, lambda: link.memory.classes)
        self._send(link, [ParseOrder(slot)])
        return ordered.result()

    def order(self, jobs: Sequence[PaintJob]) -> list["_Ordered"]:
        """Have frames painted; waits only where more are ordered than there are slots.

        Raises :class:`EngineError`.
        """
        paintings: list[_Ordered] = []
        orders: list[Order] = []
        for job in jobs:
            if orders and not self._connected().free:
                self._send(self._connected(), orders)
                orders = []
            link, slot = self._free_slot()
            orders.append(_put(link.memory, slot, job))
            paintings.append(self._begin(link, slot, functools.partial(link.memory.patch, slot)))
        if orders:  # all at once, so that they can share a batch
            self._send(self._connected(), orders)
        return paintings

    def close(self) -> None:
        """Twice is fine."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def take_answers(self, *, wait: bool) -> None:
        """What has come; with ``wait`` at least something. A painter that is lost answers everything."""
        link = self._link
        if link is None or not link.waiting:
            return
        # What was ordered first has the least time left.
        until = next(iter(link.waiting.values())).until
        try:
            for payload in link.receive(until if wait else self._now()):
                answer = decode_answer(payload)
                assert isinstance(answer, Done)
                link.waiting.pop(answer.slot).answer(answer.error)
                link.free.append(answer.slot)
        except BusClosedError as error:
            self._lost("has ended", error)
        except TimeoutError as error:
            if self._now() >= until:
                self._lost(f"took longer than {self._timeout_s:g} s", error)

    def _connected(self) -> "_Link":
        if self._link is None:
            if self._now() < self._rests_until:
                raise PainterGoneError("MuseTalk's process is not there")
            try:
                self._link = _Link(self._path, self._now() + self._timeout_s, self._now)
            except (OSError, BusClosedError) as error:
                raise self._lost("is not there", error) from None
        return self._link

    def _free_slot(self) -> tuple["_Link", int]:
        """One that nothing is at work in; it stays free until :meth:`_begin`. Raises :class:`PainterGoneError`."""
        while not (link := self._connected()).free:
            self.take_answers(wait=True)
        return link, link.free[0]

    def _begin(self, link: "_Link", slot: int, read: Callable[[], NDArray[Any]]) -> "_Ordered":
        """What is in the slot is on its way; ``read`` shows where its result will lie."""
        link.free.remove(slot)
        ordered = link.waiting[slot] = _Ordered(self, self._now() + self._timeout_s, read)
        return ordered

    def _send(self, link: "_Link", orders: Sequence[Order]) -> None:
        """Raises :class:`PainterGoneError`."""
        try:
            link.socket.send([encode(order) for order in orders])
        except BusClosedError as error:
            raise self._lost("has ended", error) from None

    def _lost(self, what: str, error: Exception) -> PainterGoneError:
        """Nothing of what was ordered will come."""
        gone = PainterGoneError(f"MuseTalk's process {what}")
        for ordered in [] if self._link is None else self._link.waiting.values():
            ordered.fail(gone)
        self.close()
        self._rests_until = self._now() + _REST_S
        log.warning("MuseTalk's process %s", what, extra={"cause": str(error)})
        return gone


class _Ordered:
    """A result that is there, or will be."""

    def __init__(self, painter: RemotePainter, until: float, read: Callable[[], NDArray[Any]]) -> None:
        self.until = until
        self._painter = painter
        self._read = read
        self._result: NDArray[Any] | None = None
        self._error: EngineError | None = None

    def is_done(self) -> bool:
        """Whether it is there, or will not come."""
        if not self._is_answered:
            self._painter.take_answers(wait=False)
        return self._is_answered

    def patch(self) -> Patch:
        """Waits for it. Raises :class:`EngineError`."""
        return self.result()

    def result(self) -> NDArray[Any]:
        """Waits for it. Raises :class:`EngineError`."""
        while not self._is_answered:
            self._painter.take_answers(wait=True)
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def answer(self, error: str | None) -> None:
        """It is done: the slot is read before another order fills it."""
        if error is None:
            self._result = self._read().copy()
        else:
            self._error = EngineError(error)

    def fail(self, error: EngineError) -> None:
        """It will not come."""
        self._error = error

    @property
    def _is_answered(self) -> bool:
        return self._result is not None or self._error is not None


class _Link:
    """A connection and the memory that goes with it."""

    def __init__(self, path: Path, until: float, now: Callable[[], float]) -> None:
        """Raises ``OSError`` or :class:`BusClosedError`."""
        self._now = now
        self.free = deque(range(SLOTS))
        self.waiting: dict[int, _Ordered] = {}
        """What is at work in which slot, in the order in which it was ordered."""
        end = socket.socket(socket.AF_UNIX)
        self.socket = PayloadSocket(end)
        self.memory = PatchMemory.create()
        try:
            end.connect(str(path))
            socket.send_fds(end, [b"m"], [self.memory.descriptor])
            payloads: list[bytes] = []
            while not payloads:
                payloads = self.receive(until)
            ready = decode_answer(payloads[0])
            assert isinstance(ready, PainterReady)
            self.info = PainterInfo(ready.checkpoint, ready.device, ready.precision)
        except BaseException:
            self.close()
            raise

    def receive(self, until: float) -> list[bytes]:
        """What comes. Raises ``TimeoutError`` at a point in time."""
        if not self.socket.readable(max(until - self._now(), 0.0)):
            raise TimeoutError
        return self.socket.receive()

    def close(self) -> None:
        self.socket.close()
        self.memory.close()


def _put(memory: PatchMemory, slot: int, job: PaintJob) -> PaintOrder:
    """Lay a job into a slot."""
    window = job.window
    memory.pcm(slot)[: len(window.pcm)] = window.pcm
    np.copyto(memory.latents(slot), job.latents)
    return PaintOrder(slot, job.stream, window.start, len(window.pcm), window.centre, job.frame, job.face, job.due)
