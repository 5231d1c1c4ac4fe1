"""Measures the service on this machine: a real server process, real engine hosts, real clients. Linux only.

    python bench/run.py [--only load|stages|latency|startup ...] [--seconds 12] [--repeat 1] [--words 20] [--save]

README.md beside this file says what each figure means. Results go to the terminal and to out/bench/; with --save also
to bench/results/.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import load
import report
import startup
from latency import MOVED_LEVELS
from server_process import Server

_HERE = Path(__file__).parent


def measure_load(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every scenario, one after another, against one server."""
    results = []
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as cache, Server(Path(cache)) as server:
        server.wait_until_quiet()
        for idle, speaking in load.SCENARIOS:
            print(f"  {idle} idle, {speaking} speaking ...", file=sys.stderr, flush=True)
            results.append(load.repeat(server, idle, speaking, arguments.seconds, arguments.repeat))
    return results


def measure_stages(_: argparse.Namespace) -> Any:
    """In a process of its own, with nothing else running."""
    return _child("stages.py")


def measure_latency(arguments: argparse.Namespace) -> dict[str, Any]:
    """Words out of idle, then words with an open microphone."""
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as cache, Server(Path(cache)) as server:
        server.wait_until_quiet()
        base = ("latency.py", "--port", str(server.port), "--words", str(arguments.words))
        found = {"from_idle": _child(*base), "microphone": _child(*base, "--microphone")}
    return {kind: {**result, "threshold": MOVED_LEVELS} for kind, result in found.items()}


def measure_startup(_: argparse.Namespace) -> dict[str, Any]:
    """Cold and warm."""
    return dict(startup.measure())


def _child(script: str, *arguments: str) -> Any:
    command = [sys.executable, str(_HERE / script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "startup": measure_startup,
    "stages": measure_stages,
    "load": measure_load,
    "latency": measure_latency,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--seconds", type=float, default=12.0, help="window of each load scenario")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each load scenario; the middle one is shown")
    parser.add_argument("--words", type=int, default=20, help="words of each latency measurement")
    parser.add_argument("--save", action="store_true", help="also write to bench/results/")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"conditions": report.conditions()}
    for name in PARTS:
        if name in arguments.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            results[name] = PARTS[name](arguments)
    print(report.as_markdown(results))
    about = results["conditions"]
    name = f"{about['date'][:10]}-{report.host_kind(about)}"
    folders = [_HERE.parent / "out" / "bench"] + ([_HERE / "results"] if arguments.save else [])
    for folder in folders:
        print("written:", *report.save(results, folder, name))


if __name__ == "__main__":
    main()
