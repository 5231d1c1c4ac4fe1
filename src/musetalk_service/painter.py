"""Composition root of the painter: the process that owns MuseTalk's networks, one for all engine hosts."""

import logging
import signal
import socket
import time
from pathlib import Path

import cv2

from musetalk_service.bus.local import PayloadSocket
from musetalk_service.bus.patch_memory import BEAT_S, PainterBeat, PainterFailed, PainterReady, encode
from musetalk_service.config import Settings
from musetalk_service.engines.musetalk.options import Listening, MuseTalkOptions
from musetalk_service.errors import BusClosedError, CheckpointError, EngineError
from musetalk_service.services.paint_service import PaintService

log = logging.getLogger(__name__)


def musetalk_options(settings: Settings) -> MuseTalkOptions:
    """What the settings say about MuseTalk."""
    return MuseTalkOptions(
        settings.model_path,
        settings.cache_dir,
        settings.device,
        settings.use_float16,
        settings.musetalk_precision,
        Listening(
            settings.musetalk_version,
            settings.musetalk_window_s,
            settings.musetalk_hop_frames,
            settings.musetalk_silence_dbfs,
        ),
        settings.musetalk_max_batch,
        settings.avatar_memory_mb << 20,
        settings.musetalk_latents_mb << 20,
        settings.musetalk_decoder,
        settings.musetalk_least_psnr_db,
        settings.musetalk_mask,
    )


def run_painter(settings: Settings, bus_fd: int, path: Path) -> None:
    """Load, warm up, then serve the hosts that connect to a Unix socket until the front is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the front says when to end
    cv2.setNumThreads(1)
    front = socket.socket(fileno=bus_fd)
    link = PayloadSocket(front)
    try:
        try:
            from musetalk_service.engines.musetalk.networks import load_painter, sustained_sessions

            painter = load_painter(musetalk_options(settings))
            rates = painter.measure()
        except ImportError as error:
            link.send([encode(PainterFailed(f"{error}; pip install 'musetalk-service[musetalk]'"))])
            return
        except (CheckpointError, EngineError) as error:
            link.send([encode(PainterFailed(f"{error}"))])
            return
        log.info("MuseTalk measured", extra={"frames_per_s": {size: round(rate, 1) for size, rate in rates.items()}})
        path.unlink(missing_ok=True)  # of one that was killed
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            service = PaintService(painter, listener)
            service.end_with(front)
            link.send([encode(PainterReady(*painter.info, sessions=sustained_sessions(rates)))])
            beat_at = time.monotonic()
            while True:
                service.step(BEAT_S)
                if time.monotonic() >= beat_at:
                    link.send([encode(PainterBeat(service.frames, service.batches, service.late))])
                    beat_at = time.monotonic() + BEAT_S
    except BusClosedError:
        log.debug("front is gone, painter ends")
