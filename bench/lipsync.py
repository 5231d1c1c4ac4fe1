"""Lip sync end to end: how far the lips of the received stream are behind the audio that was sent.

    python bench/lipsync.py --server ws://localhost:8000 --audio fixtures/speech_6s.wav

Speaks the recording several times, each at another place within the 40 ms of a frame, decodes the access units that
come back, and measures the opening of the mouth in each picture (musetalk_service.client_lipsync). That is compared,
over audio_timestamp, with two tracks made from the audio alone:

- engine: the jaw that the built-in engine makes of the same audio, run offline. Its lag is what the way through the
  server adds, wrong labels included. This one is judged.
- loudness: the level of the audio. No mouth follows it exactly (lips open before the voice sets in, and shut in the
  middle of a word), but it owes nothing to the engine.

Positive lags: the lips are late. The interval holds 95 per cent of the lags when utterances are drawn anew. Exit code 0
when the engine lag's interval lies within the limit, else 1. Needs the default avatar.
"""

import argparse
import asyncio
import json
import random
import sys
import wave
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musetalk_service.client import MuseTalkClient, ReceivedFrame, ServerError
from musetalk_service.client_lipsync import (
    Lag,
    Utterance,
    engine_track,
    loudness_track,
    measure_lag,
    mouth_openings,
)

RATE = 16_000
PAUSE_S = 1.0
"""Between utterances: the mouth comes to rest."""


@dataclass
class Received:
    """One session: the audio that was sent and the frames that came."""

    pcm: NDArray[np.int16]
    starts_ms: list[float]
    """Of the utterances, in the session's audio; the last entry is the end of all."""
    frames: list[ReceivedFrame]


def read_wav(path: Path) -> NDArray[np.int16]:
    """(n,) samples. Raises ValueError for anything but mono, 16 bit, 16 kHz."""
    with wave.open(str(path), "rb") as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            raise ValueError(f"{path} is not mono, 16 bit, {RATE} Hz")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)


async def speak(options: argparse.Namespace, speech: NDArray[np.int16]) -> Received:
    """One session in which the recording is said again and again. Raises ServerError where the server refuses."""
    shifts = random.Random(0)
    parts = [np.concatenate([np.zeros(shifts.randrange(RATE // 25), np.int16), speech]) for _ in range(options.repeats)]
    frames: list[ReceivedFrame] = []
    async with MuseTalkClient.connect(options.server, options.user_id, resolution=options.resolution) as client:

        async def send() -> None:
            for part in parts:
                if options.burst:
                    await client.send_audio(part.tobytes())
                    await asyncio.sleep(len(part) / RATE)
                else:
                    await client.send_paced(part.tobytes())
                await client.end_of_speech()
                await asyncio.sleep(PAUSE_S + shifts.random() / 25)

        sending = asyncio.create_task(send())
        async for frame in client.frames():
            frames.append(frame)
            if sending.done():
                break
        await sending
    ends = np.cumsum([len(part) for part in parts]) * 1000 / RATE
    return Received(np.concatenate(parts), [0.0, *ends.tolist()], frames)


def measure(received: Received) -> dict[str, Lag]:
    """The lag against each of the tracks. Raises ValueError where nothing can be measured."""
    openings = mouth_openings(frame.access_unit for frame in received.frames)
    positions = np.array([np.nan if f.audio_timestamp_ms is None else f.audio_timestamp_ms for f in received.frames])
    utterances = []
    for start_ms, end_ms in zip(received.starts_ms, received.starts_ms[1:], strict=False):
        rows = (positions >= int(start_ms)) & (positions < end_ms)
        utterances.append(Utterance(positions[rows], openings[rows]))
    tracks = {"engine": engine_track(received.pcm), "loudness": loudness_track(received.pcm)}
    return {name: measure_lag(utterances, track) for name, track in tracks.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", default="ws://localhost:8000", help="%(default)s")
    parser.add_argument("--user-id", default="bench-lipsync", help="%(default)s")
    parser.add_argument("--audio", type=Path, default=Path(__file__).parents[1] / "fixtures" / "speech_6s.wav")
    parser.add_argument("--repeats", type=int, default=6, help="utterances (%(default)s)")
    parser.add_argument("--resolution", default="512x512", choices=("512x512", "384x384", "256x256"))
    parser.add_argument("--burst", action="store_true", help="send each utterance at once, not in real time")
    parser.add_argument("--limit-ms", type=float, default=40.0, help="that the lag must stay within (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    options = parser.parse_args()
    try:
        lags = measure(asyncio.run(speak(options, read_wav(options.audio))))
    except (ServerError, ValueError, OSError) as problem:
        print(f"not measured: {problem}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({name: asdict(lag) for name, lag in lags.items()}))
    else:
        for name, lag in lags.items():
            print(
                f"{name:<9} lag {lag.ms:6.1f} ms   95 % interval {lag.low_ms:6.1f} to {lag.high_ms:6.1f} ms   "
                f"correlation {lag.correlation:.3f}   {lag.utterances} utterances"
            )
    return 0 if lags["engine"].within(options.limit_ms) else 1


if __name__ == "__main__":
    sys.exit(main())
