"""The cache of idle packets: made once, made again when it cannot be read."""

import asyncio
import gc
from pathlib import Path

import pytest

from musetalk_service.bus import messages as bus
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.errors import ModelNotFoundError, ProcessingError
from musetalk_service.models.media import FrameSize, make_renditions
from musetalk_service.services.avatar_service import AvatarService
from musetalk_service.services.metrics import Metrics
from musetalk_service.utils import h264
from support.avatars import publish
from support.in_process import InProcessHost, InProcessPool, grey_engines
from support.manual_clock import ManualClock


def _service(cache: Path, crf: int = 23, *, default_enabled: bool = True, memory_bytes: int = 1 << 28) -> AvatarService:
    library = AvatarLibrary(cache.parent / "avatars")
    return AvatarService(
        cache, make_renditions(crf, 1500), library, default_enabled=default_enabled, memory_bytes=memory_bytes
    )


async def _prepare(folder: Path, crf: int = 23) -> tuple[AvatarService, list[bus.UpMessage]]:
    """A service that has what sessions need, and what it asked hosts for until then."""
    clock = ManualClock()
    host = InProcessHost(grey_engines(), clock)
    pool = InProcessPool([host], clock, Metrics())
    await pool.start()
    few = _few_packets()

    def handle(messages: list[bus.UpMessage]) -> list[bus.DownMessage]:
        """Instead of 500 rendered pictures."""
        asked = [message for message in messages if isinstance(message, bus.PrepareClip)]
        return [bus.ClipPackets(m.avatar, m.clip, form.name, few) for m in asked for form in m.renditions]

    host.engine_host.handle = handle  # type: ignore[assignment,method-assign]
    service = _service(folder, crf)
    assert not service.ready
    await service.prepare(pool)
    asked = list(host.received)
    await service.close()
    await service.close()
    return service, asked


def _few_packets() -> list[bytes]:
    """As many access units as the idle clip has frames; only their headers matter here."""
    idr = h264.START_CODE + b"\x67\x42\xc0\x1f" + h264.START_CODE + b"\x65\x88"
    return [idr if n % 25 == 0 else h264.START_CODE + b"\x41\x9a" for n in range(500)]


async def test_packets_are_made_once_and_cached(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    service, asked = await _prepare(folder)
    assert [type(message) for message in asked] == [bus.PrepareClip]
    avatar = await service.obtain("anyone")
    packets = avatar.idle["512"]["idle_0"]
    assert service.ready and len(packets) == avatar.clip_frames["idle_0"] == 500
    assert [n for n, packet in enumerate(packets) if packet.is_idr] == list(range(0, 500, 25))
    assert avatar.codec(service.renditions[0]) == "avc1.42C01F"
    small = avatar.rendition(service.renditions, FrameSize(256, 256), None)
    assert small is service.renditions[0]  # till the small one is there
    assert [path.suffix for path in folder.iterdir()] == [".packets"]
    again, asked = await _prepare(folder)
    assert not asked
    assert (await again.obtain("anyone")).idle["512"] == avatar.idle["512"]


async def test_other_encoding_has_another_cache(tmp_path: Path) -> None:
    await _prepare(tmp_path)
    _, asked = await _prepare(tmp_path, 20)
    assert asked and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"garbage" * 100,
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: bus.encode(bus.HostReady(1, [])),
        lambda data: bus.encode(bus.ClipPackets("default", "idle_0", "512", [])),
    ],
)
async def test_damaged_cache_is_made_again(tmp_path: Path, damage: object) -> None:
    await _prepare(tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))  # type: ignore[operator]
    service, asked = await _prepare(tmp_path)
    assert asked and service.ready
    assert path.read_bytes() == whole


async def test_cache_with_too_few_packets_is_made_again(tmp_path: Path) -> None:
    await _prepare(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(bus.encode(bus.ClipPackets("default", "idle_0", "512", _few_packets()[:100])))
    service, asked = await _prepare(tmp_path)
    assert asked
    assert len((await service.obtain("anyone")).idle["512"]["idle_0"]) == 500


async def test_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    service, asked = await _prepare(blocked / "cache")
    assert asked and service.ready


async def test_nobody_is_served_without_the_default_avatar(tmp_path: Path) -> None:
    service = _service(tmp_path / "cache", default_enabled=False)
    with pytest.raises(ModelNotFoundError):
        await service.obtain("alice")


# --- avatars of one's own ---


class Hosts:
    """One host that encodes at once, or when told to."""

    def __init__(self) -> None:
        clock = ManualClock()
        self.host = InProcessHost(grey_engines(), clock)
        self.pool = InProcessPool([self.host], clock, Metrics())
        self.asked: list[bus.PrepareClip] = []
        self.broken = False
        self.host.engine_host.handle = self._handle  # type: ignore[assignment,method-assign]

    def _handle(self, messages: list[bus.UpMessage]) -> list[bus.DownMessage]:
        clips = [message for message in messages if isinstance(message, bus.PrepareClip)]
        self.asked += clips
        units = [] if self.broken else _few_packets()
        return [bus.ClipPackets(m.avatar, m.clip, form.name, units) for m in clips for form in m.renditions]

    def refs(self) -> list[str]:
        return [clip.avatar for clip in self.asked if clip.urgent]


async def _started(service: AvatarService) -> Hosts:
    hosts = Hosts()
    await hosts.pool.start()
    await service.prepare(hosts.pool)
    hosts.asked.clear()
    return hosts


async def test_users_get_their_own_avatar_and_others_the_default(tmp_path: Path) -> None:
    service = _service(tmp_path / "cache")
    ref = publish(tmp_path / "avatars", "alice")
    await _started(service)
    alice, bob = await service.obtain("alice"), await service.obtain("bob")
    assert (alice.ref, alice.name, bob.ref) == (ref, "alice", "default")
    assert await service.obtain("alice") is alice
    await service.close()


async def test_many_who_come_at_once_wait_for_one_loading(tmp_path: Path) -> None:
    service = _service(tmp_path / "cache")
    ref = publish(tmp_path / "avatars", "alice")
    hosts = await _started(service)
    found = await asyncio.gather(*(service.obtain("alice") for _ in range(10)))
    assert len(set(map(id, found))) == 1
    assert hosts.refs() == [ref]
    await service.close()


async def test_one_who_gives_up_waiting_does_not_stop_the_loading(tmp_path: Path) -> None:
    service = _service(tmp_path / "cache")
    publish(tmp_path / "avatars", "alice")
    hosts = await _started(service)
    waiting = asyncio.create_task(service.obtain("alice"))
    while not service._loading:
        await asyncio.sleep(0)
    waiting.cancel()
    assert (await service.obtain("alice")).name == "alice"
    assert len(hosts.refs()) == 1
    await service.close()


async def test_new_version_is_for_new_sessions_and_the_old_one_lives_as_long_as_it_is_shown(tmp_path: Path) -> None:
    service = _service(tmp_path / "cache", memory_bytes=1)
    first = publish(tmp_path / "avatars", "alice")
    await _started(service)
    shown = await service.obtain("alice")
    second = publish(tmp_path / "avatars", "alice")
    assert (await service.published("alice")).ref == second
    assert service.library.folder(first).is_dir() and shown.ref == first
    await service.close()
    del shown
    for _ in range(3):  # what its cancelled work still holds
        await asyncio.to_thread(gc.collect)
    await service.prune()
    with pytest.raises(ModelNotFoundError):
        service.library.folder(first)
    assert {path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()} == {"default", second}


async def test_memory_is_bounded(tmp_path: Path) -> None:
    service = _service(tmp_path / "cache", memory_bytes=1)
    for name in ("alice", "bob"):
        publish(tmp_path / "avatars", name)
    hosts = await _started(service)
    for name in ("alice", "bob", "alice"):
        await service.obtain(name)
    assert list(service._ready) == [service.library.find("alice")]
    assert len(hosts.refs()) == 2  # the third time its packets came from the disk
    await service.close()


async def test_removed_avatar_is_forgotten(tmp_path: Path) -> None:
    service = _service(tmp_path / "cache")
    publish(tmp_path / "avatars", "alice")
    await _started(service)
    await service.obtain("alice")
    assert await service.remove("alice")
    assert (await service.obtain("alice")).ref == "default"
    assert not await service.remove("alice")
    await service.close()


async def test_avatar_that_cannot_be_encoded_is_an_error_for_its_user_alone(tmp_path: Path) -> None:
    service = _service(tmp_path / "cache")
    publish(tmp_path / "avatars", "alice")
    hosts = await _started(service)
    hosts.broken = True
    with pytest.raises(ProcessingError):
        await service.obtain("alice")
    assert (await service.obtain("bob")).ref == "default"
    hosts.broken = False
    assert (await service.obtain("alice")).name == "alice"
    await service.close()


async def test_preloaded_avatars_are_ready_and_unknown_ones_no_trouble(tmp_path: Path) -> None:
    service = _service(tmp_path / "cache")
    ref = publish(tmp_path / "avatars", "alice")
    hosts = Hosts()
    await hosts.pool.start()
    await service.prepare(hosts.pool, ["nobody", "alice"])
    while ref not in service._ready:
        await asyncio.sleep(0)
    hosts.asked.clear()
    assert (await service.obtain("alice")).ref == ref and not hosts.refs()
    await service.close()
