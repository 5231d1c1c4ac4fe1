"""The painter as a process of its own: what it paints, its end and its return."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

from musetalk_service.bus.remote_painter import RemotePainter
from musetalk_service.config import default_settings
from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.base import FrameRequest
from musetalk_service.engines.musetalk.engine import MuseTalkEngine
from musetalk_service.engines.musetalk.networks import load_painter
from musetalk_service.engines.musetalk.options import Listening, MuseTalkOptions
from musetalk_service.engines.musetalk.painter import PainterGoneError
from musetalk_service.models.face import NEUTRAL, REST
from musetalk_service.models.media import BASE_SIZE, ClipPosition
from musetalk_service.painter import musetalk_options
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.painter_process import PainterProcess, visible_gpu
from musetalk_service.utils.clock import MonotonicClock
from support.musetalk_files import write_musetalk
from support.painters import InProcessPainter

pytestmark = pytest.mark.slow
SPEECH = (4000 * np.random.default_rng(41).standard_normal(16_000)).astype(np.int16)


@asynccontextmanager
async def started(models: Path, cache: Path, metrics: Metrics) -> AsyncIterator[tuple[PainterProcess, MuseTalkEngine]]:
    """The process, and an engine of a host that has it."""
    settings = default_settings().model_copy(
        update={
            "model_path": models,
            "cache_dir": cache,
            "device": "cpu",
            "musetalk_window_s": 1.0,
            "musetalk_max_batch": 2,
        }
    )
    process = PainterProcess(settings.for_hosts(), MonotonicClock(), metrics)
    await process.start()
    try:
        arguments = process.host_arguments
        path = Path(arguments[1]) if arguments else Path("nowhere")
        yield process, MuseTalkEngine(musetalk_options(settings), RemotePainter(path, 60.0))
        assert path.exists() == bool(arguments)
    finally:
        await process.close()
    assert not path.parent.exists() or not arguments


async def render(engine: MuseTalkEngine) -> list[np.ndarray]:
    """A few frames of two sessions, off the event loop."""
    avatar = load_default_avatar()

    def run() -> list[np.ndarray]:
        streams = [engine.open(avatar, BASE_SIZE) for _ in range(2)]
        streams[0].push(SPEECH, 0)
        streams[1].push(SPEECH[::-1].copy(), 0)
        pictures = []
        for position in range(0, 3 * 640, 640):
            place = ClipPosition("idle_0", 0)
            pictures += engine.render([FrameRequest(stream, place, NEUTRAL, REST, position) for stream in streams])
        return pictures

    return await asyncio.to_thread(run)


async def test_hosts_get_the_same_pictures_from_it_and_from_the_next_one(tmp_path: Path) -> None:
    models = write_musetalk(tmp_path / "models")
    metrics = Metrics()
    async with started(models, tmp_path / "cache", metrics) as (process, engine):
        assert process.sessions == 1  # of a CPU not more can be said
        assert (engine.info.device, engine.info.look_ahead_samples) == ("cpu", 2120)
        pictures = await render(engine)

        options = MuseTalkOptions(models, tmp_path / "other", device="cpu", listening=Listening(window_s=1.0))
        alone = await render(MuseTalkEngine(options, InProcessPainter(await asyncio.to_thread(load_painter, options))))
        for picture, expected in zip(pictures, alone, strict=True):
            assert np.abs(picture.astype(int) - expected).max() <= 2  # more threads round otherwise
        assert not np.array_equal(pictures[4], pictures[5])

        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises(PainterGoneError):
            await render(engine)
        while process.pid in (None, first):
            await asyncio.sleep(0)
        engine = MuseTalkEngine(options, RemotePainter(Path(process.host_arguments[1]), 60.0))
        for picture, expected in zip(await render(engine), pictures, strict=True):
            assert np.abs(picture.astype(int) - expected).max() <= 2
        while "avatar_painter_total" not in metrics.text().decode():
            await asyncio.sleep(0)


async def test_one_that_ends_before_it_is_ready_keeps_nobody_waiting() -> None:
    process = PainterProcess("no settings", MonotonicClock(), Metrics())
    await process.start()
    assert process.pid is None and process.sessions is None
    assert process.host_arguments[0] == "--painter"  # it is started again, and may come up
    await process.close()
    await process.close()


def test_each_has_a_gpu_of_its_own() -> None:
    assert [visible_gpu(index, {}) for index in range(3)] == ["0", "1", "2"]
    some = {"CUDA_VISIBLE_DEVICES": "5,GPU-8932f937"}
    assert [visible_gpu(index, some) for index in range(3)] == ["5", "GPU-8932f937", ""]


async def test_without_its_files_hosts_do_without_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with started(tmp_path / "models", tmp_path / "cache", Metrics()) as (process, _):
        assert process.host_arguments == [] and process.sessions is None and process.pid is None
        assert "MuseTalk is left out" in caplog.text and "huggingface.co" in caplog.text
