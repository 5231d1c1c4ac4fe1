"""From process start to a first frame at a client, with an empty CACHE_DIR and with a filled one."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from raw_client import RawClient
from server_process import Server

_RETRY_SECONDS = 0.01
_GIVE_UP_SECONDS = 120.0


async def first_frame(server: Server) -> float:
    """Seconds from process start to the first access unit, tried every 10 ms."""
    came: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def take(_: bytes, now: float) -> None:
        if not came.done():
            came.set_result(now)

    while time.monotonic() < server.started_at + _GIVE_UP_SECONDS:
        server.check_alive()
        try:
            client = await RawClient.open("127.0.0.1", server.port, "bench-startup", take)
        except ConnectionError:
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        arrived = await came
        await client.close()
        return arrived - server.started_at
    raise RuntimeError("the server does not start")


def measure(warm_starts: int = 3) -> dict[str, float | int]:
    """One cold start, then the median and the longest of several warm ones."""
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as folder:
        seconds = []
        for _ in range(1 + warm_starts):
            with Server(Path(folder)) as server:
                seconds.append(asyncio.run(first_frame(server)))
    cold, *warm = seconds
    return {
        "cold_s": cold,
        "warm_s": statistics.median(warm),
        "warm_max_s": max(warm),
        "warm_starts": warm_starts,
    }
