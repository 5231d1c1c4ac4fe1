"""Sessions that idle and speak against a real server: what is delivered, and what it costs."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server_process import Server, Usage

SCENARIOS = ((1, 0), (200, 0), (0, 1), (0, 2), (0, 4), (200, 4))
"""(idle, speaking) sessions, light ones first, since memory that was once used is not given back."""
_CLIENT = Path(__file__).with_name("load_client.py")
_RESULTS = ("sent", "held", "late", "filled", "dropped")
_MIB = 1 << 20


def measure(server: Server, idle: int, speaking: int, seconds: float) -> dict[str, Any]:
    """One scenario; the counters are read at both ends of the client's window."""
    load_before = os.getloadavg()[0]
    command = [sys.executable, str(_CLIENT), "--port", str(server.port), "--seconds", str(seconds)]
    command += ["--idle", str(idle), "--speaking", str(speaking)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        _expect(client.stdout.readline(), "READY")
        before = server.usage()
        _expect(client.stdout.readline(), "DONE")
        after = server.usage()
        delivered: dict[str, Any] = json.loads(client.stdout.readline())
    server.check_alive()
    return {
        "idle_sessions": idle,
        "speaking_sessions": speaking,
        "seconds": seconds,
        "load_before": load_before,
        **delivered,
        **cost(before, after, idle + speaking, speaking),
    }


def cost(before: Usage, after: Usage, sessions: int, speaking: int) -> dict[str, Any]:
    """CPU in percent of one core, memory, frame counts and ms per stage between two moments."""
    spent = after.time - before.time
    front = 100 * (after.front_cpu_s - before.front_cpu_s) / spent
    hosts = 100 * (after.hosts_cpu_s - before.hosts_cpu_s) / spent
    frames = {name: round(_grown(before, after, f'avatar_frames_total{{result="{name}"}}')) for name in _RESULTS}
    return {
        "front_cpu_percent": front,
        "hosts_cpu_percent": hosts,
        "front_cpu_per_session": front / sessions,
        "hosts_cpu_per_speaking": hosts / speaking if speaking else None,
        "front_us_per_frame": 10_000 * front * spent / frames["sent"] if frames["sent"] else None,
        "front_rss_mib": after.front_rss / _MIB,
        "host_rss_mib": [rss / _MIB for rss in after.hosts_rss],
        "frames": frames,
        "failovers": round(
            sum(after.metrics[n] - before.metrics.get(n, 0.0) for n in after.metrics if _is_failover(n))
        ),
        "stage_ms": {stage: _mean_ms(before, after, "avatar_stage_seconds", stage) for stage in ("render", "encode")},
        "clock_late_ms": _mean_ms(before, after, "avatar_frame_latency_seconds", None),
    }


def repeat(server: Server, idle: int, speaking: int, seconds: float, times: int) -> dict[str, Any]:
    """The run with the median of the speaking (else idle) sessions' p99 lateness, out of an odd number."""
    group = "speaking" if speaking else "idle"
    runs = [measure(server, idle, speaking, seconds) for _ in range(times)]
    middle = statistics.median_low([run[group]["late_p99_ms"] for run in runs])
    return next(run for run in runs if run[group]["late_p99_ms"] == middle)


def _expect(line: str, word: str) -> None:
    if line.strip() != word:
        raise RuntimeError(f"the load client failed: it said {line!r} instead of {word}; see above")


def _grown(before: Usage, after: Usage, name: str) -> float:
    return after.metrics.get(name, 0.0) - before.metrics.get(name, 0.0)


def _is_failover(name: str) -> bool:
    return name.startswith("avatar_failovers_total{")


def _mean_ms(before: Usage, after: Usage, histogram: str, stage: str | None) -> float | None:
    labels = "" if stage is None else f'{{stage="{stage}"}}'
    count = _grown(before, after, f"{histogram}_count{labels}")
    return 1000 * _grown(before, after, f"{histogram}_sum{labels}") / count if count else None


def scenario_name(result: Mapping[str, Any]) -> str:
    """For tables."""
    parts = [f"{result[key]} {word}" for key, word in (("idle_sessions", "idle"), ("speaking_sessions", "speaking"))]
    return " + ".join(part for part in parts if not part.startswith("0 "))
