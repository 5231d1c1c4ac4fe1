"""Connections by the thousand, half of which end in every way but the orderly one."""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

from load_client import SPEECH, WAV_HEADER
from raw_client import CHUNK_BYTES, cut
from server_process import Server
from soak_socket import TEXT, Peer, frame, handshake, message, speech
from soak_state import Finding, Progress, compare, rest, watched

AT_ONCE = 24
RATE = 40
"""Connections a second."""
_MEAN_SECONDS = 0.3
"""How long a session lasts before it ends."""
_WAIT_SECONDS = 15.0


async def _a_while(rng: random.Random) -> None:
    await asyncio.sleep(min(3 * _MEAN_SECONDS, rng.expovariate(1 / _MEAN_SECONDS)))


async def in_order(port: int, rng: random.Random) -> None:
    """INIT, some frames, at times speech, CLOSE."""
    peer = await Peer.connect(port, "orderly")
    await peer.init()
    if rng.random() < 0.1:
        _speak(peer, rng)
    await _a_while(rng)
    await peer.close()
    if peer.faults or peer.codes:
        raise AssertionError(f"{peer.faults} {dict(peer.codes)}")


async def reset(port: int, rng: random.Random) -> None:
    """A TCP reset in mid-stream."""
    peer = await Peer.connect(port, "reset")
    await peer.init()
    await _a_while(rng)
    peer.reset()


async def reset_before_init(port: int, rng: random.Random) -> None:
    """A TCP reset between handshake and INIT."""
    peer = await Peer.connect(port, "early")
    peer.reset()


async def half_close(port: int, rng: random.Random) -> None:
    """FIN one way, without a closing handshake; the server is to end its way too."""
    peer = await Peer.connect(port, "half")
    await peer.init()
    await _a_while(rng)
    peer.transport.write_eof()
    await asyncio.wait_for(asyncio.shield(peer.ended), _WAIT_SECONDS)


async def half_close_unread(port: int, rng: random.Random) -> None:
    """FIN one way, and nothing is read any more."""
    peer = await Peer.connect(port, "unread")
    await peer.init()
    peer.transport.pause_reading()
    peer.transport.write_eof()
    await _a_while(rng)
    peer.transport.abort()


async def mid_handshake(port: int, rng: random.Random) -> None:
    """A part of the request, then a reset or a FIN."""
    with socket.create_connection(("127.0.0.1", port)) as raw:
        request = handshake("nobody")
        raw.sendall(request[: rng.randrange(1, len(request) - 1)])
        await _a_while(rng)
        if rng.random() < 0.5:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def unanswered_handshake(port: int, rng: random.Random) -> None:
    """The whole request, then a reset before the answer."""
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(handshake("nobody"))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def mid_frame(port: int, rng: random.Random) -> None:
    """A part of a message, then a reset or a FIN."""
    peer = await Peer.connect(port, "part")
    await peer.init()
    whole = frame(TEXT, speech(peer.session_id, bytes(CHUNK_BYTES)))
    peer.transport.write(whole[: rng.randrange(1, len(whole))])
    await _a_while(rng)
    if rng.random() < 0.5:
        peer.reset()
    else:
        peer.transport.abort()


async def mid_speech(port: int, rng: random.Random) -> None:
    """While the face speaks."""
    peer = await Peer.connect(port, "speaker")
    await peer.init()
    _speak(peer, rng)
    await _a_while(rng)
    peer.reset()


async def mid_action(port: int, rng: random.Random) -> None:
    """While an action plays, without a closing handshake."""
    peer = await Peer.connect(port, "actor")
    await peer.init()
    peer.send(message("ACTION", None, {"action_index": 1 + rng.randrange(2)}))
    await _a_while(rng)
    peer.transport.abort()


async def resumed(port: int, rng: random.Random) -> None:
    """Lost, taken up again, lost again."""
    lost = await Peer.connect(port, "resumed")
    await lost.init()
    await _a_while(rng)
    lost.reset()
    peer = await Peer.connect(port, "resumed")
    await peer.init({"resume_token": lost.started.result()["resume_token"]})
    if not peer.started.result()["resumed"]:
        raise AssertionError("not resumed")
    await _a_while(rng)
    peer.reset()


_ENDS: list[Callable[[int, random.Random], Awaitable[None]]] = [
    reset,
    reset_before_init,
    half_close,
    half_close_unread,
    mid_handshake,
    unanswered_handshake,
    mid_frame,
    mid_speech,
    mid_action,
    resumed,
]


def _speak(peer: Peer, rng: random.Random) -> None:
    chunks = cut(SPEECH.read_bytes()[WAV_HEADER:])
    start = rng.randrange(len(chunks) - 15)
    for chunk in chunks[start : start + 15]:
        peer.send(speech(peer.session_id, chunk))


async def _run(port: int, seed: int, count: int, name: str, finding: Finding) -> Counter[str]:
    progress = Progress(name, count)
    places = asyncio.Semaphore(AT_ONCE)
    done: Counter[str] = Counter()

    async def one(index: int) -> None:
        how = in_order if index % 2 == 0 else _ENDS[index // 2 % len(_ENDS)]
        try:
            await how(port, random.Random(f"{seed}-{name}-{index}"))
            done[how.__name__] += 1
        except (AssertionError, ConnectionError, asyncio.TimeoutError) as error:
            finding.problems.append(f"{how.__name__}: {error!r}")
        finally:
            places.release()
            progress.add()

    tasks = []
    begun = asyncio.get_running_loop().time()
    for index in range(count):
        await places.acquire()
        tasks.append(asyncio.create_task(one(index)))
        await asyncio.sleep(max(0.0, begun + index / RATE - asyncio.get_running_loop().time()))
    await asyncio.gather(*tasks)
    return done


def abrupt(server: Server, seed: int, count: int, tolerance: float) -> Finding:
    """A warm-up round as long, then ``count`` connections beside a watcher."""
    finding = Finding(f"abrupt: {count} connections, half of them with a bad end, seed {seed}")
    at_start = rest(server)
    asyncio.run(_run(server.port, seed, count, "warm-up", finding))
    before = rest(server, at_start)
    with watched(server.port, finding):
        done = asyncio.run(_run(server.port, seed, count, "abrupt", finding))
    finding.figures["ends"] = ", ".join(f"{name} {number}" for name, number in done.items())
    compare(finding, before, rest(server, before), tolerance)
    server.check_alive()
    return finding
