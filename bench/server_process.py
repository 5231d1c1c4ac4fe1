"""The measured server: a process of its own, and what /proc and /metrics say of it. Linux only."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_START_SECONDS = 120.0
_END_SECONDS = 20.0
_QUIET_CPU = 0.05
"""Share of a core below which the hosts have nothing left to prepare."""
_SAMPLE = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    """One moment of the server: CPU seconds since its start, resident bytes, and its metrics."""

    time: float
    front_cpu_s: float
    hosts_cpu_s: float
    front_rss: int
    hosts_rss: tuple[int, ...]
    metrics: Mapping[str, float]
    """Sample name with labels, as exposed, to value."""


class Server:
    """``python -m musetalk_service serve`` on a free port of 127.0.0.1, in an empty folder.

    A context manager. ``cache`` is its CACHE_DIR; other settings are those of ``settings``, then of the environment,
    as for `make run`.
    """

    def __init__(self, cache: Path, settings: Mapping[str, str] | None = None) -> None:
        self.port = _free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="bench-server-")
        self._log = Path(self._folder.name) / "log.txt"
        own = {"HOST": "127.0.0.1", "PORT": str(self.port), "CACHE_DIR": str(cache)}
        environment = {**os.environ, **(settings or {}), **own}
        with self._log.open("w") as log:
            self.started_at = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "musetalk_service", "serve"],
                cwd=self._folder.name,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"the server does not end on SIGTERM:\n{self._log.read_text()}") from None
        finally:
            self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Of the front."""
        return self._process.pid

    @property
    def host_pids(self) -> tuple[int, ...]:
        """Of the engine hosts, by start."""
        return tuple(sorted(pid for pid in _children(self.pid) if b"worker" in _command(pid)))

    def check_alive(self) -> None:
        """Raises ``RuntimeError`` with the log when the process has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the server ended:\n{self._log.read_text()[-4000:]}")

    def wait_until_quiet(self) -> None:
        """Until it is ready and the hosts have encoded what they prepare in the background."""
        self.wait_until_ready()
        deadline = time.monotonic() + _START_SECONDS
        quiet = 0
        while quiet < 2:
            if time.monotonic() > deadline:
                raise RuntimeError("the engine hosts do not come to rest")
            before = sum(cpu_seconds(pid) for pid in self.host_pids)
            time.sleep(1.0)
            spent = sum(cpu_seconds(pid) for pid in self.host_pids) - before
            quiet = quiet + 1 if spent < _QUIET_CPU else 0

    def wait_until_ready(self) -> None:
        """Until /health says ok and every host that is to come has come."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            self.check_alive()
            hosts = self.host_pids
            if hosts and self._get("/health") is not None:
                ready = self.metrics().get('avatar_worker_slots{state="ready"}', 0.0)
                if ready == len(hosts):
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the server is not ready in time:\n{self._log.read_text()[-4000:]}")

    def metrics(self) -> dict[str, float]:
        """What /metrics exposes."""
        text = self._get("/metrics") or ""
        return {name: float(value) for name, value in _SAMPLE.findall(text)}

    def usage(self) -> Usage:
        """Now. Reading it costs the front a few ms of CPU, which come after its CPU time has been read."""
        hosts = self.host_pids
        return Usage(
            time=time.monotonic(),
            front_cpu_s=cpu_seconds(self.pid),
            hosts_cpu_s=sum(cpu_seconds(pid) for pid in hosts),
            front_rss=_resident(self.pid),
            hosts_rss=tuple(_resident(pid) for pid in hosts),
            metrics=self.metrics(),
        )

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None


def cpu_seconds(pid: int) -> float:
    """User and system time of a process since its start (proc(5), stat, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended since the folder was listed
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
