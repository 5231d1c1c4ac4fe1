"""Avatars as the front sees them: their clips, and the idle packets that all their sessions share."""

import asyncio
import hashlib
import logging
import os
import tempfile
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any
from weakref import WeakSet, finalize

import msgspec

from musetalk_service import __version__
from musetalk_service.bus import messages as bus
from musetalk_service.engines.avatar import Avatar, load_default_avatar
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.errors import BusClosedError, ModelNotFoundError, ProcessingError, ServiceError
from musetalk_service.models.clips import DEFAULT_CLIP, IDLE, kind_of
from musetalk_service.models.media import GOP_FRAMES, FrameSize, Rendition, choose_rendition
from musetalk_service.services.host_pool import HostPool
from musetalk_service.utils import h264
from musetalk_service.utils.byte_cache import ByteCache
from musetalk_service.utils.encoding import FramePayload

log = logging.getLogger(__name__)


Packets = tuple[FramePayload, ...]
"""One clip in one rendition, a payload per frame."""


@dataclass(frozen=True, eq=False)
class ReadyAvatar:
    """An avatar whose idle packets are there; more of them arrive while sessions run."""

    ref: str
    """What hosts know it by: ``default``, or ``<id>@<version>``."""
    clip_frames: Mapping[str, int]
    idle: dict[str, dict[str, Packets]]
    """By rendition, then by clip."""
    has_face: bool = True
    """False: only MuseTalk can make it speak."""

    @property
    def name(self) -> str:
        """The avatar's id, whatever its version."""
        return self.ref.partition("@")[0]

    def packet_bytes(self) -> int:
        """Memory of the packets; their base64 form is kept beside them once a client has asked for it."""
        clips = (clip for form in self.idle.values() for clip in form.values())
        return sum(len(payload.access_unit) for clip in clips for payload in clip) * 7 // 3

    def rendition(self, ladder: Sequence[Rendition], size: FrameSize, max_kbps: int | None) -> Rendition:
        """The form for a client's wish, or the first of the ladder while that is not encoded yet."""
        wanted = choose_rendition(ladder, size, max_kbps)
        return wanted if DEFAULT_CLIP in self.idle.get(wanted.name, {}) else ladder[0]

    def codec(self, rendition: Rendition) -> str:
        """For WebCodecs, read from the packets' SPS."""
        return h264.codec_string(self.idle[rendition.name][DEFAULT_CLIP][0].access_unit)


class AvatarService:
    """Finds the avatar of a user, and prepares what its sessions share."""

    def __init__(
        self,
        cache_dir: Path,
        renditions: Sequence[Rendition],
        library: AvatarLibrary,
        *,
        default_enabled: bool,
        memory_bytes: int,
    ) -> None:
        self._cache_dir = cache_dir
        self.renditions = renditions
        self.library = library
        self._default_enabled = default_enabled
        self._default: ReadyAvatar | None = None
        self._ready: ByteCache[str, ReadyAvatar] = ByteCache(memory_bytes, ReadyAvatar.packet_bytes)
        self._loading: dict[str, asyncio.Task[ReadyAvatar]] = {}
        self._in_use: WeakSet[ReadyAvatar] = WeakSet()
        self._tasks: set[asyncio.Task[None]] = set()
        self._hosts: HostPool | None = None

    @property
    def ready(self) -> bool:
        """Whether sessions can begin."""
        return self._default is not None

    async def prepare(self, hosts: HostPool, preload: Iterable[str] = ()) -> None:
        """The first idle packets of the default avatar; the others follow in the background.

        ``preload``: avatars that are made ready right after it.
        """
        self._hosts = hosts
        await asyncio.to_thread(self.library.clear_leftovers)
        avatar = await asyncio.to_thread(load_default_avatar)
        self._default = await self._make_ready(avatar)
        self._go_on(self._preload(preload), "preload")

    async def close(self) -> None:
        """Stop preparing. Twice is fine."""
        tasks = [*self._tasks, *self._loading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def obtain(self, user_id: str) -> ReadyAvatar:
        """The avatar that answers a user: the newest version of their own, else the default one.

        Those who come while it is made ready wait for the same work. Raises :class:`ModelNotFoundError`
        where there is none, :class:`ProcessingError` when it cannot be made ready.
        """
        ref = self.library.find(user_id)  # a line of text and a stat: less than a thread would take
        if ref is None:
            if not self._default_enabled or self._default is None:
                raise ModelNotFoundError(
                    "no avatar is prepared for this user, and the default avatar is switched off", user_id=user_id
                )
            return self._default
        ready = self._ready.get(ref)
        return ready if ready is not None else await asyncio.shield(self._load(ref))

    async def make_ready_once(self, ref: str) -> ReadyAvatar:
        """An avatar for one session alone: its files are deleted when nobody holds what is returned.

        It has one idle clip in the best form: more of them would take longer than many a session.
        """
        ready = await self._begin_ready(await asyncio.to_thread(self.library.load, ref))
        finalize(ready, self._drop, ref)
        return ready

    def _drop(self, ref: str) -> None:
        self.library.remove(ref.partition("@")[0])
        for path in self._cache_dir.glob(f"{ref}-*.packets"):
            path.unlink(missing_ok=True)

    async def published(self, avatar_id: str) -> ReadyAvatar:
        """A new version of an avatar is there: make it ready, and clear away versions that nobody shows any more."""
        ready = await self.obtain(avatar_id)
        self._forget(avatar_id, but=ready.ref)
        await self.prune()
        return ready

    async def replaced(self, avatar_id: str) -> None:
        """The same, where nobody waits for it: it is made ready for the first session that shows it."""
        self._forget(avatar_id, but=self.library.find(avatar_id))
        await self.prune()

    async def prune(self) -> None:
        """Delete versions and packets that are neither current nor in use."""
        await asyncio.to_thread(self.library.prune, self.refs_in_use())
        await asyncio.to_thread(self._prune_packets)

    def _prune_packets(self) -> None:
        kept = {*self.refs_in_use(), *map(self.library.find, self.library.ids())}
        for path in self._cache_dir.glob("*@*.packets"):
            if path.name[: path.name.index("@") + 17] not in kept:
                path.unlink(missing_ok=True)

    async def remove(self, avatar_id: str) -> bool:
        """Delete an avatar; returns whether there was one. Sessions that show it go on with what is in memory."""
        removed = await asyncio.to_thread(self.library.remove, avatar_id)
        self._forget(avatar_id)
        await asyncio.to_thread(self._prune_packets)
        return removed

    def refs_in_use(self) -> set[str]:
        """The versions that sessions show or that are kept ready."""
        return {avatar.ref for avatar in self._in_use}

    def _load(self, ref: str) -> "asyncio.Task[ReadyAvatar]":
        task = self._loading.get(ref)
        if task is None:
            task = self._loading[ref] = asyncio.create_task(self._make_ready_from_disk(ref), name=f"load-{ref}")
            task.add_done_callback(lambda _: self._loading.pop(ref, None))
        return task

    async def _make_ready_from_disk(self, ref: str) -> ReadyAvatar:
        ready = await self._make_ready(await asyncio.to_thread(self.library.load, ref))
        self._ready.put(ref, ready)
        return ready

    async def _make_ready(self, avatar: Avatar) -> ReadyAvatar:
        assert self._hosts is not None  # prepare() comes first
        ready = await self._begin_ready(avatar)
        self._go_on(self._prepare_rest(self._hosts, avatar, ready), ready.ref)
        return ready

    async def _begin_ready(self, avatar: Avatar) -> ReadyAvatar:
        assert self._hosts is not None  # prepare() comes first
        lengths = {clip: avatar.clip_frames(clip) for clip in avatar.clips}
        idle: dict[str, dict[str, Packets]] = {rendition.name: {} for rendition in self.renditions}
        ready = ReadyAvatar(avatar.name, lengths, idle, avatar.has_face)
        await self._add(self._hosts, avatar, ready, DEFAULT_CLIP, self.renditions[:1], urgent=True)
        self._in_use.add(ready)
        return ready

    async def _preload(self, avatar_ids: Iterable[str]) -> None:
        for avatar_id in avatar_ids:
            try:
                await self.obtain(avatar_id)
            except ServiceError as error:
                log.error("avatar not preloaded", extra={"avatar": avatar_id, "cause": error.message})

    def _go_on(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _forget(self, avatar_id: str, but: str | None = None) -> None:
        """Versions that no new session gets: their other clips are not needed any more."""
        for ref in [ref for ref in self._ready if ref != but and ref.partition("@")[0] == avatar_id]:
            self._ready.drop(ref)
        for task in self._tasks:
            if task.get_name() != but and task.get_name().partition("@")[0] == avatar_id:
                task.cancel()

    async def _prepare_rest(self, hosts: HostPool, avatar: Avatar, ready: ReadyAvatar) -> None:
        for clip in sorted(clip for clip in avatar.clips if kind_of(clip) == IDLE):
            try:
                await self._add(hosts, avatar, ready, clip, self.renditions)
            except ProcessingError as error:
                log.error("idle clip left out", extra={"clip": clip, "cause": error.message})

    async def _add(
        self,
        hosts: HostPool,
        avatar: Avatar,
        ready: ReadyAvatar,
        clip: str,
        renditions: Sequence[Rendition],
        *,
        urgent: bool = False,
    ) -> None:
        """Packets of a clip, from the cache where they are, else from a host."""
        missing = []
        for rendition in renditions:
            if clip in ready.idle[rendition.name]:
                continue
            path = self._path(avatar, clip, rendition)
            units = await asyncio.to_thread(_read_packets, path, avatar.clip_frames(clip))
            if units is None:
                missing.append(rendition)
            else:
                ready.idle[rendition.name][clip] = _payloads(units)
        if not missing:
            return
        log.info("encoding an idle clip, once", extra={"avatar": avatar.name, "clip": clip, "forms": len(missing)})
        for rendition, units in (await self._encode(hosts, avatar.name, clip, missing, urgent)).items():
            if not units:
                raise ProcessingError(f"clip {clip} of avatar {avatar.name!r} cannot be encoded; the log says why")
            ready.idle[rendition.name][clip] = _payloads(units)
            packets = bus.ClipPackets(avatar.name, clip, rendition.name, units)
            await asyncio.to_thread(_write_packets, self._path(avatar, clip, rendition), packets)

    async def _encode(
        self, hosts: HostPool, avatar: str, clip: str, renditions: Sequence[Rendition], urgent: bool
    ) -> dict[Rendition, list[bytes]]:
        while True:
            host = await hosts.first()
            loop = asyncio.get_running_loop()
            waiters: dict[Rendition, asyncio.Future[list[bytes]]] = {r: loop.create_future() for r in renditions}
            host.clips.update({(avatar, clip, r.name): waiter for r, waiter in waiters.items()})
            host.send(bus.PrepareClip(avatar, clip, list(renditions), urgent), now=0.0)
            try:
                units = await asyncio.gather(*waiters.values())
            except BusClosedError:
                log.warning("the host ended while encoding an idle clip; trying the next")
                continue
            return dict(zip(renditions, units, strict=True))

    def _path(self, avatar: Avatar, clip: str, rendition: Rendition) -> Path:
        return self._cache_dir / f"{avatar.name}-{clip}-{rendition.name}-{self._key(avatar, rendition)}.packets"

    @staticmethod
    def _key(avatar: Avatar, rendition: Rendition) -> str:
        """Changes with the picture, the code that draws and encodes it, and the encoding."""
        key = f"{avatar.digest}:{_code_digest()}:{__version__}:{rendition}"
        return hashlib.sha256(key.encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _code_digest() -> str:
    digest = hashlib.sha256()
    with resources.as_file(resources.files("musetalk_service")) as package:
        for folder in ("engines/face", "utils"):
            for source in sorted((package / folder).rglob("*.py")):
                digest.update(source.read_bytes())
    return digest.hexdigest()


def _payloads(units: Sequence[bytes]) -> Packets:
    return tuple(FramePayload(unit, h264.is_idr(unit), IDLE) for unit in units)


def _read_packets(path: Path, frames: int) -> list[bytes] | None:
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
    units = message.access_units if isinstance(message, bus.ClipPackets) else []
    whole = len(units) == frames and all(h264.is_idr(unit) for unit in units[::GOP_FRAMES])
    return units if whole else None


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
