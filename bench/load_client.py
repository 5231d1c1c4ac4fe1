"""Many clients in one process: keeps sessions open and writes down when each access unit comes.

    python bench/load_client.py --port 8000 --idle 200 --speaking 4 --seconds 12

On standard output: the line READY when all sessions stream, DONE when the window is over (the caller reads the
server's counters at both), then one line of JSON.
"""

import argparse
import asyncio
import gc
import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from raw_client import FRAME_MS, RawClient, cut, pace, timestamp_of

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech_6s.wav"
WAV_HEADER = 44
_SETTLE_SECONDS = 2.0
_GRACE_SECONDS = 0.5
"""A frame that comes later than this after its time counts as not delivered."""
_OPENING_AT_ONCE = 20


@dataclass
class Arrivals:
    """One session's access units: timestamp in ms, and when each came."""

    timestamps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def take(self, frame: bytes, now: float) -> None:
        self.timestamps.append(timestamp_of(frame))
        self.times.append(now)


@dataclass(frozen=True)
class Delivery:
    """One session in the window."""

    fps: float
    missing: int
    lateness_ms: NDArray[np.float64]


def judge(arrivals: Arrivals, start: float, end: float) -> Delivery:
    """Against the session's own grid, origin + 40 ms * n, whose origin is the first percentile of
    arrival minus timestamp: no frame is sent before its time, so the earliest arrivals lie on the grid.

    fps counts the frames due in [start, end) that came within the grace.
    """
    stamps = np.array(arrivals.timestamps) / 1000
    times = np.array(arrivals.times)
    origin = float(np.percentile(times - stamps, 1))
    period = FRAME_MS / 1000
    first, last = int(np.ceil((start - origin) / period)), int(np.ceil((end - origin) / period))
    lateness = times - stamps - origin
    numbers = np.round(stamps / period).astype(int)
    inside = (numbers >= first) & (numbers < last)
    in_time = inside & (lateness <= _GRACE_SECONDS)
    expected = last - first
    delivered = len(np.unique(numbers[in_time]))
    return Delivery(25.0 * delivered / expected, expected - delivered, lateness[inside] * 1000)


def summarise(deliveries: list[Delivery]) -> dict[str, float]:
    """One group of sessions."""
    if not deliveries:
        return {}
    fps = [delivery.fps for delivery in deliveries]
    late = np.concatenate([delivery.lateness_ms for delivery in deliveries])
    p50, p99 = np.percentile(late, [50, 99])
    return {
        "sessions": len(deliveries),
        "fps_min": min(fps),
        "fps_median": float(np.median(fps)),
        "missing": sum(delivery.missing for delivery in deliveries),
        "late_p50_ms": float(p50),
        "late_p99_ms": float(p99),
        "late_max_ms": float(late.max()),
    }


async def speak_on(client: RawClient) -> None:
    """The recording over and over, without a pause."""
    chunks = cut(SPEECH.read_bytes()[WAV_HEADER:])
    first = random.randrange(len(chunks))
    start = time.monotonic() + random.random() * FRAME_MS / 1000
    chunks = chunks[first:] + chunks[:first]
    while True:
        await pace(client, chunks, start)
        start += len(chunks) * FRAME_MS / 1000


async def run(port: int, idle: int, speaking: int, seconds: float) -> dict[str, object]:
    arrivals = [Arrivals() for _ in range(idle + speaking)]
    turn = asyncio.Semaphore(_OPENING_AT_ONCE)

    async def open_one(index: int) -> RawClient:
        async with turn:
            return await RawClient.open("127.0.0.1", port, f"bench-{index}", arrivals[index].take)

    clients = await asyncio.gather(*(open_one(index) for index in range(idle + speaking)))
    speech = [asyncio.create_task(speak_on(client)) for client in clients[idle:]]
    await asyncio.sleep(_SETTLE_SECONDS)
    gc.collect()
    gc.freeze()
    start, received, cpu = time.monotonic(), sum(c.bytes_received for c in clients), time.process_time()
    print("READY", flush=True)
    await asyncio.sleep(seconds)
    end, cpu = time.monotonic(), time.process_time() - cpu
    received = sum(c.bytes_received for c in clients) - received
    print("DONE", flush=True)
    await asyncio.sleep(_GRACE_SECONDS)
    for task in speech:
        task.cancel()
    ended = [error for task in await asyncio.gather(*speech, return_exceptions=True) for error in _real(task)]
    errors = ended + [error for client in clients for error in client.errors]
    await asyncio.gather(*(client.close() for client in clients))
    deliveries = [judge(one, start, end) for one in arrivals]
    return {
        "idle": summarise(deliveries[:idle]),
        "speaking": summarise(deliveries[idle:]),
        "client_cpu_percent": 100 * cpu / (end - start),
        "kbps_per_session": received * 8 / 1000 / (end - start) / len(clients),
        "errors": errors,
    }


def _real(outcome: BaseException | None) -> list[str]:
    return [] if outcome is None or isinstance(outcome, asyncio.CancelledError) else [repr(outcome)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--idle", type=int, default=0)
    parser.add_argument("--speaking", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=12.0)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(run(arguments.port, arguments.idle, arguments.speaking, arguments.seconds))))


if __name__ == "__main__":
    main()
