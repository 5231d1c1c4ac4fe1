"""The host's end of the painter: a :class:`Painter` whose networks are in another process."""

import logging
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

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
    """Blocks while it waits for answers. Not thread-safe."""

    def __init__(self, path: Path, timeout_s: float, now: Callable[[], float] = time.monotonic) -> None:
        """Connects when it is first needed.

        Args:
            path: of the Unix socket that the painter listens on.
            timeout_s: the painter is lost when it takes longer for what was asked at once.
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

    def encode_face(self, face: Patch) -> Latents:
        """A face as latents. Raises :class:`EngineError`."""
        memory = self._connected().memory
        memory.patch(0)[:] = face
        self._ask([EncodeOrder(0)])
        return np.array(memory.latents(0))

    def parse_face(self, picture: NDArray[np.uint8]) -> Classes:
        """What the pixels of a (512, 512, 3) BGR picture show. Raises :class:`EngineError`."""
        memory = self._connected().memory
        memory.to_parse[:] = picture
        self._ask([ParseOrder()])
        return np.array(memory.classes)

    def paint(self, jobs: Sequence[PaintJob]) -> list[Patch]:
        """One patch per job, in order. Raises :class:`EngineError`."""
        memory = self._connected().memory
        patches: list[Patch] = []
        for first in range(0, len(jobs), SLOTS):
            orders = [_put(memory, slot, job) for slot, job in enumerate(jobs[first : first + SLOTS])]
            self._ask(orders)
            patches += [memory.patch(order.slot).copy() for order in orders]
        return patches

    def close(self) -> None:
        """Twice is fine."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _connected(self) -> "_Link":
        if self._link is None:
            if self._now() < self._rests_until:
                raise PainterGoneError("MuseTalk's process is not there")
            try:
                self._link = _Link(self._path, self._now() + self._timeout_s, self._now)
            except (OSError, BusClosedError) as error:
                raise self._lost("is not there", error) from None
        return self._link

    def _ask(self, orders: Sequence[Order]) -> None:
        """Have all orders done. Raises :class:`EngineError`."""
        link = self._connected()
        try:
            link.socket.send([encode(order) for order in orders])
            waiting, errors = {order.slot for order in orders}, []
            until = self._now() + self._timeout_s
            while waiting:
                for payload in link.receive(until):
                    answer = decode_answer(payload)
                    assert isinstance(answer, Done)
                    waiting.discard(answer.slot)
                    errors += [answer.error] if answer.error else []
        except BusClosedError as error:
            raise self._lost("has ended", error) from None
        except TimeoutError as error:
            raise self._lost(f"took longer than {self._timeout_s:g} s", error) from None
        if errors:
            raise EngineError(errors[0])

    def _lost(self, what: str, error: Exception) -> PainterGoneError:
        self.close()
        self._rests_until = self._now() + _REST_S
        log.warning("MuseTalk's process %s", what, extra={"cause": str(error)})
        return PainterGoneError(f"MuseTalk's process {what}")


class _Link:
    """A connection and the memory that goes with it."""

    def __init__(self, path: Path, until: float, now: Callable[[], float]) -> None:
        """Raises ``OSError`` or :class:`BusClosedError`."""
        self._now = now
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
