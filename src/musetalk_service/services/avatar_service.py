"""Avatars as the front sees them: their clips, and the idle packets that all their sessions share."""

import asyncio
import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec

from musetalk_service.bus import messages as bus
from musetalk_service.engines.avatar import Avatar, load_default_avatar
from musetalk_service.errors import BusClosedError, ModelNotFoundError
from musetalk_service.models.clips import DEFAULT_CLIP
from musetalk_service.services.host_pool import HostPool
from musetalk_service.utils import h264
from musetalk_service.utils.encoding import FramePayload

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadyAvatar:
    """An avatar whose idle packets are there."""

    name: str
    clip_frames: dict[str, int]
    idle: tuple[FramePayload, ...]
    codec: str
    """For WebCodecs, read from the packets' SPS."""


class AvatarService:
    """Finds the avatar of a user, and prepares what its sessions share."""

    def __init__(self, cache_dir: Path, encoding_key: str, *, default_enabled: bool) -> None:
        self._cache_dir = cache_dir
        self._encoding_key = encoding_key
        self._default_enabled = default_enabled
        self._default: ReadyAvatar | None = None

    @property
    def ready(self) -> bool:
        """Whether sessions can begin."""
        return self._default is not None

    async def prepare(self, hosts: HostPool) -> None:
        """Idle packets of the default avatar: from the cache, else encoded by a host and cached."""
        avatar = await asyncio.to_thread(load_default_avatar)
        path = self._cache_dir / f"{avatar.name}-{DEFAULT_CLIP}-{self._key(avatar)}.packets"
        units = await asyncio.to_thread(_read_packets, path)
        if units is None:
            log.info("encoding the idle clip, once", extra={"avatar": avatar.name})
            units = await self._encode(hosts, avatar.name)
            await asyncio.to_thread(_write_packets, path, bus.ClipPackets(avatar.name, DEFAULT_CLIP, units))
        idle = tuple(FramePayload(unit, h264.is_idr(unit), "idle") for unit in units)
        lengths = {clip: avatar.clip_frames(clip) for clip in avatar.clips}
        self._default = ReadyAvatar(avatar.name, lengths, idle, h264.codec_string(units[0]))

    def find(self, user_id: str) -> ReadyAvatar:
        """The avatar that answers a user. Raises :class:`ModelNotFoundError`."""
        if not self._default_enabled or self._default is None:
            raise ModelNotFoundError(
                "no avatar is prepared for this user, and the default avatar is switched off", user_id=user_id
            )
        return self._default

    async def _encode(self, hosts: HostPool, avatar: str) -> list[bytes]:
        while True:
            host = await hosts.first()
            waiter: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
            host.clips[avatar, DEFAULT_CLIP] = waiter
            host.send(bus.PrepareClip(avatar, DEFAULT_CLIP), now=0.0)
            try:
                return await waiter
            except BusClosedError:
                log.warning("the host ended while encoding the idle clip; trying the next")

    def _key(self, avatar: Avatar) -> str:
        """Changes with the picture, the code that draws it and the encoding."""
        digest = hashlib.sha256(f"{avatar.digest}:{self._encoding_key}".encode())
        package = resources.files("musetalk_service")
        for folder in ("engines/face", "utils"):
            for source in sorted((package / folder).iterdir(), key=lambda entry: entry.name):
                if source.name.endswith(".py"):
                    digest.update(source.read_bytes())
        return digest.hexdigest()[:16]


def _read_packets(path: Path) -> list[bytes] | None:
    try:
        message = bus.decode_down(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning(
            "cached packets cannot be read, encoding them again",
            extra={"path": str(path), "cause": str(error)},
        )
        return None
    return message.access_units if isinstance(message, bus.ClipPackets) and message.access_units else None


def _write_packets(path: Path, packets: bus.ClipPackets) -> None:
    """Write aside, then rename: a reader never sees half a file. A cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".packets-")
        with os.fdopen(handle, "wb") as file:
            file.write(bus.encode(packets))
        Path(temporary).replace(path)
    except OSError as error:
        log.warning("idle packets are not cached", extra={"path": str(path), "cause": str(error)})
