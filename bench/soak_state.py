"""What a server holds (memory, descriptors, tasks, sessions), and a watcher beside the trouble. Linux only."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server_process import Server

_MIB = 1 << 20
_EMPTY_SECONDS = 60.0
_SETTLE_SECONDS = 0.5
_CLOSING_SECONDS = 15.0
_BAR = 40
_NOISE = 0.005
_ONE_GAP = 6
"""Frames that the front leaves out after one halt: it does so from 200 ms on."""
_STALL_MS = 40
"""A machine that wakes an idle process so late is not to be trusted with single frames."""


class SoakServer(Server):
    """A server with settings of its own, whose log can be read."""

    def __init__(self, cache: Path, settings: Mapping[str, object]) -> None:
        os.environ.update({name.upper(): str(value) for name, value in settings.items()})
        super().__init__(cache)

    @property
    def errors(self) -> list[str]:
        """Lines of the log that tell of an error."""
        return [line for line in self._log.read_text().splitlines() if "Traceback" in line or "ERROR" in line]


@dataclass
class Finding:
    """One part's outcome: figures to print, and what is not as it should be."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def check(self, good: bool, problem: str) -> None:
        if not good:
            self.problems.append(problem)


@dataclass(frozen=True)
class Holdings:
    """One moment of the server."""

    front_rss: int
    hosts_rss: int
    front_fds: int
    hosts_fds: int
    tasks: int
    sessions: int

    def figures(self) -> str:
        return (
            f"front {self.front_rss / _MIB:.1f} MiB, hosts {self.hosts_rss / _MIB:.1f} MiB, "
            f"{self.front_fds} + {self.hosts_fds} descriptors, {self.tasks} tasks"
        )


def holdings(server: Server) -> Holdings:
    """Now."""
    usage = server.usage()
    return Holdings(
        usage.front_rss,
        sum(usage.hosts_rss),
        _descriptors(server.pid),
        sum(_descriptors(pid) for pid in server.host_pids),
        round(usage.metrics["avatar_event_loop_tasks"]),
        active_sessions(server.port),
    )


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def active_sessions(port: int) -> int:
    """As /sessions counts them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/sessions", timeout=10) as response:
        return int(json.loads(response.read())["active"])


def rest(server: Server, like: Holdings | None = None) -> Holdings:
    """When no session is left, waiting ones included, and, with ``like``, no more is open than there; or it is time."""
    deadline = time.monotonic() + _EMPTY_SECONDS
    while active_sessions(server.port) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(_SETTLE_SECONDS)
    # A closing handshake that the client does not finish is waited for.
    deadline = time.monotonic() + _CLOSING_SECONDS
    while True:
        now = holdings(server)
        if like is None or (now.front_fds <= like.front_fds and now.tasks <= like.tasks) or time.monotonic() > deadline:
            return now
        time.sleep(0.5)


def compare(finding: Finding, before: Holdings, after: Holdings, tolerance: float) -> None:
    """Memory within ``tolerance``, counts as they were."""
    finding.figures["before"] = before.figures()
    finding.figures["after"] = after.figures()
    for name in ("front_rss", "hosts_rss"):
        was, is_ = getattr(before, name), getattr(after, name)
        finding.figures[f"{name} growth"] = f"{100 * (is_ / was - 1):+.2f} %"
        finding.check(is_ <= was * (1 + tolerance), f"{name} grew by {100 * (is_ / was - 1):.2f} %")
    for name in ("front_fds", "hosts_fds", "tasks", "sessions"):
        was, is_ = getattr(before, name), getattr(after, name)
        finding.check(is_ <= was, f"{name}: {is_}, was {was}")


class Progress:
    """A bar on standard error; off a terminal a line every tenth."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done, self._said = name, total, 0, 0

    def add(self, count: int = 1) -> None:
        self._done += count
        tenth = 10 * self._done // self._total
        if sys.stderr.isatty():
            filled = _BAR * self._done // self._total
            bar = "#" * filled + "." * (_BAR - filled)
            print(f"\r  {self._name} [{bar}] {self._done}/{self._total}", end="", file=sys.stderr, flush=True)
            if self._done >= self._total:
                print(file=sys.stderr)
        elif tenth > self._said:
            self._said = tenth
            print(f"  {self._name}: {self._done}/{self._total}", file=sys.stderr, flush=True)


@contextmanager
def watched(port: int, finding: Finding, *, speaking: bool = False) -> Iterator[None]:
    """A session in a process of its own, whose stream must not suffer."""
    command = [sys.executable, str(Path(__file__).with_name("soak_watch.py")), "--port", str(port)]
    with subprocess.Popen(
        command + ["--speaking"] * speaking, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watcher:
        assert watcher.stdin is not None and watcher.stdout is not None
        if watcher.stdout.readline().strip() != "READY":
            raise RuntimeError("the watcher has not begun; see above")
        try:
            yield
        finally:
            watcher.stdin.close()
            told = watcher.stdout.readline()
    seen: Mapping[str, Any] = json.loads(told)
    finding.figures["watcher"] = (
        f"{seen['frames']} frames in {seen['seconds']:.0f} s, {seen['holes']} missing, "
        f"late p50 {seen['late_p50_ms']:.1f}, p99 {seen['late_p99_ms']:.1f}, max {seen['late_max_ms']:.0f} ms"
    )
    finding.figures["the watcher's own process was woken late by at most"] = f"{seen['stall_max_ms']:.0f} ms"
    # The front leaves frames out when it has not run for 200 ms: on a shared machine that may be anybody's doing.
    allowed = max(_NOISE * seen["frames"], _ONE_GAP) if seen["stall_max_ms"] > _STALL_MS else 0
    finding.check(seen["holes"] <= allowed, f"the watcher misses {seen['holes']} frames")
    for problem in seen["problems"]:
        finding.problems.append(f"watcher: {problem}")


def complaints_of(access_units: Sequence[bytes]) -> list[str]:
    """Decode in order; what the decoder says, and pictures that did not come."""
    import av
    import av.logging

    said: list[str] = []
    pictures = 0
    av.logging.set_level(av.logging.WARNING)
    with av.logging.Capture(local=True) as logs:
        context = av.CodecContext.create("h264", "r")
        context.thread_count = 1
        try:
            for unit in access_units:
                pictures += len(context.decode(av.Packet(unit)))
            pictures += len(context.decode(None))
        except av.FFmpegError as error:
            said.append(str(error))
    said += [text.strip() for _, _, text in logs]
    if pictures != len(access_units):
        said.append(f"{len(access_units)} access units give {pictures} pictures")
    return said
