"""Composition root of an engine host process: a synchronous loop between the bus and the engines."""

import logging
import os
import signal
import socket
import time
from functools import lru_cache

import cv2

from musetalk_service.bus.base import HostLink
from musetalk_service.bus.local import SocketHostLink
from musetalk_service.bus.messages import EngineStatus, HostReady
from musetalk_service.config import Settings
from musetalk_service.engines.avatar import DEFAULT_AVATAR, Avatar, load_default_avatar
from musetalk_service.engines.base import Engine
from musetalk_service.engines.builtin.network import load_network
from musetalk_service.engines.registry import chain_from, load_engines
from musetalk_service.engines.voice import Voice
from musetalk_service.errors import BusClosedError, ModelNotFoundError
from musetalk_service.services.engine_host import EngineHost
from musetalk_service.services.engine_scheduler import EngineScheduler

log = logging.getLogger(__name__)


@lru_cache(maxsize=8)
def _avatar(name: str) -> Avatar:
    if name != DEFAULT_AVATAR:
        raise ModelNotFoundError(f"no avatar {name!r}")
    return load_default_avatar()


def build_host(settings: Settings) -> tuple[EngineHost, dict[str, Engine]]:
    """The host's object graph; tests use it in-process."""
    engines = load_engines(chain_from(settings.engine))
    scheduler = EngineScheduler(engines, time.monotonic, retry_s=settings.engine_retry_s)
    network = load_network()
    return EngineHost(scheduler, _avatar, lambda: Voice(network)), engines


def ready_message(engines: dict[str, Engine]) -> HostReady:
    """What the host tells the front when it can take sessions; every session's own ear looks ahead too."""
    infos = [engine.info for engine in engines.values()]
    ear = Voice.LOOK_AHEAD_SAMPLES
    return HostReady(
        os.getpid(), [EngineStatus(i.name, i.version, i.device, max(ear, i.look_ahead_samples)) for i in infos]
    )


def run_host(settings: Settings, bus_fd: int) -> None:
    """Serve the link on an inherited socket until the front is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the front says when to end
    cv2.setNumThreads(1)  # one core per host: more threads only make neighbours late
    link: HostLink = SocketHostLink(socket.socket(fileno=bus_fd))
    try:
        host, engines = build_host(settings)
        host.warm_up(DEFAULT_AVATAR)
        link.send([ready_message(engines)])
        while True:
            messages = link.receive(wait=not host.has_background_work)
            link.send(host.handle(messages) if messages else host.work_in_background())
    except BusClosedError:
        log.debug("front is gone, host ends")
