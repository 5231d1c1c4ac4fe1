"""Many sessions, each with audio of its own length: what comes back belongs to the one that sent it."""

import asyncio
import random
import uuid

from load_client import SPEECH, WAV_HEADER
from raw_client import FRAME_MS, cut
from server_process import Server
from soak_socket import Peer, message, speech
from soak_state import Finding, Progress, complaints_of, rest

from musetalk_service.utils.h264 import read_user_data

SPEAKING_AT_ONCE = 2
_SHORTEST_MS = 400
_AFTER_SECONDS = 0.8
_LABEL = uuid.UUID("6d757365-7461-4c6b-b053-796e74686574")
"""Of the SEI message that marks the picture as synthetic."""


def _chunks(number: int) -> list[bytes]:
    """No other session's audio is as long as this one's."""
    chunks = cut(SPEECH.read_bytes()[WAV_HEADER:])
    start = random.Random(number).randrange(len(chunks))
    return [chunks[(start + index) % len(chunks)] for index in range(_SHORTEST_MS // FRAME_MS + number)]


async def _speak(peer: Peer, number: int, turn: asyncio.Semaphore, progress: Progress) -> int:
    """The session's audio at once, then wait until it has been shown; returns how many ms it was."""
    chunks = _chunks(number)
    async with turn:
        for chunk in chunks:
            peer.send(speech(peer.session_id, chunk))
        peer.send(message("END_OF_SPEECH", peer.session_id, {}))
        await asyncio.sleep(len(chunks) * FRAME_MS / 1000 + _AFTER_SECONDS)
    progress.add()
    return len(chunks) * FRAME_MS


def _wrong(peer: Peer, sent_ms: int) -> list[str]:
    wrong = [*peer.faults, *(f"{count} {code}" for code, count in peer.codes.items())]
    heard = [got.audio_ms for got in peer.frames if got.audio_ms is not None]
    expected = list(range(0, sent_ms, FRAME_MS))
    if heard != expected:
        wrong.append(f"{sent_ms} ms were sent; of {len(expected)} audio positions {len(heard)} are right or wrong")
    if peer.holes:
        wrong.append(f"{peer.holes} frames missing")
    for got in peer.frames:
        label = read_user_data(got.access_unit, _LABEL) if got.is_key else None
        if got.is_key and (label is None or (got.audio_ms is not None and "engine=builtin" not in label)):
            wrong.append(f"the key frame at {got.timestamp_ms} ms says {label}")
    return wrong + complaints_of([got.access_unit for got in peer.frames])[:2]


async def _run(port: int, count: int, finding: Finding) -> None:
    peers = []
    for index in range(count):
        peers.append(await Peer.connect(port, f"voice-{index}", keep=True))
        await peers[-1].init({"frames": "binary"} if index % 2 else {})
    ids = {peer.session_id for peer in peers}
    finding.check(len(ids) == count, f"{count} sessions have {len(ids)} ids")
    turn, progress = asyncio.Semaphore(SPEAKING_AT_ONCE), Progress("voices", count)
    sent = await asyncio.gather(*(_speak(peer, number, turn, progress) for number, peer in enumerate(peers)))
    await asyncio.gather(*(peer.close() for peer in peers))
    frames = [got for peer in peers for got in peer.frames]
    spoken = sum(got.audio_ms is not None for got in frames)
    finding.figures["frames"] = (
        f"{len(frames)}, {spoken} of them speaking, {sum(got.is_key for got in frames)} key frames"
    )
    for number, (peer, sent_ms) in enumerate(zip(peers, sent, strict=True)):
        finding.problems += [f"session {number}: {text}" for text in _wrong(peer, sent_ms)[:3]]


def voices(server: Server, count: int) -> Finding:
    """``count`` sessions at once, two of them speaking at a time."""
    finding = Finding(f"voices: {count} sessions, each with audio of another length")
    asyncio.run(_run(server.port, count, finding))
    finding.check(rest(server).sessions == 0, "sessions are left")
    return finding
