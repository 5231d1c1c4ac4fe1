"""Fifty sessions with marked faces: every access unit is its own session's."""

import uuid
from pathlib import Path

from musetalk_service.utils.h264 import read_user_data
from support.engines import SHUT, tone
from support.in_process import Client, started_service
from support.video import greys

_SESSIONS = 50
_LABEL = uuid.UUID("6d757365-7461-4c6b-b053-796e74686574")


def _mark(number: int) -> int:
    """Greys that encoding cannot confuse with one another, nor with a shut mouth."""
    grey = 20 + 4 * number
    return grey if grey != SHUT else 234


def _check(client: Client, mark: int, sent_ms: int) -> None:
    frames = client.frames
    assert {message.session_id for message in client.messages} == {client.session_id}
    assert [frame.data.audio_timestamp for frame in frames if frame.data.audio_timestamp is not None] == list(
        range(0, sent_ms, 40)
    )
    shown = {
        grey
        for frame, grey in zip(frames, greys(client.units), strict=True)
        if frame.data.audio_timestamp is not None and frame.data.audio_timestamp < sent_ms
    }
    assert all(abs(grey - mark) <= 1 for grey in shown), (mark, shown)
    for frame, unit in zip(frames, client.units, strict=True):
        if frame.data.is_keyframe:
            label = read_user_data(unit, _LABEL)
            assert label is not None
            assert frame.data.audio_timestamp is None or "engine=builtin" in label


async def test_every_picture_is_its_own_sessions(cache_dir: Path) -> None:
    async with started_service(cache_dir, hosts=3) as service:
        clients = [await service.session(f"user-{number}") for number in range(_SESSIONS)]
        assert len({client.session_id for client in clients}) == _SESSIONS
        await service.run(0.04)
        for number, client in enumerate(clients):
            client.speak(tone(_mark(number), 0.12 + 0.04 * (number % 3)))
            client.send("END_OF_SPEECH")
        await service.run(0.16)
        # One host dies in the middle, and its sessions mix with those of the others.
        service.pool.kill(service.hosts[0])
        await service.run(0.28)
        for number, client in enumerate(clients):
            _check(client, _mark(number), 120 + 40 * (number % 3))
