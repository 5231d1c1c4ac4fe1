"""The figures as tables, and the conditions that they were measured under."""

import datetime
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from bargein import TARGET_FRAMES, TARGET_MS

import musetalk_service

_LATENCY = {"from_idle": "out of idle", "microphone": "with the microphone open"}


def conditions() -> dict[str, Any]:
    """Of this run, at its start."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {
            "musetalk-service": musetalk_service.__version__,
            "numpy": np.__version__,
            "opencv": str(cv2.__version__),
            "av": av.__version__,
        },
    }


def host_kind(about: Mapping[str, Any]) -> str:
    """For file names: "2x-amd-epyc"."""
    return f"{about['cores']}x-" + re.sub(r"[^a-z0-9]+", "-", about["cpu"].lower()).strip("-")


def as_markdown(results: Mapping[str, Any]) -> str:
    """Everything that was measured."""
    parts = [_conditions(results["conditions"])]
    if "load" in results:
        parts += [_delivery("Delivery", results["load"]), _cost("Cost", results["load"])]
    if "stages" in results:
        parts.append(_stages(results["stages"]))
    if "latency" in results:
        parts.append(_latency(results["latency"]))
    if "startup" in results:
        parts.append(_startup(results["startup"]))
    if "scale" in results:
        parts += [_delivery("Delivery at scale", results["scale"]), _cost("Cost at scale", results["scale"])]
    if "forms" in results:
        parts.append(_forms(results["forms"]))
    if "bargein" in results:
        parts.append(_bargein(results["bargein"]))
    if "preparation" in results:
        parts.append(_preparation(results["preparation"]))
    return "\n\n".join(parts) + "\n"


def save(results: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
    """Write name.json and name.md; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    paths[0].write_text(json.dumps(_rounded(results), indent=1) + "\n")
    paths[1].write_text(as_markdown(results))
    return paths


# --- sections ---


def _conditions(about: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    load = " ".join(str(value) for value in about["load_average"])
    return (
        f"{about['date']}: {about['cores']} cores of {about['cpu']}, {about['os']}, Python {about['python']}, "
        f"{versions}. Load average before the run: {load}."
    )


def _delivery(title: str, runs: Sequence[Mapping[str, Any]]) -> str:
    heads = ["sessions", "group", "fps min", "fps median", "missing", "late p50 ms", "p99 ms", "max ms"]
    heads += ["held", "late", "filled", "dropped", "failovers", "errors", "load before"]
    rows = []
    for run in runs:
        counts = [run["frames"][name] for name in ("held", "late", "filled", "dropped")]
        tail = [*counts, run["failovers"], len(run["errors"]), f"{run['load_before']:.1f}"]
        for group in ("idle", "speaking"):
            if got := run[group]:
                numbers = [f"{got['fps_min']:.2f}", f"{got['fps_median']:.2f}", got["missing"]]
                numbers += [f"{got[f'late_{name}_ms']:.1f}" for name in ("p50", "p99", "max")]
                rows.append([run["name"], group, *numbers, *tail])
                tail = [""] * len(tail)  # the counters are those of the whole server
    return f"### {title}\n\n" + _table(heads, rows)


def _cost(title: str, runs: Sequence[Mapping[str, Any]]) -> str:
    heads = ["sessions", "front %core", "per session", "us per frame", "hosts %core", "per speaking", "render ms"]
    heads += ["encode ms", "clock late ms", "front MiB", "hosts MiB", "kbit/s each", "client %core"]
    rows = [
        [
            run["name"],
            f"{run['front_cpu_percent']:.1f}",
            f"{run['front_cpu_per_session']:.3f}",
            _number(run["front_us_per_frame"], 0),
            f"{run['hosts_cpu_percent']:.1f}",
            _number(run["hosts_cpu_per_speaking"], 1),
            _number(run["stage_ms"]["render"], 2),
            _number(run["stage_ms"]["encode"], 2),
            _number(run["clock_late_ms"], 2),
            f"{run['front_rss_mib']:.0f}",
            " ".join(f"{rss:.0f}" for rss in run["host_rss_mib"]),
            f"{run['kbps_per_session']:.0f}",
            f"{run['client_cpu_percent']:.1f}",
        ]
        for run in runs
    ]
    return f"### {title}\n\n" + _table(heads, rows)


def _stages(stages: Mapping[str, float]) -> str:
    heads = ["hear and render ms", "x264 ms", "all ms", "fastest pass ms", "kbit/s", "renderer's share"]
    names = ("render_ms", "x264_ms", "all_ms", "fastest_ms")
    numbers = [f"{stages[name]:.2f}" for name in names]
    row = [*numbers, f"{stages['kbps']:.0f}", f"{100 * stages['renderer_share']:.0f} %"]
    return "### A speaking frame without a server\n\n" + _table(heads, [row])


def _latency(latency: Mapping[str, Mapping[str, float]]) -> str:
    heads = ["words", "number", "labelled p50 ms", "p95", "max", "moved mouth p50 ms", "p95", "max"]
    heads.append("noise / threshold")
    rows = []
    for kind, got in latency.items():
        values = [f"{got[f'{n}_ms_{q}']:.0f}" for n in ("labelled", "moved") for q in ("p50", "p95", "max")]
        noise = f"{got['shut_mouth_noise_max']:.1f} / {got['threshold']:.1f}"
        rows.append([_LATENCY[kind], int(got["words"]), *values, noise])
    return "### From audio to mouth\n\n" + _table(heads, rows)


def _startup(startup: Mapping[str, float]) -> str:
    heads = ["cold cache s", "warm cache s (median)", "longest", "warm starts"]
    row = [*(f"{startup[name]:.2f}" for name in ("cold_s", "warm_s", "warm_max_s")), startup["warm_starts"]]
    return "### Process start to first frame\n\n" + _table(heads, [row])


def _forms(forms: Sequence[Mapping[str, Any]]) -> str:
    heads = ["form", "peak kbit/s", "idle kbit/s", "GB/h", "front %core each", "sessions per core"]
    heads += ["speaking kbit/s", "GB/h", "front %core each", "hosts %core each", "sessions per core", "rendered %"]
    rows = []
    for form in forms:
        row = [form["form"], form["peak_kbps"]]
        for run in (form["idle"], form["speaking"]):
            rate, front, hosts = (
                run[n] for n in ("kbps_per_session", "front_cpu_per_session", "hosts_cpu_per_speaking")
            )
            row += [f"{rate:.0f}", f"{rate * 3600 / 8 / 1e6:.3f}", f"{front:.3f}"]
            row += [] if hosts is None else [f"{hosts:.1f}"]
            row.append(f"{100 / (front + (hosts or 0.0)):.1f}")
        wanted = 25 * run["seconds"] * run["speaking_sessions"]
        rows.append([*row, f"{100 * run['rendered'] / wanted:.0f}"])
    return "### Forms\n\n" + _table(heads, rows)


def _bargein(bargein: Mapping[str, float]) -> str:
    heads = ["interrupts", "stale frames p50", "p95", "max", "last stale frame p50 ms", "p95", "max"]
    heads.append(f"beyond {TARGET_FRAMES} frames or {TARGET_MS} ms")
    numbers = [f"{bargein[f'{name}_{q}']:.0f}" for name in ("frames", "last_ms") for q in ("p50", "p95", "max")]
    return "### Barge-in\n\n" + _table(heads, [[bargein["interrupts"], *numbers, bargein["beyond_target"]]])


def _preparation(rows: Iterable[Mapping[str, Any]]) -> str:
    heads = ["upload", "upload to first frame s", "memory of the reading process MB"]
    return "### Avatars\n\n" + _table(
        heads, [[row["upload"], f"{row['first_frame_s']:.1f}", f"{row['peak_mb']:.0f}"] for row in rows]
    )


# --- helpers ---


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["| " + " | ".join(map(str.rjust, row, widths)) + " |" for row in cells]
    lines.insert(1, "| " + " | ".join("-" * (width - 1) + ":" for width in widths) + " |")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
