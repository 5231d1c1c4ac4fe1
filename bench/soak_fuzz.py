"""Random and damaged messages against a live server: typed errors only, and nothing is left behind."""

import asyncio
import base64
import json
import random
import string
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from server_process import Server
from soak_socket import BINARY, CONT, PING, TEXT, Peer, frame, message
from soak_state import Finding, Progress, compare, rest, watched

SOCKETS = 4
BATCH = 100
ROUND = 2_500
"""Messages of one connection."""
RATE = 1_000
"""Messages a second, all sockets together: five clients at the default limit."""
_BROKEN_EVERY = 200
"""One in so many messages breaks the WebSocket protocol itself, on a connection of its own."""
_CHUNK = {"format": "pcm_s16le", "sample_rate": 16000, "channels": 1, "data": base64.b64encode(bytes(1280)).decode()}
_VALID: list[tuple[str, dict[str, Any]]] = [
    (
        "INIT",
        {"user_id": "fuzz", "auth_token": "x", "video_config": {"resolution": "512x512", "fps": 25}, "events": True},
    ),
    ("GENERATE", {"audio_chunk": _CHUNK, "video_state": {"type": "speaking", "base_video": "speaking_0"}}),
    ("GENERATE", {"audio_chunk": _CHUNK | {"sample_rate": 44100, "duration_ms": 40}}),
    ("STATE_CHANGE", {"target_state": "idle", "base_video": "idle_1"}),
    ("ACTION", {"action_index": 1}),
    ("ACTION", {"action_type": "action_2", "audio_chunk": _CHUNK}),
    ("END_OF_SPEECH", {}),
    ("INTERRUPT", {}),
]
_RAW = "\ue000"
"""Stands for JSON that no serialiser writes."""
_RAW_JSON = (
    "1e400",
    "-1e999",
    "9" * 5000,
    "1" + "0" * 400,
    "NaN",
    "Infinity",
    "-0",
    "0x10",
    "1e-400",
    '"\\ud800"',
    "tru",
)
_ODD_TEXT = (
    "",
    "\0",
    "\u202e\u0645\u200f",
    "\U0001f600" * 20,
    "\ud7ff\uffff",
    "a\u0300" * 50,
    "\u2028\u2029",
    "../../etc/passwd",
    "%s%n{}",
    "<script>",
    "\uff11\uff12\uff13",
    "\u017fpeaking",
    "\u0130NIT",
    "x" * 10_000,
)


def odd_value(rng: random.Random, depth: int = 0) -> Any:
    """Anything JSON can say."""
    kind = rng.randrange(9 if depth < 3 else 7)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice((0, -1, 1, 2, 25, 2**31, -(2**63), 2**64, 10**300, rng.randrange(1 << 40)))
    if kind == 3:
        return rng.choice((0.5, -0.0, 1e308, 1e-308, rng.gauss(0, 1e6)))
    if kind == 4:
        return rng.choice(_ODD_TEXT)
    if kind == 5:
        return _RAW
    if kind == 6:
        return "".join(rng.choices(string.printable + "äß漢\U0001f9ea", k=rng.randrange(40)))
    if kind == 7:
        return [odd_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {rng.choice(("type", "data", "session_id", "x", "", "é")): odd_value(rng, depth + 1) for _ in range(4)}


def _slots(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, key) for key, _ in items] + [slot for _, inner in items for slot in _slots(inner)]


def _valid(rng: random.Random, session_id: str | None) -> dict[str, Any]:
    kind, data = rng.choice(_VALID)
    return {"type": kind, "session_id": session_id, "data": json.loads(json.dumps(data))}


def _text(rng: random.Random, body: Any) -> bytes:
    text = json.dumps(body, ensure_ascii=rng.random() < 0.5)
    return (
        text.replace(json.dumps(_RAW), rng.choice(_RAW_JSON)).replace(f'"{_RAW}"', "1e400").encode("utf-8", "replace")
    )


def wrong_field(rng: random.Random, session_id: str | None) -> bytes:
    """Some fields replaced, removed, renamed, or put into one another."""
    body = _valid(rng, session_id)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        slots = _slots(body)
        if not slots:
            break
        holder, key = rng.choice(slots)
        how = rng.randrange(5)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[rng.choice(_ODD_TEXT)] = holder.pop(key)
        elif how == 2:
            holder[key] = [holder[key]]
        else:
            holder[key] = odd_value(rng)
    return _text(rng, body)


def damaged_bytes(rng: random.Random, session_id: str | None) -> bytes:
    """Bytes flipped, cut, doubled; still UTF-8, which the WebSocket itself demands."""
    data = bytearray(_text(rng, _valid(rng, session_id)))
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        place = rng.randrange(len(data))
        how = rng.randrange(5)
        if how == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[place : place + rng.randrange(1, 30)]
        elif how == 2:
            data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 8)))
        elif how == 3:
            data[place:place] = data[rng.randrange(len(data)) :][: rng.randrange(200)]
        else:
            del data[place:]
    return data.decode("utf-8", "replace").encode()


def damaged_base64(rng: random.Random, session_id: str | None) -> bytes:
    """Audio that is none."""
    body = _valid(rng, session_id)
    text = base64.b64encode(rng.randbytes(rng.choice((0, 1, 2, 3, 639, 1280, 32_001, 100_000)))).decode()
    place = rng.randrange(len(text) + 1)
    damage = rng.choice(("", "=", "====", "\n", " ", "-", "_", "\0", "é", "A", "*" * 50))
    body |= {"type": "GENERATE", "data": {"audio_chunk": _CHUNK | {"data": text[:place] + damage + text[place:]}}}
    return _text(rng, body)


def deep(rng: random.Random, session_id: str | None) -> bytes:
    """Nesting that recursive readers do not survive."""
    depth = rng.choice((100, 1_000, 20_000, 100_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('{"data":', "}")))
    inner = opening * depth + "1" + closing * rng.choice((depth, depth - 1, 0))
    inner = inner[:250_000]
    return rng.choice((inner, f'{{"type":"GENERATE","data":{inner}}}', f'{{"type":{inner}}}')).encode()


def anything(rng: random.Random, session_id: str | None) -> bytes:
    """JSON without a plan, or no JSON at all."""
    if rng.random() < 0.5:
        return _text(rng, odd_value(rng))
    return "".join(
        chr(rng.choice((rng.randrange(128), rng.randrange(0xD800)))) for _ in range(rng.randrange(200))
    ).encode()


def foreign_id(rng: random.Random, session_id: str | None) -> bytes:
    """Another's session, or nobody's."""
    wrong = rng.choice(
        (str(uuid.UUID(int=rng.getrandbits(128), version=4)), "", "0", (session_id or "x")[::-1], 5, [], {})
    )
    return _text(rng, _valid(rng, session_id) | {"session_id": wrong})


def long_message(rng: random.Random, session_id: str | None) -> bytes:
    """Over MAX_MESSAGE_BYTES, under the WebSocket's own limit."""
    body = _valid(rng, session_id)
    letter = rng.choice("xé漢")
    return _text(rng, body | {"padding": letter * (rng.randrange(790_000, 900_000) // len(ascii(letter)))})


_KINDS: list[tuple[float, Callable[[random.Random, str | None], bytes]]] = [
    (10, lambda rng, session_id: _text(rng, _valid(rng, session_id))),
    (36, wrong_field),
    (28, damaged_bytes),
    (6, damaged_base64),
    (0.5, deep),
    (8, anything),
    (6, foreign_id),
    (0.2, long_message),
]


def one(rng: random.Random, session_id: str | None) -> bytes:
    """The frames of one message."""
    if rng.random() < 0.05:
        return frame(BINARY, rng.randbytes(rng.choice((0, 1, 24, 1000, 70_000))))
    payload = rng.choices([make for _, make in _KINDS], [weight for weight, _ in _KINDS])[0](rng, session_id)
    if b"CLOSE" in payload:  # ends a session by right
        payload = b"{}"
    if rng.random() < 0.03 and len(payload) > 3:  # in fragments, with a ping between (RFC 6455, 5.4)
        cut = rng.randrange(1, len(payload))
        parts = (frame(TEXT, payload[:cut], fin=False), frame(PING, b"between"), frame(CONT, payload[cut:]))
        return b"".join(parts)
    return frame(TEXT, payload)


async def _fuzz(
    port: int, rng: random.Random, number: int, count: int, progress: Progress, finding: Finding
) -> Counter[str]:
    """``count`` messages over one connection; its stream goes on and its session ends in order."""
    peer = await Peer.connect(port, "fuzz")
    loop = asyncio.get_running_loop()
    for _ in range(20):  # before INIT
        peer.transport.write(frame(TEXT, foreign_id(rng, None)))
    await peer.barrier()
    if not peer.started.done():
        await peer.init({"frames": "binary"} if number % 2 else {})
    begun, sent = loop.time(), 0
    while sent < count:
        size = min(BATCH, count - sent)
        for _ in range(size):
            peer.transport.write(one(rng, peer.session_id))
            await peer.drain()
        if rng.random() < 0.5:
            peer.send(message("INTERRUPT", peer.session_id, {}))
        await peer.barrier()
        sent += size
        progress.add(size)
        await asyncio.sleep(max(0.0, begun + sent * SOCKETS / RATE - loop.time()))
    seconds = loop.time() - begun
    finding.check(not peer.ended.done(), "a socket was closed")
    finding.check(peer.frames_seen >= 12 * seconds - 25, f"{peer.frames_seen} frames in {seconds:.0f} s while fuzzing")
    await peer.close()
    finding.problems += peer.faults[:5]
    finding.problems += [f"INTERNAL_ERROR: {text}" for text in peer.internal[:5]]
    return peer.codes


_BROKEN: list[tuple[str, bytes, set[int | None]]] = [
    ("no UTF-8", frame(TEXT, b'{"type": "\xff\xfe"}'), {1007}),
    ("a reserved opcode", frame(3, b"x"), {1002}),
    ("reserved bits", b"\xf1\x80\0\0\0\0", {1002}),
    ("no mask", frame(TEXT, b"{}", masked=False), {1002}),
    ("a long ping", frame(PING, bytes(126)), {1002}),
    ("a fragmented ping", frame(PING, b"", fin=False), {1002}),
    ("a continuation of nothing", frame(CONT, b"x"), {1002}),
    ("2 MB", frame(TEXT, bytes(2_000_000)), {1009}),
    ("a length of 2^63", b"\x81\xff" + b"\xff" * 8 + bytes(4), {1002, 1009}),
]


async def _break(port: int, name: str, data: bytes, codes: set[int | None], finding: Finding) -> None:
    peer = await Peer.connect(port, "fuzz")
    await peer.init()
    peer.transport.write(data)
    try:
        code = await asyncio.wait_for(asyncio.shield(peer.ended), 15)
    except asyncio.TimeoutError:
        finding.problems.append(f"{name}: the connection is not closed")
        return
    finally:
        peer.transport.abort()
    # None: what was still unread at the server's end turned its close into a reset.
    finding.check(code in codes | {None}, f"{name}: close code {code}")


async def _run(port: int, seed: int, count: int, name: str, finding: Finding) -> Counter[str]:
    progress = Progress(name, count)
    codes: Counter[str] = Counter()
    broken = count // _BROKEN_EVERY

    async def socket_of(number: int) -> None:
        rng = random.Random(f"{seed}-{name}-{number}")
        left = count // SOCKETS + (count % SOCKETS if number == 0 else 0)
        while left > 0:
            size = min(ROUND, left)
            codes.update(await _fuzz(port, rng, number, size, progress, finding))
            left -= size

    async def breaker() -> None:
        for index in range(broken):
            await _break(port, *_BROKEN[index % len(_BROKEN)], finding)
            await asyncio.sleep(count / RATE / broken * 0.5)

    await asyncio.gather(*(socket_of(number) for number in range(SOCKETS)), breaker())
    return codes


def fuzz(server: Server, seed: int, count: int, tolerance: float) -> Finding:
    """A warm-up round of a fifth, then ``count`` messages beside a watcher."""
    finding = Finding(
        f"fuzz: {count} messages, {count // _BROKEN_EVERY} breaches of the WebSocket protocol, seed {seed}"
    )
    at_start = rest(server)
    asyncio.run(_run(server.port, seed, max(count // 5, 200), "warm-up", finding))
    before = rest(server, at_start)
    with watched(server.port, finding):
        codes = asyncio.run(_run(server.port, seed, count, "fuzz", finding))
    finding.figures["errors answered"] = ", ".join(f"{code} {number}" for code, number in codes.most_common())
    compare(finding, before, rest(server, before), tolerance)
    server.check_alive()
    return finding
