"""One session that only watches, until its standard input ends; then it says how its stream was.

    python bench/soak_watch.py --port 8000 [--speaking]

Writes READY when frames flow, and at the end one line of JSON.
"""

import argparse
import asyncio
import json
import sys
import time

import numpy as np
from load_client import SPEECH, WAV_HEADER
from raw_client import FRAME_MS, cut
from soak_socket import Peer, VideoFrame, speech
from soak_state import complaints_of


class Watcher(Peer):
    """Also notes when each frame came."""

    def __init__(self, user_id: str, *, keep: bool = True) -> None:
        super().__init__(user_id, keep=True)
        self.times: list[float] = []

    def _take_frame(self, got: VideoFrame) -> None:
        self.times.append(time.monotonic())
        super()._take_frame(got)


async def speak_on(peer: Peer) -> None:
    """The recording over and over, live-paced."""
    chunks = cut(SPEECH.read_bytes()[WAV_HEADER:])
    start = time.monotonic()
    for index in range(1 << 40):
        await asyncio.sleep(max(0.0, start + index * FRAME_MS / 1000 - time.monotonic()))
        peer.send(speech(None, chunks[index % len(chunks)]))


async def feel_machine(stalls: list[float]) -> None:
    """How late a process that has nothing to do is woken: what the machine does to everybody."""
    while True:
        due = time.monotonic() + 0.01
        await asyncio.sleep(0.01)
        stalls.append((time.monotonic() - due) * 1000)


async def watch(port: int, speaking: bool) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    peer = await Watcher.connect(port, "watcher")
    assert isinstance(peer, Watcher)
    await peer.init()
    stalls: list[float] = []
    machine = asyncio.create_task(feel_machine(stalls))
    talk = asyncio.create_task(speak_on(peer)) if speaking else None
    await asyncio.sleep(0.5)
    print("READY", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    machine.cancel()
    if talk is not None:
        talk.cancel()
    problems = list(peer.faults)
    if peer.ended.done():
        problems.append(f"the connection ended with {peer.ended.result()}")
    else:
        await peer.close()
    stamps = np.array([frame.timestamp_ms for frame in peer.frames])
    late = np.array(peer.times) * 1000 - stamps
    late -= np.percentile(late, 1)  # the earliest frames lie on the grid
    p50, p99 = np.percentile(late, [50, 99])
    if peer.codes:
        problems.append(f"errors: {dict(peer.codes)}")
    problems += complaints_of([frame.access_unit for frame in peer.frames])[:5]
    return {
        "frames": len(stamps),
        "seconds": len(stamps) / 25,
        "holes": peer.holes,
        "stall_max_ms": max(stalls),
        "late_p50_ms": float(p50),
        "late_p99_ms": float(p99),
        "late_max_ms": float(late.max()),
        "problems": problems,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--speaking", action="store_true")
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(watch(arguments.port, arguments.speaking))))


if __name__ == "__main__":
    main()
