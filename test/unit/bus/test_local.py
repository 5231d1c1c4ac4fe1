"""The socket bus: any split of the bytes, both ends, and the end of either."""

import asyncio
import socket

import pytest

from musetalk_service.bus import messages as bus
from musetalk_service.bus.local import SocketFrontLink, SocketHostLink
from musetalk_service.errors import BusClosedError
from musetalk_service.models.media import ClipPosition, make_renditions

PLACE = ClipPosition("idle_0", 7)
RENDITION = make_renditions(23, 1500)[0]
UP: list[bus.UpMessage] = [
    bus.Open("s", 1, "default", "builtin", RENDITION, PLACE),
    bus.Render("s", 1, 3, PLACE, True, 640, 600, bytes(100_000)),
    bus.Render("s", 1, 4, PLACE, False, None),
    bus.Shut("s", 1),
    bus.PrepareClip("default", "idle_0", [RENDITION]),
]
DOWN: list[bus.DownMessage] = [
    bus.HostReady(1, [bus.EngineStatus("builtin", "1", "cpu", 99)]),
    bus.Frame("s", 1, 3, True, bytes(300_000), "builtin", False, 1.5, 0.5),
    bus.ClipPackets("default", "idle_0", "512", [b"a", b"bc"]),
    bus.EngineChanged("s", 1, "static", "why"),
    bus.SessionFailed("s", 1, "why"),
]


@pytest.mark.parametrize("message", [*UP, *DOWN], ids=lambda message: type(message).__name__)
def test_messages_survive_the_wire(message: bus.UpMessage | bus.DownMessage) -> None:
    decode = bus.decode_up if message in UP else bus.decode_down
    assert decode(bus.encode(message)) == message


async def test_both_ways_in_order() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    front, host = await SocketFrontLink.connect(ours), SocketHostLink(theirs)
    for message in UP:
        front.send(message)
    received: list[bus.UpMessage] = []
    while len(received) < len(UP):
        received += await asyncio.to_thread(host.receive)
    assert received == UP
    sending = asyncio.create_task(asyncio.to_thread(host.send, DOWN))
    back = []
    async for message in front.messages():
        back.append(message)
        if len(back) == len(DOWN):
            break
    await sending
    assert back == DOWN
    front.close()
    front.close()
    with pytest.raises(BusClosedError):
        await asyncio.to_thread(host.receive)
    with pytest.raises(BusClosedError):
        front.send(UP[0])
    theirs.close()


async def test_front_sees_the_end_of_a_host_even_within_a_message() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    front = await SocketFrontLink.connect(ours)
    payload = bus.encode(DOWN[0])
    theirs.sendall(len(payload).to_bytes(4, "big") + payload + b"\0\0\0\x10half")
    theirs.close()
    assert [message async for message in front.messages()] == [DOWN[0]]
    front.close()


def test_host_understands_any_split_of_the_bytes() -> None:
    ours, theirs = socket.socketpair()
    host = SocketHostLink(theirs)
    message = UP[2]
    payload = bus.encode(message)
    data = (len(payload).to_bytes(4, "big") + payload) * 2
    for split in range(1, len(data)):
        ours.sendall(data[:split])
        received = list(host.receive()) if split >= len(data) // 2 else []
        ours.sendall(data[split:])
        while len(received) < 2:
            received += host.receive()
        assert received == [message, message]
    ours.close()
    with pytest.raises(BusClosedError):
        host.receive()
    theirs.close()


def test_a_host_that_waits_wakes_for_other_things_too() -> None:
    ours, theirs = socket.socketpair()
    others = socket.socketpair()
    with ours, others[0], others[1]:
        host = SocketHostLink(theirs)
        others[0].send(b"x")
        assert host.receive(others=[others[1].fileno()]) == []
        assert host.receive(wait=False) == []
        others[1].recv(1)
        others[0].send(b"x")
        payload = bus.encode(UP[3])
        ours.send(len(payload).to_bytes(4, "big") + payload)
        assert host.receive(others=[others[1].fileno()]) == [UP[3]]
