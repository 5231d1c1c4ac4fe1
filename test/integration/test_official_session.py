"""A session on an avatar of the published scripts, as it lies in AVATARS_DIR: small random networks, manual clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.engines.base import Engine
from musetalk_service.engines.musetalk.engine import MuseTalkEngine
from musetalk_service.engines.musetalk.networks import load_painter
from musetalk_service.engines.musetalk.options import Listening, MuseTalkOptions
from musetalk_service.engines.registry import load_engines
from musetalk_service.host import HostAvatars
from musetalk_service.models.preparation import PREPARE_COMMAND
from musetalk_service.server import create_app
from support.in_process import Service, gaps, started_service
from support.manual_clock import settle
from support.musetalk_files import write_musetalk
from support.official_avatars import write_official
from support.painters import InProcessPainter
from support.video import decode

SPEECH = (4000 * np.random.default_rng(15).standard_normal(16_000)).astype(np.int16)
FACE = (130, 120, 290, 330)


def _picture(index: int) -> NDArray[np.uint8]:
    """400x480: smooth, and a little darker in each frame."""
    y, x = np.mgrid[0:480, 0:400]
    picture = np.stack([120 + x // 8, 90 + y // 8, 150 - y // 8], axis=-1) - 4 * index
    return np.asarray(cv2.circle(picture.astype(np.uint8), (210, 240), 90, (140, 160, 200), -1), np.uint8)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> MuseTalkEngine:
    torch.set_num_threads(1)
    models = write_musetalk(tmp_path_factory.mktemp("models"))
    cache = tmp_path_factory.mktemp("cache")
    listening = Listening(window_s=1.0)
    options = MuseTalkOptions(models, cache, device="cpu", listening=listening, largest_batch=1)
    return MuseTalkEngine(options, InProcessPainter(load_painter(options)))


@asynccontextmanager
async def service_with(
    engines: dict[str, Engine], name: str, tmp_path: Path, cache_dir: Path, landmarker: Path | None = None
) -> AsyncIterator[Service]:
    """A service that has taken over what lies in AVATARS_DIR."""
    root = tmp_path / "avatars"
    async with started_service(
        cache_dir,
        engines=lambda: engines,
        prepare_command=PREPARE_COMMAND,
        avatars=HostAvatars(AvatarLibrary(root), 256 << 20).get,
        avatars_dir=root,
        engine=name,
        face_landmarker_path=landmarker or tmp_path / "none",
    ) as service:
        search = service.front.official._search
        assert search is not None
        await asyncio.wait([search])
        yield service


@pytest.mark.slow
@pytest.mark.parametrize(("doubled", "faceless"), [(True, (1,)), (False, ())])
async def test_musetalk_paints_on_it_with_what_came_with_it(
    tmp_path: Path,
    cache_dir: Path,
    engine: MuseTalkEngine,
    monkeypatch: pytest.MonkeyPatch,
    doubled: bool,
    faceless: tuple[int, ...],
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a face was encoded")

    monkeypatch.setattr(engine._painter, "encode_face", refuse)
    write_official(
        tmp_path / "avatars" / "anna", 4, doubled=doubled, faceless=faceless, picture=_picture, face=lambda _: FACE
    )
    engines = {"musetalk": engine, **load_engines(["builtin", "static"])}
    async with service_with(engines, "musetalk", tmp_path, cache_dir) as service:
        app = create_app(service.front.settings, service.front)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as rest:
            info = (await rest.get("/avatars/anna")).json()
        assert info["status"] == "ready" and info["engines"] == ["musetalk"]
        assert info["reason"]["code"] == "unavailable"
        await service.front.avatars.obtain("anna")
        client = await service.session("anna")
        assert client.answers("INIT_SUCCESS")[0].data.available_videos == ["idle_0", "speaking_0"]
        await service.run(0.3)
        client.speak(SPEECH)
        client.send("END_OF_SPEECH")
        await service.run(1.8)
        spoken = [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]
        assert spoken == [40 * n for n in range(25)]
        assert set(gaps([frame.data.frame_timestamp for frame in client.frames])) == {40}
        assert not client.errors
        first = next(n for n, f in enumerate(client.frames) if f.data.audio_timestamp is not None)
        pictures = decode(client.units)
        still, speaking = pictures[first - 1].astype(int), pictures[first + 8].astype(int)
        change = np.abs(still - speaking)
        assert change[250:380, 160:350].mean() > 5 * change[:100].mean()
        client.send("ACTION", {"action_index": 1})  # it has no such clip
        client.send("SWITCH_ENGINE", {"engine": "builtin"})
        await service.run(0.1)
        said = [error.data.message for error in client.answers("ERROR")]
        assert len(said) == 2 and "ready for MuseTalk only" in said[1]


async def test_without_musetalk_it_says_what_it_is_ready_for(tmp_path: Path, cache_dir: Path) -> None:
    write_official(tmp_path / "avatars" / "anna", picture=_picture, face=lambda _: FACE)
    async with service_with(load_engines(["builtin", "static"]), "builtin", tmp_path, cache_dir) as service:
        await service.front.avatars.obtain("anna")
        client = service.connect("anna")
        await settle()
        assert client.refusal is not None and client.refusal[0] == 404
        assert "ready for MuseTalk only" in str(client.refusal[2])
        app = create_app(service.front.settings, service.front)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as rest:
            info = (await rest.get("/avatars/anna")).json()
            assert (info["status"], info["engines"]) == ("ready", [])
            assert (await rest.get(info["thumbnail"])).status_code == 200
            assert (await rest.delete("/avatars/anna")).status_code == 204
            assert (await rest.get("/avatars/anna")).status_code == 404
        assert not (tmp_path / "avatars" / "anna").exists()
