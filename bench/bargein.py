"""How long a face goes on speaking after INTERRUPT, in the middle of speech and at random phases to the frame clock.

    python bench/bargein.py --port 8000 --times 20

Prints one line of JSON. The recording is sent at once, as a speech synthesiser does, so that seconds of it are queued
when the INTERRUPT comes. Stale is every access unit with an audio_timestamp that arrives after the INTERRUPT was sent.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence

import numpy as np
from load_client import SPEECH, WAV_HEADER
from raw_client import FRAME_MS, RawClient, audio_timestamp_of

TARGET_FRAMES = 2
TARGET_MS = TARGET_FRAMES * FRAME_MS
_SECOND_BYTES = 32_000
_SPEAKS_SECONDS = (0.8, 4.0)
"""From the recording's start to the INTERRUPT."""
_AFTER_SECONDS = 1.0


async def interrupt(port: int, times: int) -> list[list[float]]:
    """When the stale frames of each INTERRUPT came, in ms after it was sent. Raises ``RuntimeError`` when the face did
    not speak at that moment, or the server refused something."""
    frames: list[tuple[float, int | None]] = []
    client = await RawClient.open(
        "127.0.0.1", port, "bench-bargein", lambda frame, now: frames.append((now, audio_timestamp_of(frame)))
    )
    pcm = SPEECH.read_bytes()[WAV_HEADER:]
    found = []
    for _ in range(times):
        for start in range(0, len(pcm), _SECOND_BYTES):
            client.send_audio(pcm[start : start + _SECOND_BYTES])
        await asyncio.sleep(random.uniform(*_SPEAKS_SECONDS))
        if frames[-1][1] is None:
            raise RuntimeError("the face does not speak")
        sent_at = time.monotonic()
        client.send("INTERRUPT", {})
        await asyncio.sleep(_AFTER_SECONDS)
        found.append([1000 * (at - sent_at) for at, audio in frames if at > sent_at and audio is not None])
    await client.close()
    if client.errors:
        raise RuntimeError(f"the server refused: {client.errors}")
    return found


def summarise(stale: Sequence[Sequence[float]]) -> dict[str, float | int]:
    """Number of stale frames, and ms to the last of them (0 where there is none)."""
    result: dict[str, float | int] = {"interrupts": len(stale)}
    last = [max(times, default=0.0) for times in stale]
    for name, values in (("frames", [len(times) for times in stale]), ("last_ms", last)):
        result[f"{name}_p50"], result[f"{name}_p95"] = (float(v) for v in np.percentile(values, [50, 95]))
        result[f"{name}_max"] = max(values)
    result["beyond_target"] = sum(
        len(times) > TARGET_FRAMES or ms > TARGET_MS for times, ms in zip(stale, last, strict=True)
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--times", type=int, default=20)
    arguments = parser.parse_args()
    print(json.dumps(summarise(asyncio.run(interrupt(arguments.port, arguments.times)))))


if __name__ == "__main__":
    main()
