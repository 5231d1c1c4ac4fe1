"""From audio to a moving mouth: the reaction time of single words, at random phases to the frame clock.

    python bench/latency.py --port 8000 --words 20 [--microphone]

Prints one line of JSON. A word is sent live-paced, in chunks of 40 ms. Time runs from sending the chunk that holds
the word's onset (its first 10 ms over -45 dBFS) to receiving

- the labelled frame: the first whose audio interval, audio_timestamp + 40 ms, reaches beyond the onset;
- the moved mouth: the first decoded picture whose mouth differs from the idle packet of the same clip position, which
  is the same picture with the mouth shut, by more than the threshold.

The body plays one idle clip under the speech, so that the two pictures differ in the mouth alone. Without
--microphone a word comes out of nothing, to a session that shows idle packets; with it, silence is sent all along.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import av
import cv2
import numpy as np
from load_client import SPEECH, WAV_HEADER
from numpy.typing import NDArray
from raw_client import CHUNK_BYTES, FRAME_MS, RawClient, access_unit_of, audio_timestamp_of, cut, pace, timestamp_of

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.utils.h264 import is_idr

CLIP = "idle_1"
"""Not idle_0: as a base that means all idle clips in turn."""
_RATE = 16_000
_WORDS_MS = ((120, 680), (1080, 1640), (3040, 3560), (4000, 4520))
"""Words after a pause in the recording: start of a piece, silent up to its word, and its end."""
_ONSET_DBFS = -45.0
_QUIET_DBFS = -60.0
_IDLE_AGAIN_SECONDS = 2.6
"""Utterance over, mouth shut, then up to a second until an idle IDR: after that idle packets are shown."""
_PINNED_SECONDS = 3.5
"""From the choice of the clip until its packets are shown: mouth and pose settle, then up to a second to an IDR."""
_REACTION_SECONDS = 1.0
_BEFORE_SECONDS = 0.2
"""Before a word the mouth is shut, so the difference then is the noise of the measurement."""
MOVED_LEVELS = 3.0
"""Mean absolute difference of the mouth area in grey levels; coding a shut mouth anew makes up to 1.5."""
_MOUTH_MARGIN = 8

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """One received frame."""

    timestamp: int
    audio_timestamp: int | None
    at: float
    access_unit: bytes


@dataclass(frozen=True)
class Word:
    """One word that was sent."""

    sent_at: float
    """When the chunk with the onset was sent."""
    onset_ms: float
    """Place of the onset in the session's audio."""


class Listener:
    """One session and all that it receives."""

    def __init__(self) -> None:
        self.frames: list[Seen] = []
        self.audio_ms = 0
        self._client: RawClient | None = None

    async def open(self, port: int, user_id: str) -> RawClient:
        self._client = await RawClient.open("127.0.0.1", port, user_id, self._take)
        self._client.send("STATE_CHANGE", {"target_state": "idle", "base_video": CLIP})
        return self._client

    def _take(self, frame: bytes, now: float) -> None:
        self.frames.append(Seen(timestamp_of(frame), audio_timestamp_of(frame), now, access_unit_of(frame)))

    async def say(self, pcm: bytes, start: float) -> Word:
        """Live-paced from `start` on."""
        assert self._client is not None
        onset = onset_sample(pcm)
        chunks = cut(pcm)
        sent = await pace(self._client, chunks, start, CLIP)
        word = Word(sent[onset * 2 // CHUNK_BYTES], self.audio_ms + onset * 1000 / _RATE)
        self.audio_ms += len(chunks) * FRAME_MS
        return word


def onset_sample(pcm: bytes) -> int:
    """First of the first 10 ms over the onset level. Raises ``ValueError`` when there are none."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64) / 32768
    steps = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    loud = np.flatnonzero(10 * np.log10(np.mean(steps**2, axis=1) + 1e-12) > _ONSET_DBFS)
    if not len(loud):
        raise ValueError("no speech in this piece")
    return int(loud[0]) * 160


def clip_frames() -> int:
    """Length of the clip that plays."""
    return load_default_avatar().clip_frames(CLIP)


def words() -> list[bytes]:
    """Pieces of the recording that begin with a word's onset."""
    pcm = SPEECH.read_bytes()[WAV_HEADER:]
    pieces = [pcm[start * 32 : end * 32] for start, end in _WORDS_MS]
    return [piece[onset_sample(piece) * 2 :] for piece in pieces]


async def speak(port: int, count: int, microphone: bool) -> tuple[list[Word], Listener, Listener]:
    """Say `count` words in one session, while another one idles; returns what was said and what both received."""
    speaker, idler = Listener(), Listener()
    clients = [await speaker.open(port, "bench-latency"), await idler.open(port, "bench-reference")]
    begun = time.monotonic()
    await asyncio.sleep(_PINNED_SECONDS)
    said = []
    pieces = words()
    start = time.monotonic() + random.random() * FRAME_MS / 1000
    for index in range(count):
        # The onset falls anywhere within its chunk, as it does in a microphone's.
        lead = bytes(random.randrange(CHUNK_BYTES // 2) * 2)
        pcm = lead + pieces[index % len(pieces)]
        if microphone:
            pcm = bytes(CHUNK_BYTES * random.randrange(20, 30)) + pcm
        said.append(await speaker.say(pcm, start))
        if microphone:
            start += len(cut(pcm)) * FRAME_MS / 1000
        else:
            await asyncio.sleep(_IDLE_AGAIN_SECONDS)
            start = time.monotonic() + random.random() * FRAME_MS / 1000
    whole_clip = begun + _PINNED_SECONDS + clip_frames() * FRAME_MS / 1000 + 1
    await asyncio.sleep(max(_REACTION_SECONDS, whole_clip - time.monotonic()))
    for client in clients:
        await client.close()
    if errors := [error for client in clients for error in client.errors]:
        raise RuntimeError(f"the server refused: {errors}")
    return said, speaker, idler


def mouths(frames: Sequence[Seen]) -> list[Grey]:
    """The decoded mouth area of each frame, grey."""
    # The lips' outer contour, MediaPipe Face Mesh convention.
    lips = load_default_avatar().landmarks[[61, 291, 0, 17, 37, 267, 84, 314], :2]
    left, top = (lips.min(axis=0) - _MOUTH_MARGIN).astype(int)
    right, bottom = (lips.max(axis=0) + _MOUTH_MARGIN).astype(int)
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    pictures: list[Grey] = []
    for packet in (*(av.Packet(frame.access_unit) for frame in frames), None):
        for picture in decoder.decode(packet):
            pictures.append(np.array(picture.to_ndarray(format="gray")[top:bottom, left:right]))
    if len(pictures) != len(frames):
        raise RuntimeError(f"{len(frames)} access units decode to {len(pictures)} pictures")
    return pictures


def movement(speaker: Listener, idler: Listener) -> NDArray[np.float64]:
    """Of each frame: how far its mouth is from the shut one, mean absolute difference in grey levels.

    Idle packets are the same bytes in all sessions, so the IDRs among them tell where in the clip a session is; 0
    before the first of them. Raises ``RuntimeError`` when the clip did not play.
    """
    period = clip_frames()
    first = round(_PINNED_SECONDS * 1000 / FRAME_MS)
    loop, mouth_areas = idler.frames[first : first + period], mouths(idler.frames)[first : first + period]
    places = {frame.access_unit: number for number, frame in enumerate(loop) if is_idr(frame.access_unit)}
    if len(loop) < period or len(places) != len([f for f in loop if is_idr(f.access_unit)]):
        raise RuntimeError(f"the session that idles did not show {CLIP} once from end to end")
    phase: int | None = None
    moved = []
    for frame, mouth in zip(speaker.frames, mouths(speaker.frames), strict=True):
        number = frame.timestamp // FRAME_MS
        if (place := places.get(frame.access_unit)) is not None:
            phase = place - number
        moved.append(
            0.0 if phase is None else float(np.mean(cv2.absdiff(mouth, mouth_areas[(number + phase) % period])))
        )
    if phase is None:
        raise RuntimeError(f"the session that speaks never showed {CLIP} in between")
    return np.array(moved)


def reactions(said: Sequence[Word], frames: Sequence[Seen], moved: NDArray[np.float64]) -> dict[str, list[float]]:
    """Milliseconds per word, by both definitions. Raises ``RuntimeError`` when a word moved nothing."""
    found: dict[str, list[float]] = {"labelled_ms": [], "moved_ms": []}
    for word in said:
        after = [i for i, f in enumerate(frames) if word.sent_at < f.at < word.sent_at + _REACTION_SECONDS]
        labels = ((i, frames[i].audio_timestamp) for i in after)
        labelled = next((i for i, label in labels if label is not None and label + FRAME_MS > word.onset_ms), None)
        picture = next((i for i in after if moved[i] > MOVED_LEVELS), None)
        if labelled is None or picture is None:
            raise RuntimeError(f"no reaction to the word at {word.onset_ms:.0f} ms within {_REACTION_SECONDS} s")
        found["labelled_ms"].append(1000 * (frames[labelled].at - word.sent_at))
        found["moved_ms"].append(1000 * (frames[picture].at - word.sent_at))
    return found


def measure(port: int, count: int, microphone: bool) -> dict[str, float | int]:
    """Median and 95th percentile of both reaction times."""
    said, speaker, idler = asyncio.run(speak(port, count, microphone))
    moved = movement(speaker, idler)
    times = np.array([frame.at for frame in speaker.frames])
    before = [moved[(times > word.sent_at - _BEFORE_SECONDS) & (times <= word.sent_at)].max() for word in said]
    if max(before) > MOVED_LEVELS:
        raise RuntimeError(f"the mouth was not shut before a word: {max(before):.1f} grey levels")
    result: dict[str, float | int] = {"words": count, "shut_mouth_noise_max": float(max(before))}
    for name, values in reactions(said, speaker.frames, moved).items():
        result[f"{name}_p50"], result[f"{name}_p95"] = (float(v) for v in np.percentile(values, [50, 95]))
        result[f"{name}_max"] = max(values)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--microphone", action="store_true")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.port, arguments.words, arguments.microphone)))


if __name__ == "__main__":
    main()
