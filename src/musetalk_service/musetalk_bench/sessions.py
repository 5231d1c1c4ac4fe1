"""How many sessions keep up: a painter and engine hosts as the service starts them, fed as its front feeds them."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from musetalk_service.bus import messages as bus
from musetalk_service.config import Settings
from musetalk_service.engines.avatar import DEFAULT_AVATAR
from musetalk_service.errors import EngineError
from musetalk_service.models.media import (
    FRAME_SECONDS,
    SAMPLES_PER_FRAME,
    ClipPosition,
    Rendition,
    make_renditions,
    samples_to_ms,
)
from musetalk_service.services.host_pool import Host, HostPool, Inbox
from musetalk_service.services.metrics import Metrics
from musetalk_service.services.painter_process import PainterProcess
from musetalk_service.utils.clock import Clock, MonotonicClock

_SHARES: Final = (0.25, 0.5, 0.75, 1.0, 1.25)
"""Of the sessions that the painter itself says it can serve."""
_ASKED_FOR: Final = (16, 40)
"""Sessions that are of interest wherever they are within reach."""
_WARM_FRAMES: Final = 25
_LEAST_FRAMES: Final = 50
_DRAIN_S: Final = 1.0
_START_S: Final = 120.0
_SPEECH_SECONDS: Final = 4
_LOUD: Final = 4000


@dataclass(frozen=True)
class SessionsRow:
    """So many sessions that speak without a pause, at 25 fps."""

    sessions: int
    p99_late_ms: float
    """When a frame has come encoded, after it was due, one frame's time after it was asked for; 0 is in time."""
    first_ms: float
    """From the start of a session's first frame in the audio to its coming, look-ahead included; the slowest."""
    not_painted: int
    """Frames that the built-in engine had to draw, that repeat the one before, or that never came."""
    kept_up: bool


async def measure_sessions(settings: Settings, seconds: float) -> tuple[int, tuple[SessionsRow, ...]]:
    """Rising numbers of sessions until one does not keep up.

    Args:
        settings: with MODEL_PATH and all that belongs to MuseTalk; WORKERS says how many hosts there are.
        seconds: how long each number of sessions speaks, at least two.

    Returns:
        Hosts, and a row for each number of sessions.

    Raises:
        EngineError: the painter or a host does not start.
    """
    clock, metrics = MonotonicClock(), Metrics()
    text = settings.model_copy(update={"engine": "musetalk"}).for_hosts()
    painter = PainterProcess(text, clock, metrics)
    pool = HostPool(settings.host_count, text, clock, metrics, [painter])
    try:
        await pool.start()
        if painter.sessions is None:
            raise EngineError("the painter does not start; its log says why")
        await _all_connected(pool, settings.host_count, clock)
        rendition = make_renditions(settings.video_crf, settings.video_max_kbps)[0]
        await _speak(pool, settings.host_count, rendition, clock, 2)  # faces are encoded when they are first shown
        limit = painter.sessions
        numbers = {max(1, round(limit * share)) for share in _SHARES}
        numbers |= {number for number in _ASKED_FOR if number <= limit * _SHARES[-1]}
        rows: list[SessionsRow] = []
        for number in sorted(numbers):
            frames = max(_LEAST_FRAMES, round(seconds / FRAME_SECONDS))
            rows.append(_row(await _speak(pool, number, rendition, clock, frames)))
            if not rows[-1].kept_up:
                break
        return len(pool.hosts), tuple(rows)
    finally:
        await pool.close()


async def _all_connected(pool: HostPool, count: int, clock: Clock) -> None:
    until = clock.now() + _START_S
    while len(pool.hosts) < count:
        if clock.now() > until:
            raise EngineError(f"{len(pool.hosts)} of {count} engine hosts are there after {_START_S:g} s")
        await clock.sleep_until(clock.now() + FRAME_SECONDS)


class _Arrivals(deque[bus.Frame]):
    """An inbox's frames; notes when each came."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.at: list[float] = []
        self.painted = 0

    def append(self, frame: bus.Frame) -> None:
        self.at.append(self._clock.now())
        self.painted += frame.engine == "musetalk" and not frame.held


class _Session:
    """Speaks noise without a pause: each of its frames has to be painted."""

    def __init__(self, number: int, host: Host, rendition: Rendition, clock: Clock) -> None:
        self._name = f"bench-{number}"
        self._host = host
        self._clock = clock
        noise = np.random.default_rng(number).standard_normal(_SPEECH_SECONDS * 16_000)
        self._speech = (_LOUD * noise).astype("<i2")
        self._sent = 0
        status = host.engine_status("musetalk")
        self.look_ahead = 0 if status is None else status.look_ahead_samples
        self.arrivals = _Arrivals(clock)
        self.asked: list[float] = []
        host.inboxes[self._name] = Inbox(1, frames=self.arrivals)
        start = ClipPosition("speaking_0", 0)
        host.send(bus.Open(self._name, 1, DEFAULT_AVATAR, "musetalk", rendition, start), clock.now())

    def ask(self, now: float) -> None:
        """For the next frame, with the audio that has come since the one before."""
        frame = len(self.asked)
        self.asked.append(now)
        end = (frame + 1) * SAMPLES_PER_FRAME + self.look_ahead
        pcm = np.take(self._speech, np.arange(self._sent, end), mode="wrap")
        place = ClipPosition("speaking_0", frame % 100)
        render = bus.Render(
            session=self._name,
            epoch=1,
            frame=frame,
            pose=place,
            force_idr=frame == 0,
            audio_position=frame * SAMPLES_PER_FRAME,
            pcm_position=self._sent,
            pcm=pcm.tobytes(),
            due=now + FRAME_SECONDS,
        )
        self._sent = end
        self._host.send(render, now)

    def close(self) -> None:
        self._host.send(bus.Shut(self._name, 1), self._clock.now())
        self._host.inboxes.pop(self._name, None)


async def _speak(pool: HostPool, number: int, rendition: Rendition, clock: Clock, frames: int) -> list[_Session]:
    """Sessions that have spoken."""
    sessions = []
    for index in range(number):
        host = pool.assign()
        if host is None:
            raise EngineError("no engine host is there any more")
        sessions.append(_Session(index, host, rendition, clock))
    start = clock.now() + FRAME_SECONDS
    for frame in range(frames):
        await clock.sleep_until(start + frame * FRAME_SECONDS)
        for session in sessions:
            session.ask(clock.now())
    until = clock.now() + _DRAIN_S
    while clock.now() < until and any(len(session.arrivals.at) < frames for session in sessions):
        await asyncio.sleep(FRAME_SECONDS)
    for session in sessions:
        session.close()
    return sessions


def _row(sessions: list[_Session]) -> SessionsRow:
    """Raises :class:`EngineError` when nothing has come at all."""
    late, first, missing = [], [], 0
    for session in sessions:
        waits = np.subtract(session.arrivals.at, session.asked[: len(session.arrivals.at)])
        missing += len(session.asked) - session.arrivals.painted
        late += (waits[_WARM_FRAMES:] - FRAME_SECONDS).tolist()
        first += waits[:1].tolist()
    if not late:
        raise EngineError("no frame has come")
    p99 = float(np.percentile(late, 99)) * 1000
    first_ms = max(first) * 1000 + samples_to_ms(sessions[0].look_ahead)
    return SessionsRow(len(sessions), p99, first_ms, missing, kept_up=p99 <= 0 and not missing)
