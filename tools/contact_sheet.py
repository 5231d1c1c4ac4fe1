"""Records a session of a running server and writes a sheet of its frames, docs/face.png by default.

    python tools/contact_sheet.py --server ws://localhost:8000 --audio fixtures/speech_6s.wav

The first picture is idle, the last one is from an action; between them the face speaks the recording.
"""

import argparse
import asyncio
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.client import MuseTalkClient, ReceivedFrame

ROOT = Path(__file__).parents[1]
FACE = np.s_[56:392, 88:424]
"""Rows and columns of the default avatar's head."""
MOUTH = np.s_[310:370, 205:320]


async def record(server: str, pcm: bytes, sample_rate: int) -> list[ReceivedFrame]:
    """The frames of a second of idling, the recording, and an action."""
    frames: list[ReceivedFrame] = []
    async with MuseTalkClient.connect(server, "contact-sheet") as client:
        spoken = acted = False
        async for frame in client.frames():
            frames.append(frame)
            if not spoken and frame.timestamp_ms >= 1000:
                spoken = True
                await client.send_audio(pcm, sample_rate=sample_rate)
                await client.end_of_speech()
            done = spoken and frame.timestamp_ms >= 2000 + len(pcm) * 500 // sample_rate
            if done and not acted:
                acted = True
                await client.action(2)
            if acted and frame.action_progress == 1.0:
                break
    return frames


def decode(frames: Sequence[ReceivedFrame]) -> list[NDArray[np.uint8]]:
    """One BGR picture per frame. Raises ``ValueError`` when the decoder gives another number of them."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    decoder.flags |= av.codec.context.Flags.low_delay
    packets: list[av.Packet[Any] | None] = [av.Packet(frame.access_unit) for frame in frames]
    pictures = [
        np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)
        for packet in [*packets, None]
        for picture in decoder.decode(packet)
    ]
    if len(pictures) != len(frames):
        raise ValueError(f"{len(frames)} access units made {len(pictures)} pictures")
    return pictures


def choose(frames: Sequence[ReceivedFrame], pictures: Sequence[NDArray[np.uint8]], count: int) -> list[int]:
    """Indices of an idle frame, of the frame with the widest mouth in each part of the speech, and of the action."""
    speech = [i for i, frame in enumerate(frames) if frame.audio_timestamp_ms is not None]
    action = [i for i, frame in enumerate(frames) if frame.action_progress is not None]
    if not speech or not action:
        raise ValueError("the recording has no speech, or no action, in it")
    mouths = [cv2.GaussianBlur(picture, (0, 0), 2)[MOUTH].astype(np.float32) for picture in pictures]
    change = [float(np.abs(mouth - mouths[0]).mean()) for mouth in mouths]
    parts = np.array_split(speech, count - 2)
    return [0, *(int(max(part, key=lambda i: change[int(i)])) for part in parts), action[len(action) // 2]]


def sheet(pictures: Sequence[NDArray[np.uint8]], columns: int, size: int) -> NDArray[np.uint8]:
    """The pictures in rows, each ``size`` pixels wide and high, with a narrow white gap."""
    rows = []
    for start in range(0, len(pictures), columns):
        row = [
            cv2.copyMakeBorder(
                cv2.resize(picture[FACE], (size, size), interpolation=cv2.INTER_AREA),
                *(2, 2, 2, 2),
                cv2.BORDER_CONSTANT,
                value=(255, 255, 255),
            )
            for picture in pictures[start : start + columns]
        ]
        rows.append(np.hstack(row))
    return np.asarray(np.vstack(rows), np.uint8)


def main() -> None:
    """Record, decode, write."""
    parser = argparse.ArgumentParser(description="Write a sheet of frames of a running server.")
    parser.add_argument("--server", default="ws://localhost:8000")
    parser.add_argument("--audio", type=Path, default=ROOT / "fixtures" / "speech_6s.wav", help="mono 16-bit WAV")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "face.png")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--size", type=int, default=192, help="pixels of one picture")
    options = parser.parse_args()
    with wave.open(str(options.audio)) as recording:
        pcm, sample_rate = recording.readframes(recording.getnframes()), recording.getframerate()
    frames = asyncio.run(record(options.server, pcm, sample_rate))
    pictures = decode(frames)
    chosen = [pictures[i] for i in choose(frames, pictures, options.columns * options.rows)]
    cv2.imwrite(str(options.out), sheet(chosen, options.columns, options.size))
    print(f"{options.out}: {len(chosen)} of {len(frames)} frames")


if __name__ == "__main__":
    main()
