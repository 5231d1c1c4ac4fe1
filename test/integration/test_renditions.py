"""Sizes and rates that a client may ask for, and the variety of the idle face."""

import asyncio
from pathlib import Path

import pytest

from support.engines import tone
from support.in_process import Client, Service, gaps, started_service
from support.manual_clock import settle
from support.video import decode, greys


async def _open(service: Service, **video_config: object) -> Client:
    client = service.connect()
    client.send("INIT", {"video_config": video_config})
    await settle()
    client.session_id = client.answers("INIT_SUCCESS")[0].session_id
    return client


async def _all_made(service: Service) -> None:
    """Wait for the packets that are made in the background, in the files' own time."""
    forms = (await service.front.avatars.obtain("alice")).idle
    while not all("idle_1" in clips for clips in forms.values()):
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_each_form_is_a_whole_stream_of_its_own(cache_dir: Path) -> None:
    async with started_service(cache_dir, all_forms=True) as service:
        await _all_made(service)
        clients = {}
        for size in (512, 384, 256):
            for kbps in (None, 100):
                limit = {} if kbps is None else {"max_kbps": kbps}
                clients[size, kbps] = await _open(service, resolution=f"{size}x{size}", **limit)
        await service.run(1.0)
        for client in clients.values():
            client.speak(tone(40, 1.0))
        await service.run(4.0)
        for (size, _), client in clients.items():
            started = client.answers("INIT_SUCCESS")[0].data
            assert (started.width, started.height) == (size, size)
            assert {luma.shape for luma in decode(client.units)} == {(size, size)}
            stamps = [frame.data.frame_timestamp for frame in client.frames]
            assert set(gaps(stamps)) == {40} and len(stamps) >= 124
            shown = zip(client.frames, greys(client.units), strict=True)
            assert {grey for frame, grey in shown if frame.data.audio_timestamp is not None} == {40}
        rates = {key: client.answers("INIT_SUCCESS")[0].data.max_kbps for key, client in clients.items()}
        assert rates[512, None] > rates[512, 100] > rates[256, 100]


async def test_operator_decides_which_sizes_there_are(cache_dir: Path) -> None:
    sizes = ["384x384", "288x512"]
    async with started_service(cache_dir / "own", video_sizes=sizes) as service:
        started = (await _open(service)).answers("INIT_SUCCESS")[0].data
        assert (started.width, started.height, started.resolutions) == (384, 384, sizes)
        client = service.connect()
        client.send("INIT", {"video_config": {"resolution": "512x512"}})
        await settle()
        (refusal,) = client.answers("ERROR")
        assert refusal.data.code == "INVALID_MESSAGE"
        assert refusal.data.details == {"field": "data.video_config.resolution", "allowed": sizes}
        assert await client.open(video_config={"resolution": "384x384"})  # the refusal has changed nothing
        await service.run(1.0)
        assert {luma.shape for luma in decode(client.units)} == {(384, 384)}


async def test_form_that_is_not_made_yet_is_answered_with_the_best(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await _open(service, resolution="256x256")
        await service.run(1.0)
        assert client.answers("INIT_SUCCESS")[0].data.width == 512
        assert {luma.shape for luma in decode(client.units)} == {(512, 512)}


@pytest.mark.parametrize("config", [{"resolution": "1024x1024"}, {"fps": 30}, {"max_kbps": -1}, {"max_kbps": "x"}])
async def test_what_is_not_served_is_refused(cache_dir: Path, config: dict[str, object]) -> None:
    async with started_service(cache_dir) as service:
        client = service.connect()
        client.send("INIT", {"video_config": config})
        await settle()
        assert client.errors == ["INVALID_MESSAGE"]


@pytest.mark.slow
async def test_idle_face_varies_without_a_seam(cache_dir: Path) -> None:
    async with started_service(cache_dir, all_forms=True) as service:
        await _all_made(service)
        client = await service.session()
        await service.run(90.0)
        client.send("STATE_CHANGE", {"target_state": "idle", "base_video": "idle_0"})
        await service.run(5.0)
        assert len(decode(client.units)) == len(client.frames)
        keys = [frame.data.frame_timestamp for frame in client.frames if frame.data.is_keyframe]
        assert max(gaps(keys)) <= 1000
        assert service.hosts[0].engine_host._speakers == {}
