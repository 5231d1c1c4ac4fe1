"""A session that MuseTalk draws: small random networks on the CPU, through the whole service on the manual clock."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.engines.base import Engine, FrameRequest, Picture
from musetalk_service.engines.musetalk.engine import MuseTalkEngine
from musetalk_service.engines.musetalk.networks import load_painter
from musetalk_service.engines.musetalk.options import Listening, MuseTalkOptions
from musetalk_service.engines.registry import load_engines
from support.in_process import gaps, started_service
from support.musetalk_files import write_musetalk
from support.painters import InProcessPainter
from support.video import decode

SPEECH = (4000 * np.random.default_rng(15).standard_normal(16_000)).astype(np.int16)


class _Watched(MuseTalkEngine):
    """Remembers where in the audio painted mouths were."""

    def __init__(self, options: MuseTalkOptions) -> None:
        super().__init__(options, InProcessPainter(load_painter(options)))
        self.painted: list[int | None] = []
        self.broken = False

    def render(self, batch: list[FrameRequest]) -> list[Picture]:
        if self.broken:
            raise RuntimeError("the device is gone")
        pictures = super().render(batch)
        self.painted += [request.position for request in batch if request.stream.patch is not None]
        return pictures


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> _Watched:
    torch.set_num_threads(1)
    models = write_musetalk(tmp_path_factory.mktemp("models"))
    listening = Listening(window_s=1.0)
    cache = tmp_path_factory.mktemp("cache")
    return _Watched(MuseTalkOptions(models, cache, device="cpu", listening=listening, largest_batch=1))


def engines(engine: _Watched) -> dict[str, Engine]:
    return {"musetalk": engine, **load_engines(["builtin", "static"])}


@pytest.mark.slow
async def test_a_session_switches_to_musetalk_and_back(cache_dir: Path, engine: _Watched) -> None:
    async with started_service(cache_dir, engines=lambda: engines(engine), engine="musetalk") as service:
        client = await service.session(engine="builtin", events=True)
        assert client.answers("INIT_SUCCESS")[0].data.delay_ms == 20 + 40 + 127
        engine.painted.clear()
        client.speak(np.tile(SPEECH, 3))
        await service.run(1.0)
        assert engine.painted == []
        client.send("SWITCH_ENGINE", {"engine": "musetalk"})
        await service.run(1.0)
        begun = [p for p in engine.painted if p is not None]
        assert len(begun) >= 20 and begun == list(range(begun[0], begun[-1] + 1, 640))
        client.send("SWITCH_ENGINE", {"engine": "builtin"})
        await service.run(1.5)
        assert len([p for p in engine.painted if p is not None]) <= len(begun) + 2
        assert [answer.data.delay_ms for answer in client.answers("ENGINE_SWITCHED")] == [20 + 40 + 132, 20 + 40 + 127]
        changes = [e.data.engine for e in client.answers("EVENT") if e.data.event == "engine_changed"]
        assert changes == ["musetalk", "builtin"]
        assert set(gaps([frame.data.frame_timestamp for frame in client.frames])) == {40}
        spoken = [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]
        assert spoken == sorted(set(spoken)) and len(spoken) >= 70
        assert not client.errors


@pytest.mark.slow
async def test_speech_action_base_video_and_interrupt(cache_dir: Path, engine: _Watched) -> None:
    engine.painted.clear()
    async with started_service(cache_dir, engines=lambda: engines(engine), engine="musetalk") as service:
        client = await service.session()
        assert client.answers("INIT_SUCCESS")[0].data.delay_ms == 20 + 40 + 132  # jitter, a tick, the look-ahead
        await service.run(0.3)
        assert engine.painted == []
        client.speak(SPEECH)
        client.send("END_OF_SPEECH")
        await service.run(1.8)
        spoken = [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]
        assert spoken == [40 * n for n in range(25)]  # the last one too
        assert [p for p in engine.painted if p is not None] == [640 * n for n in range(25)]
        assert engine.painted[25:] == [None, None]  # eases out, then costs nothing

        client.send("ACTION", {"action_index": 1})
        client.send("STATE_CHANGE", {"target_state": "speaking", "base_video": "speaking_1"})
        client.speak(SPEECH[:9600])
        await service.run(0.3)
        client.send("INTERRUPT")
        at = len(engine.painted)
        await service.run(1.0)
        assert len(engine.painted) - at <= 4
        assert set(gaps([frame.data.frame_timestamp for frame in client.frames])) == {40}
        assert len(decode(client.units)) == len(client.frames)
        assert not client.errors


@pytest.mark.slow
async def test_the_built_in_engine_stands_in(cache_dir: Path, engine: _Watched) -> None:
    async with started_service(cache_dir, engines=lambda: engines(engine), engine="musetalk") as service:
        client = await service.session()
        await service.run(0.2)
        client.speak(SPEECH[:12_800])
        client.send("END_OF_SPEECH")
        engine.broken = True
        try:
            await service.run(1.2)
        finally:
            engine.broken = False
        spoken = [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]
        assert spoken == [40 * n for n in range(20)]
        assert set(gaps([frame.data.frame_timestamp for frame in client.frames])) == {40}
