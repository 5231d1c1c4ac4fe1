"""Many clients in one process: keeps sessions open and writes down when each access unit comes.

    python bench/load_client.py --port 8000 --idle 200 --speaking 4 --seconds 12 [--init '{"frames": "binary"}']

On standard output: the line READY when all sessions stream. The window begins with a line on standard input, GO; the
line DONE ends it (the caller reads the server's counters at both). Then one line of JSON.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
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
    lateness_ms: list[float]


def judge(arrivals: Arrivals, start: float, end: float) -> Delivery:
    """Against the session's own grid, origin + 40 ms * n, whose origin is the first percentile of
    arrival minus timestamp: no frame is sent before its time, so the earliest arrivals lie on the grid.

    fps counts the frames due in [start, end) that came within the grace. A session that got nothing at all, since
    the server refused it, misses them all.
    """
    if not arrivals.times:
        return Delivery(0.0, int((end - start) * 1000 / FRAME_MS), [])
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
    return Delivery(25.0 * delivered / expected, expected - delivered, np.round(lateness[inside] * 1000, 2).tolist())


async def speak_on(client: RawClient) -> None:
    """The recording over and over, without a pause."""
    chunks = cut(SPEECH.read_bytes()[WAV_HEADER:])
    first = random.randrange(len(chunks))
    start = time.monotonic() + random.random() * FRAME_MS / 1000
    chunks = chunks[first:] + chunks[:first]
    while True:
        await pace(client, chunks, start)
        start += len(chunks) * FRAME_MS / 1000


async def run(port: int, idle: int, speaking: int, seconds: float, init: Mapping[str, Any]) -> dict[str, object]:
    arrivals = [Arrivals() for _ in range(idle + speaking)]
    turn = asyncio.Semaphore(_OPENING_AT_ONCE)
    errors: list[str] = []

    async def open_one(index: int) -> RawClient | None:
        name = f"bench-{os.getpid()}-{index}"
        async with turn:
            try:
                return await RawClient.open("127.0.0.1", port, name, arrivals[index].take, init)
            except (OSError, asyncio.TimeoutError) as error:
                errors.append(f"not opened: {error!r}")
                return None

    opened = await asyncio.gather(*(open_one(index) for index in range(idle + speaking)))
    clients = [client for client in opened if client is not None]
    speech = [asyncio.create_task(speak_on(client)) for client in opened[idle:] if client is not None]
    await asyncio.sleep(_SETTLE_SECONDS)
    gc.collect()
    gc.freeze()
    print("READY", flush=True)
    if (await asyncio.to_thread(sys.stdin.readline)).strip() != "GO":
        raise RuntimeError("nobody says GO")
    start, received, cpu = time.monotonic(), sum(c.bytes_received for c in clients), time.process_time()
    await asyncio.sleep(seconds)
    end, cpu = time.monotonic(), time.process_time() - cpu
    received = sum(c.bytes_received for c in clients) - received
    print("DONE", flush=True)
    await asyncio.sleep(_GRACE_SECONDS)
    for task in speech:
        task.cancel()
    errors += [error for task in await asyncio.gather(*speech, return_exceptions=True) for error in _real(task)]
    errors += [error for client in clients for error in client.errors]
    await asyncio.gather(*(client.close() for client in clients))
    deliveries = [asdict(judge(one, start, end)) for one in arrivals]
    granted = [client.started.result() for client in clients]
    return {
        "idle": deliveries[:idle],
        "speaking": deliveries[idle:],
        "client_cpu_percent": 100 * cpu / (end - start),
        "kbps": received * 8 / 1000 / (end - start),
        "granted": sorted({(data["width"], data["max_kbps"]) for data in granted}),
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
    parser.add_argument("--init", type=json.loads, default={}, help="data of INIT, as JSON")
    arguments = parser.parse_args()
    found = asyncio.run(run(arguments.port, arguments.idle, arguments.speaking, arguments.seconds, arguments.init))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
