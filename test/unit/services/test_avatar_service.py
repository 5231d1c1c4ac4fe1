"""The cache of idle packets: made once, made again when it cannot be read."""

from pathlib import Path

import pytest

from musetalk_service.bus import messages as bus
from musetalk_service.errors import ModelNotFoundError
from musetalk_service.models.media import make_renditions
from musetalk_service.services.avatar_service import AvatarService
from musetalk_service.services.metrics import Metrics
from musetalk_service.utils import h264
from support.in_process import InProcessHost, InProcessPool, grey_engines
from support.manual_clock import ManualClock


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
    service = AvatarService(folder, make_renditions(crf, 1500), default_enabled=True)
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
    avatar = service.find("anyone")
    packets = avatar.idle["512"]["idle_0"]
    assert service.ready and len(packets) == avatar.clip_frames["idle_0"] == 500
    assert [n for n, packet in enumerate(packets) if packet.is_idr] == list(range(0, 500, 25))
    assert avatar.codec(service.renditions[0]) == "avc1.42C01F"
    assert avatar.rendition(service.renditions, 256, None) is service.renditions[0]  # till that is there
    assert [path.suffix for path in folder.iterdir()] == [".packets"]
    again, asked = await _prepare(folder)
    assert not asked
    assert again.find("anyone").idle["512"] == avatar.idle["512"]


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
    assert len(service.find("anyone").idle["512"]["idle_0"]) == 500


async def test_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    service, asked = await _prepare(blocked / "cache")
    assert asked and service.ready


def test_nobody_is_served_without_the_default_avatar(tmp_path: Path) -> None:
    service = AvatarService(tmp_path, make_renditions(23, 1500), default_enabled=False)
    with pytest.raises(ModelNotFoundError):
        service.find("alice")
