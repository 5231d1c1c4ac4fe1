"""Sessions that idle and speak against a real server: what is delivered, and what it costs."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from server_process import Server, Usage

_CLIENT = Path(__file__).with_name("load_client.py")
_SESSIONS_PER_CLIENT = 300
"""More are shared between two processes, so that the clients' own CPU does not make frames look late."""
_RESULTS = ("sent", "held", "late", "filled", "dropped")
_MIB = 1 << 20
_LOWEST_KBPS = 50
"""The least `max_kbps` there is: under every full rendition's peak."""


@dataclass(frozen=True)
class Form:
    """How a client asks for its pictures."""

    binary: bool = False
    resolution: str = "512x512"
    low: bool = False

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.resolution}{' low' if self.low else ''}, {'binary' if self.binary else 'JSON'}"

    def init(self) -> dict[str, Any]:
        """INIT's data."""
        video: dict[str, Any] = {"resolution": self.resolution, "fps": 25}
        if self.low:
            video["max_kbps"] = _LOWEST_KBPS
        return {"frames": "binary" if self.binary else "json", "video_config": video}


@dataclass(frozen=True)
class Scenario:
    """Sessions at once, all of the same form."""

    idle: int
    speaking: int
    form: Form = Form()

    @property
    def name(self) -> str:
        """For tables."""
        counts = [f"{number} {word}" for number, word in ((self.idle, "idle"), (self.speaking, "speaking")) if number]
        return " + ".join(counts) + (", binary" if self.form.binary else "")


# Light ones first, since memory that was once used is not given back.
SCENARIOS = tuple(Scenario(*numbers) for numbers in ((1, 0), (200, 0), (0, 1), (0, 2), (0, 4), (0, 6), (200, 4)))
SCALE = (
    Scenario(0, 4),
    Scenario(500, 0),
    Scenario(500, 0, Form(binary=True)),
    Scenario(500, 4),
    Scenario(900, 0),
    Scenario(1500, 0),
)
SCALE_SETTINGS = {"MAX_SESSIONS": "2000", "RATE_ADDRESS_HANDSHAKES_PER_MIN": "0"}
FORMS = tuple(
    Form(binary, resolution, low)
    for resolution, low, binary in product(("512x512", "384x384", "256x256"), (False, True), (False, True))
)
FORM_IDLE, FORM_SPEAKING = 50, 4
"""Sessions that a form is measured with: one is enough for its bit rate, but not for its CPU."""


def measure(server: Server, scenario: Scenario, seconds: float) -> dict[str, Any]:
    """One scenario; the counters are read at both ends of the clients' window."""
    load_before = os.getloadavg()[0]
    sessions = scenario.idle + scenario.speaking
    processes = 2 if sessions > _SESSIONS_PER_CLIENT else 1
    with ExitStack() as stack:
        clients = [
            stack.enter_context(_client(server, scenario, seconds, share, processes)) for share in range(processes)
        ]
        for client in clients:
            _expect(_line(client), "READY")
        before = server.usage()
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("GO\n")
            client.stdin.flush()
        for client in clients:
            _expect(_line(client), "DONE")
        after = server.usage()
        found = [json.loads(_line(client)) for client in clients]
    server.check_alive()
    return {
        "name": scenario.name,
        "form": scenario.form.name,
        "idle_sessions": scenario.idle,
        "speaking_sessions": scenario.speaking,
        "seconds": seconds,
        "load_before": load_before,
        **{group: summarise([one for part in found for one in part[group]]) for group in ("idle", "speaking")},
        "client_cpu_percent": sum(part["client_cpu_percent"] for part in found),
        "client_processes": processes,
        "kbps_per_session": sum(part["kbps"] for part in found) / sessions,
        "granted": sorted({tuple(picture) for part in found for picture in part["granted"]}),
        "errors": [error for part in found for error in part["errors"]],
        **cost(before, after, sessions, scenario.speaking),
    }


def summarise(deliveries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """One group of sessions, each as ``load_client.Delivery``."""
    if not deliveries:
        return {}
    fps = [delivery["fps"] for delivery in deliveries]
    late = np.concatenate([delivery["lateness_ms"] for delivery in deliveries])
    if not len(late):
        raise RuntimeError("no session got a frame")
    p50, p99 = np.percentile(late, [50, 99])
    return {
        "sessions": len(deliveries),
        "fps_min": min(fps),
        "fps_median": statistics.median(fps),
        "missing": sum(delivery["missing"] for delivery in deliveries),
        "late_p50_ms": float(p50),
        "late_p99_ms": float(p99),
        "late_max_ms": float(late.max()),
    }


def measure_form(server: Server, form: Form, seconds: float, times: int) -> dict[str, Any]:
    """One form, idle and speaking. Raises ``RuntimeError`` when the server sends another picture."""
    runs = {
        "idle": repeat(server, Scenario(FORM_IDLE, 0, form), seconds, times),
        "speaking": repeat(server, Scenario(0, FORM_SPEAKING, form), seconds, times),
    }
    granted = {picture for run in runs.values() for picture in run["granted"]}
    if len(granted) != 1 or not form.resolution.startswith(f"{min(granted)[0]}x"):
        raise RuntimeError(f"asked for {form.name}, got (width, kbit/s) {sorted(granted)}")
    return {"form": form.name, "peak_kbps": min(granted)[1], **runs}


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
        "rendered": round(_grown(before, after, 'avatar_stage_seconds_count{stage="render"}')),
        "failovers": round(
            sum(after.metrics[n] - before.metrics.get(n, 0.0) for n in after.metrics if _is_failover(n))
        ),
        "stage_ms": {stage: _mean_ms(before, after, "avatar_stage_seconds", stage) for stage in ("render", "encode")},
        "clock_late_ms": _mean_ms(before, after, "avatar_frame_latency_seconds", None),
    }


def repeat(server: Server, scenario: Scenario, seconds: float, times: int) -> dict[str, Any]:
    """The run with the median of the speaking (else idle) sessions' p99 lateness, out of an odd number."""
    group = "speaking" if scenario.speaking else "idle"
    runs = [measure(server, scenario, seconds) for _ in range(times)]
    middle = statistics.median_low([run[group]["late_p99_ms"] for run in runs])
    return next(run for run in runs if run[group]["late_p99_ms"] == middle)


def _client(server: Server, scenario: Scenario, seconds: float, share: int, shares: int) -> "subprocess.Popen[str]":
    """One of the processes that share the sessions."""
    idle, speaking = (
        number * (share + 1) // shares - number * share // shares for number in (scenario.idle, scenario.speaking)
    )
    command = [sys.executable, str(_CLIENT), "--port", str(server.port), "--seconds", str(seconds)]
    command += ["--idle", str(idle), "--speaking", str(speaking), "--init", json.dumps(scenario.form.init())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(client: "subprocess.Popen[str]") -> str:
    assert client.stdout is not None
    return client.stdout.readline()


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
