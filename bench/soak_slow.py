"""Clients that read too slowly, that stop, and that fall silent without a word."""

import ctypes
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from load_client import SPEECH, WAV_HEADER
from raw_client import FRAME_MS, cut
from server_process import Server
from soak_socket import BINARY, PING, PONG, TEXT, Parser, VideoFrame, frame, handshake, message, read_binary_frame
from soak_socket import speech as speech_message
from soak_state import Finding, active_sessions, complaints_of, holdings, rest, watched

SLOW_KBPS = 600
MAX_BEHIND_MS = 1_200
_RECEIVE_BUFFER = 8_192
_SEGMENT = 1_400
"""As on a real network; loopback's own segments are as large as all of the small buffer."""
_READ = 1_400
_FLOOD_BYTES = 64 << 20
_MIB = 1 << 20
_LATE_S = 3.0
_SETTLE_S = 5.0
_SO_ATTACH_FILTER = 26
_BPF_RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)


@dataclass
class _Reader:
    """What one thread reads at a bounded rate."""

    frames: list[VideoFrame] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    received: int = 0
    fault: str | None = None

    @property
    def behind_ms(self) -> list[float]:
        """Of each frame against the grid that the earliest of the first second lie on."""
        origin = min(at * 1000 - got.timestamp_ms for got, at in zip(self.frames[:25], self.times[:25], strict=True))
        return [at * 1000 - got.timestamp_ms - origin for got, at in zip(self.frames, self.times, strict=True)]


def _open(port: int, user_id: str, receive_buffer: int = _RECEIVE_BUFFER) -> socket.socket:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)  # before connecting: it bounds the window
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
    raw.settimeout(10)
    raw.connect(("127.0.0.1", port))
    raw.sendall(handshake(user_id))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += raw.recv(1)
    raw.sendall(frame(TEXT, message("INIT", None, {"frames": "binary"})))
    return raw


def _read(raw: socket.socket, reader: _Reader, kbps: float | None, until: Callable[[], bool]) -> None:
    """Never faster than ``kbps``."""
    parser = Parser(upgraded=True)
    begun = time.monotonic()
    try:
        while not until():
            data = raw.recv(_READ)
            if not data:
                raise ConnectionError("the server ended the connection")
            reader.received += len(data)
            for opcode, payload in parser.feed(data):
                if opcode == BINARY:
                    reader.frames.append(read_binary_frame(payload))
                    reader.times.append(time.monotonic())
                elif opcode == PING:
                    raw.sendall(frame(PONG, payload))
            if kbps is not None:
                begun = max(begun, time.monotonic() - reader.received * 8 / 1000 / kbps - 0.05)  # no credit is saved
                time.sleep(max(0.0, begun + reader.received * 8 / 1000 / kbps - time.monotonic()))
    except (OSError, ValueError) as error:
        reader.fault = repr(error)


def _talk(raw: socket.socket, until: Callable[[], bool]) -> None:
    chunks = cut(SPEECH.read_bytes()[WAV_HEADER:])
    start, index = time.monotonic(), 0
    while not until():
        time.sleep(max(0.0, start + index * FRAME_MS / 1000 - time.monotonic()))
        raw.sendall(frame(TEXT, speech_message(None, chunks[index % len(chunks)])))
        index += 1


def _session(port: int, user_id: str, kbps: float | None, seconds: float) -> _Reader:
    """A session that speaks for ``seconds``, read at ``kbps``."""
    reader = _Reader()
    begun = time.monotonic()

    def over() -> bool:
        return time.monotonic() - begun >= seconds

    with closing(_open(port, user_id, _RECEIVE_BUFFER if kbps is not None else 1 << 20)) as raw:
        talker = threading.Thread(target=_talk, args=(raw, over))
        talker.start()
        _read(raw, reader, kbps, over)
        talker.join()
    return reader


def slow(server: Server, seconds: float, tolerance: float) -> Finding:
    """One speaking session alone, then the same read at 600 kbit/s beside one that is read in time."""
    fast = _session(server.port, "fast", None, min(seconds, 10.0))
    kbps = fast.received * 8 / 1000 / min(seconds, 10.0)
    limit = min(SLOW_KBPS, kbps / 2)
    finding = Finding(f"slow: a stream of {kbps:.0f} kbit/s read at {limit:.0f} kbit/s for {seconds:.0f} s")
    _session(server.port, "slow", limit, 5.0)  # warm-up
    rest(server)
    with watched(server.port, finding), ThreadPoolExecutor(1) as thread:
        session = thread.submit(_session, server.port, "slow", limit, seconds)
        time.sleep(_SETTLE_S)
        before = holdings(server)
        time.sleep(max(0.0, seconds - _SETTLE_S - 1))
        during = holdings(server)
        reader = session.result()
    behind = sorted(reader.behind_ms)
    stamps = [got.timestamp_ms for got in reader.frames]
    expected = (stamps[-1] - stamps[0]) // 40 + 1
    finding.figures["behind"] = f"p50 {behind[len(behind) // 2]:.0f}, max {behind[-1]:.0f} ms"
    finding.figures["frames"] = f"{len(stamps)} of {expected} arrive, {reader.received * 8 / 1000 / seconds:.0f} kbit/s"
    finding.figures["front"] = (
        f"{before.front_rss / _MIB:.1f} MiB after {_SETTLE_S:.0f} s, {during.front_rss / _MIB:.1f} MiB at the end"
    )
    finding.check(behind[-1] <= MAX_BEHIND_MS, f"{behind[-1]:.0f} ms behind")
    finding.check(len(stamps) < expected, "no frame was left out: the reader was not slow")
    finding.check(len(stamps) >= 0.2 * expected, "hardly a frame arrives")
    finding.check(reader.fault is None, f"the slow session ended: {reader.fault}")
    finding.check(during.front_rss <= before.front_rss * (1 + tolerance), "the front's memory grew")
    # As a player would: from the first frame on, dropped ones never seen.
    finding.problems += [f"slow stream: {text}" for text in complaints_of(_units(reader))[:5]]
    return finding


def _units(reader: _Reader) -> list[bytes]:
    return [got.access_unit for got in reader.frames]


# --- silence ---


def _drop_all(raw: socket.socket) -> None:
    """The kernel throws away what comes for this socket, before TCP sees it: no acknowledgement, no reset."""
    program = ctypes.create_string_buffer(_BPF_RETURN_NOTHING)
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 1, ctypes.addressof(program)))


def _found_after(server: Server, limit_s: float) -> float | None:
    """Seconds until no session is left."""
    begun = time.monotonic()
    while time.monotonic() - begun < limit_s:
        if active_sessions(server.port) == 0:
            return time.monotonic() - begun
        time.sleep(0.1)
    return None


def _pause(raw: socket.socket) -> None:
    """Nothing: its window just fills."""


def _half_close(raw: socket.socket) -> None:
    raw.shutdown(socket.SHUT_WR)


_SILENCES: dict[str, Callable[[socket.socket], None]] = {
    "stops reading": _pause,
    "acknowledges nothing": _drop_all,
    "half-closes and stops reading": _half_close,
}


def silent(server: Server, limit_s: float, cases: Sequence[tuple[str, bool]] = ()) -> Finding:
    """Peers that fall silent in each way (or in ``cases``: how, speaking) are found within ``limit_s``."""
    finding = Finding(f"silent: peers that fall silent, to be found within {limit_s:.0f} s")
    before = rest(server)
    for name, speaking in cases or [(name, speaking) for name in _SILENCES for speaking in (False, True)]:
        what = f"{name}{', speaking' if speaking else ''}"
        with closing(_open(server.port, "silent")) as raw:
            _read(raw, _Reader(), None, _timer(0.5))
            if speaking:
                for chunk in cut(SPEECH.read_bytes()[WAV_HEADER:]):
                    raw.sendall(frame(TEXT, speech_message(None, chunk)))
                _read(raw, _Reader(), None, _timer(0.5))
            finding.check(active_sessions(server.port) == before.sessions + 1, f"{what}: no session to begin with")
            _SILENCES[name](raw)
            found = _found_after(server, limit_s)
            finding.figures[what] = "not found" if found is None else f"found after {found:.1f} s"
            finding.check(found is not None, f"{what}: still a session after {limit_s:.0f} s")
            descriptors = rest(server, before).front_fds
            finding.check(
                descriptors <= before.front_fds, f"{what}: {descriptors} descriptors, {before.front_fds} before"
            )
        rest(server)
    return finding


def _timer(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


# --- floods ---


def flood(server: Server) -> Finding:
    """A client that sends pings without end and reads no pong: the server must not hoard them."""
    finding = Finding(f"flood: {_FLOOD_BYTES // _MIB} MiB of pings, no pong read")
    before = rest(server)
    pings = frame(PING, bytes(125)) * 1000
    sent = 0
    with closing(_open(server.port, "flood")) as raw:
        raw.settimeout(_LATE_S)
        try:
            while sent < _FLOOD_BYTES:
                sent += raw.send(pings)
        except OSError as error:
            finding.figures["the server takes no more"] = repr(error)
        during = holdings(server)
    finding.figures["taken"] = f"{sent / _MIB:.1f} MiB of pings"
    finding.figures["front"] = f"{before.front_rss / _MIB:.1f} MiB before, {during.front_rss / _MIB:.1f} MiB during"
    grown = during.front_rss - before.front_rss
    finding.check(grown < 8 * _MIB, f"the front grew by {grown / _MIB:.1f} MiB")
    return finding
