"""Composition root of an engine host process: a synchronous loop between the bus and the engines."""

import logging
import os
import signal
import socket
import time
from pathlib import Path

import cv2

from musetalk_service.bus.base import HostLink
from musetalk_service.bus.local import SocketHostLink
from musetalk_service.bus.messages import EngineStatus, HostReady
from musetalk_service.bus.remote_painter import RemotePainter
from musetalk_service.config import Settings
from musetalk_service.engine_choice import choose_engine
from musetalk_service.engines.avatar import DEFAULT_AVATAR, Avatar, load_default_avatar
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.engines.base import Engine
from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEADS, load_network, look_ahead_samples
from musetalk_service.engines.musetalk.engine import MuseTalkEngine
from musetalk_service.engines.registry import chain_from, load_engines
from musetalk_service.engines.voice import Voice
from musetalk_service.errors import BusClosedError
from musetalk_service.painter import musetalk_options
from musetalk_service.services.engine_host import EngineHost
from musetalk_service.services.engine_scheduler import EngineScheduler
from musetalk_service.utils.byte_cache import ByteCache

log = logging.getLogger(__name__)


class HostAvatars:
    """The avatars that one host has in memory; those that were not used for the longest time go first."""

    def __init__(self, library: AvatarLibrary, memory_bytes: int) -> None:
        self._library = library
        self._kept: ByteCache[str, Avatar] = ByteCache(memory_bytes, Avatar.memory_bytes)

    def get(self, ref: str) -> Avatar:
        """Raises :class:`ModelNotFoundError` for an avatar that is not there."""
        avatar = self._kept.get(ref)
        if avatar is None:
            avatar = load_default_avatar() if ref == DEFAULT_AVATAR else self._library.load(ref)
            self._kept.put(ref, avatar)
        return avatar


def build_host(settings: Settings, painter: Path | None = None) -> tuple[EngineHost, dict[str, Engine]]:
    """The host's object graph; tests use it in-process.

    Args:
        settings: with the name of an engine that is chosen already.
        painter: the socket of the process that has MuseTalk's networks; None: there is none.
    """
    settings = choose_engine(settings)
    look_ahead_ms = settings.builtin_look_ahead_ms
    musetalk = None if painter is None else _musetalk(settings, painter)
    engines = load_engines(chain_from(settings.engine), look_ahead_ms, musetalk)
    scheduler = EngineScheduler(engines, time.monotonic, retry_s=settings.engine_retry_s)
    network = load_network()
    avatars = HostAvatars(AvatarLibrary(settings.avatars_dir), settings.avatar_memory_mb << 20)
    return EngineHost(scheduler, avatars.get, lambda: Voice(network, look_ahead_ms)), engines


def _musetalk(settings: Settings, painter: Path) -> Engine:
    return MuseTalkEngine(musetalk_options(settings), RemotePainter(painter, settings.musetalk_timeout_ms / 1000))


def ready_message(engines: dict[str, Engine], look_ahead_ms: int = LOOK_AHEADS[-1]) -> HostReady:
    """What the host tells the front when it can take sessions; every session's own ear looks ahead too."""
    infos = [engine.info for engine in engines.values()]
    ear = look_ahead_samples(look_ahead_ms)
    return HostReady(
        os.getpid(), [EngineStatus(i.name, i.version, i.device, max(ear, i.look_ahead_samples)) for i in infos]
    )


def run_host(settings: Settings, bus_fd: int, painter: Path | None = None) -> None:
    """Serve the link on an inherited socket until the front is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the front says when to end
    cv2.setNumThreads(1)  # one core per host: more threads only make neighbours late
    link: HostLink = SocketHostLink(socket.socket(fileno=bus_fd))
    try:
        host, engines = build_host(settings, painter)
        host.warm_up(DEFAULT_AVATAR, settings.frame_sizes)
        link.send([ready_message(engines, settings.builtin_look_ahead_ms)])
        while True:
            messages = link.receive(wait=not host.has_background_work, others=host.filenos())
            link.send(host.handle(messages))
            if host.has_background_work and not messages:
                link.send(host.work_in_background())
    except BusClosedError:
        log.debug("front is gone, host ends")
