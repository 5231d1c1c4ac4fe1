"""Orders of several hosts in one batch, by when they are due; painters that refuse, end and come back."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.bus.remote_painter import RemotePainter
from musetalk_service.engines.musetalk.options import LATENT_SHAPE
from musetalk_service.engines.musetalk.painter import PainterInfo, PaintJob, Window
from musetalk_service.errors import BusClosedError
from musetalk_service.services.paint_service import PaintService

INFO = PainterInfo("abc", "cpu", "float32")


class Grey:
    """Paints the sum of all that it gets, and remembers the batches."""

    info = INFO

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def next_batch(self, waiting: int) -> int:
        return min(waiting, 4)

    def encode_face(self, face):
        if self.error:
            raise self.error
        return np.full(LATENT_SHAPE, face[0, 0, 0], np.float32)

    def start(self, jobs):
        self.gate.wait()
        if self.error:
            raise self.error
        self.batches.append([job.stream for job in jobs])
        levels = [int(job.window.pcm.sum() + job.latents[0, 0, 0] + job.frame) % 256 for job in jobs]
        return Patches(np.broadcast_to(np.uint8(levels)[:, None, None, None], (len(jobs), 256, 256, 3)))


class Patches:
    def __init__(self, patches):
        self.patches = patches

    def wait(self):
        return self.patches


def job(stream: str, level: int = 1, due: float = 0.0) -> PaintJob:
    window = Window(np.full(10, level, np.int16), 0, 0)
    return PaintJob(stream, window, 2, f"face {stream}", np.full(LATENT_SHAPE, 3, np.float32), due)


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
        patches = remote.paint([job(f"{n}", n) for n in range(70)])
        assert [int(patch[5, 6, 1]) for patch in patches] == [(10 * n + 5) % 256 for n in range(70)]
        assert patches[0].shape == (256, 256, 3)
        np.testing.assert_array_equal(
            remote.encode_face(np.full((256, 256, 3), 9, np.uint8)), np.full(LATENT_SHAPE, 9, np.float32)
        )
        assert len(remote.paint([])) == 0
        remote.close()
