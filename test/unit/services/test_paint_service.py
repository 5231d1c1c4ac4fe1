"""Orders of several hosts in one batch, by when they are due; painters that refuse, end and come back."""

import itertools
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.bus.local import PayloadSocket
from musetalk_service.bus.patch_memory import (
    SLOTS,
    Answer,
    Done,
    PainterReady,
    PaintOrder,
    PatchMemory,
    decode_answer,
    encode,
)
from musetalk_service.bus.remote_painter import RemotePainter
from musetalk_service.engines.musetalk.options import LATENT_SHAPE
from musetalk_service.engines.musetalk.painter import PainterGoneError, PainterInfo, PaintJob, Patch, Window
from musetalk_service.errors import BusClosedError, EngineError
from musetalk_service.services.paint_service import PaintService

INFO = PainterInfo("abc", "cpu", "float32")


class Grey:
    """Paints the sum of all that it gets, and remembers the batches."""

    info = INFO

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.error: Exception | None = None
        self.log: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def next_batch(self, waiting: int) -> int:
        return min(waiting, 4)

    def encode_face(self, face):
        if self.error:
            raise self.error
        return np.full(LATENT_SHAPE, face[0, 0, 0], np.float32)

    def parse_face(self, picture):
        if self.error:
            raise self.error
        return picture[..., 2] + 1

    def start(self, jobs):
        self.gate.wait()
        if self.error:
            raise self.error
        self.log.append("start")
        self.batches.append([job.stream for job in jobs])
        levels = [int(job.window.pcm.sum() + job.latents[0, 0, 0] + job.frame) % 256 for job in jobs]
        return Patches(self.log, np.broadcast_to(np.uint8(levels)[:, None, None, None], (len(jobs), 256, 256, 3)))


class Patches:
    def __init__(self, log, patches):
        self.log, self.patches = log, patches

    def wait(self):
        self.log.append("wait")
        return self.patches


def job(stream: str, level: int = 1, due: float = 0.0) -> PaintJob:
    window = Window(np.full(10, level, np.int16), 0, 0)
    return PaintJob(stream, window, 2, f"face {stream}", np.full(LATENT_SHAPE, 3, np.float32), due)


def paint(remote: RemotePainter, jobs: list[PaintJob]) -> list[Patch]:
    return [painting.patch() for painting in remote.order(jobs)]


@contextmanager
def serving(painter: Grey, path: Path) -> Iterator[Callable[[], None]]:
    """A service in a thread; gives what ends it."""
    path.unlink(missing_ok=True)
    ours, theirs = socket.socketpair()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        service = PaintService(painter, listener)
        service.end_with(theirs)

        def run() -> None:
            with pytest.raises(BusClosedError):
                while True:
                    service.step()
            service.close()

        thread = threading.Thread(target=run)
        thread.start()

        def end() -> None:
            ours.close()
            thread.join()

        try:
            yield end
        finally:
            end()
            theirs.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "painter"


def test_patches_come_back_in_order(path: Path) -> None:
    with serving(Grey(), path):
        remote = RemotePainter(path, 60.0)
        assert remote.info == INFO
        patches = paint(remote, [job(f"{n}", n) for n in range(70)])
        assert [int(patch[5, 6, 1]) for patch in patches] == [(10 * n + 5) % 256 for n in range(70)]
        assert patches[0].shape == (256, 256, 3)
        np.testing.assert_array_equal(
            remote.encode_face(np.full((256, 256, 3), 9, np.uint8)), np.full(LATENT_SHAPE, 9, np.float32)
        )
        picture = np.random.default_rng(1).integers(0, 19, (512, 512, 3), np.uint8)
        np.testing.assert_array_equal(remote.parse_face(picture), picture[..., 2] + 1)
        assert len(paint(remote, [])) == 0
        remote.close()


class Host:
    """A host that sends and does not wait."""

    def __init__(self, path: Path) -> None:
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(path))
        self.socket, self.memory = PayloadSocket(end), PatchMemory.create()
        socket.send_fds(end, [b"m"], [self.memory.descriptor])

    def order(self, slot: int, stream: str, due: float = 0.0) -> None:
        self.memory.pcm(slot)[:10] = slot
        self.socket.send([encode(PaintOrder(slot, stream, 0, 10, 0, 2, f"face {stream}", due))])

    def answers(self) -> list[Answer]:
        return [decode_answer(payload) for payload in self.socket.receive()]

    def close(self) -> None:
        self.socket.close()
        self.memory.close()


@contextmanager
def stepping(painter: Grey, path: Path, hosts: int) -> Iterator[tuple[PaintService, list[Host]]]:
    """A service that does what the test says, and hosts that are connected."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        service = PaintService(painter, listener)
        connected = []
        for _ in range(hosts):
            connected.append(Host(path))
            service.step()
            assert connected[-1].answers() == [PainterReady(*INFO)]
        yield service, connected
        service.close()
        for host in connected:
            host.close()


def test_frames_of_two_hosts_share_batches_by_when_they_are_due(path: Path) -> None:
    painter = Grey()
    with stepping(painter, path, 2) as (service, (one, two)):
        for slot, due in enumerate((3.0, 0.5, 9.0)):
            one.order(slot, f"a{slot}", due)
        for slot, due in enumerate((2.0, 4.0, 8.0)):
            two.order(slot, f"b{slot}", due)
        for _ in range(3):
            service.step()
        assert painter.batches == [["a1", "b0", "a0", "b1"], ["b2", "a2"]]
        for host in (one, two):
            assert {answer.slot for answer in host.answers()} == {0, 1, 2}
            assert [int(host.memory.patch(slot)[0, 0, 0]) for slot in range(3)] == [2, 12, 22]


def test_the_next_batch_is_started_before_the_one_before_is_waited_for(path: Path) -> None:
    painter = Grey()
    with stepping(painter, path, 1) as (service, (host,)):
        for slot in range(8):
            host.order(slot, f"{slot}")
        service.step()
        assert painter.log == ["start"]
        service.step()
        service.step()
        assert painter.log == ["start", "start", "wait", "wait"]


def test_what_cannot_be_painted_is_said_to_those_who_wait(path: Path) -> None:
    painter = Grey()
    painter.error = EngineError("the memory of cuda is too small for one frame")
    with stepping(painter, path, 2) as (service, (one, two)):
        one.order(0, "a")
        two.order(5, "b")
        service.step()
        assert one.answers() == [Done(0, painter.error.message)]
        assert two.answers() == [Done(5, painter.error.message)]
        painter.error = None
        one.order(0, "a")
        service.step()
        service.step()
        assert one.answers() == [Done(0)]


def test_frames_of_a_host_that_is_gone_are_not_painted(path: Path) -> None:
    painter = Grey()
    with stepping(painter, path, 2) as (service, (one, two)):
        for slot in range(6):
            one.order(slot, f"a{slot}", due=slot)
        two.order(0, "b", due=9)
        service.step()  # four of them are at work
        one.close()
        service.step()
        service.step()
        assert painter.batches == [["a0", "a1", "a2", "a3"], ["b"]]
        assert two.answers() == [Done(0)]


def test_a_host_that_ends_before_it_has_sent_its_memory_is_forgotten(path: Path) -> None:
    painter = Grey()
    with stepping(painter, path, 1) as (service, (host,)):
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(str(path))
        late = Host(path)
        late.close()
        for _ in range(3):
            service.step(0.0)
        host.order(0, "a")
        service.step()
        service.step()
        assert host.answers() == [Done(0)]


def test_refusals_are_errors_and_leave_the_connection(path: Path) -> None:
    painter = Grey()
    with serving(painter, path):
        remote = RemotePainter(path, 60.0)
        painter.error = EngineError("too small")
        for ask in (
            lambda: paint(remote, [job("a")]),
            lambda: remote.encode_face(np.zeros((256, 256, 3), np.uint8)),
            lambda: remote.parse_face(np.zeros((512, 512, 3), np.uint8)),
        ):
            with pytest.raises(EngineError, match="too small") as caught:
                ask()
            assert not isinstance(caught.value, PainterGoneError)
        painter.error = None
        assert len(paint(remote, [job("a")])) == 1
        remote.close()


def test_a_painter_that_ends_is_asked_again_when_it_is_back(path: Path) -> None:
    now = [0.0]
    remote = RemotePainter(path, 60.0, lambda: now[0])
    with pytest.raises(PainterGoneError, match="not there"):
        assert remote.info
    now[0] += 1.0
    with serving(Grey(), path) as end:
        assert len(paint(remote, [job("a")])) == 1
        end()
        with pytest.raises(PainterGoneError, match="has ended"):
            paint(remote, [job("a")])
    with serving(Grey(), path):
        with pytest.raises(PainterGoneError, match="not there"):
            paint(remote, [job("a")])  # rests
        now[0] += 1.0
        assert len(paint(remote, [job("a")])) == 1
        remote.close()


def test_nobody_waits_for_what_is_ordered(path: Path) -> None:
    painter = Grey()
    painter.gate.clear()
    with serving(painter, path):
        remote = RemotePainter(path, 60.0)
        assert remote.info == INFO and remote.fileno() is None
        first, second = remote.order([job("a", 1), job("b", 2)])
        fileno = remote.fileno()
        assert fileno is not None and not first.is_done()
        painter.gate.set()
        select.select([fileno], [], [])
        while not second.is_done():
            pass
        assert first.is_done() and remote.fileno() is None
        assert [int(painting.patch()[0, 0, 0]) for painting in (first, second, first)] == [15, 25, 15]
        remote.close()


def test_slots_come_back_whatever_becomes_of_them(path: Path) -> None:
    wrong = replace(job("a"), latents=np.zeros((3, 3), np.float32))
    with serving(Grey(), path):
        remote = RemotePainter(path, 60.0)
        for _ in range(SLOTS + 1):
            with pytest.raises(ValueError, match="broadcast"):
                remote.order([wrong])
        remote.order([job(f"{n}") for n in range(SLOTS)])  # nobody takes them
        assert len(paint(remote, [job(f"{n}") for n in range(SLOTS)])) == SLOTS
        remote.close()


def test_everything_that_was_ordered_is_lost_with_the_painter(path: Path) -> None:
    painter = Grey()
    painter.gate.clear()
    with serving(painter, path):
        now = [0.0]
        remote = RemotePainter(path, 60.0, lambda: now[0])
        paintings = remote.order([job("a"), job("b")])
        assert not paintings[1].is_done()
        now[0] = 61.0
        assert paintings[1].is_done() and remote.fileno() is None
        for painting in paintings:
            with pytest.raises(PainterGoneError, match="took longer than"):
                painting.patch()
        painter.gate.set()


def test_a_painter_that_takes_too_long_is_not_waited_for(path: Path) -> None:
    painter = Grey()
    painter.gate.clear()
    times = itertools.chain([0.0, 0.0, 0.0], itertools.count(0.0, 100.0))  # connecting takes no time
    with serving(painter, path):
        remote = RemotePainter(path, 60.0, lambda: next(times))
        with pytest.raises(PainterGoneError, match="took longer than"):
            paint(remote, [job("a")])
        painter.gate.set()
