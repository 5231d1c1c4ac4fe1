"""Measures the service on this machine: a real server process, real engine hosts, real clients. Linux only.

    python bench/run.py [--only PART ...] [--seconds 12] [--repeat 1] [--words 20] [--interrupts 30] [--save]

README.md beside this file says what each figure means. Results go to the terminal and to out/bench/; with --save also
to bench/results/.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import load
import report
import startup
from latency import MOVED_LEVELS
from server_process import Server

_HERE = Path(__file__).parent


def measure_load(cache: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every scenario, one after another, against one server."""
    return _scenarios(cache, arguments, load.SCENARIOS, {})


def measure_scale(cache: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Hundreds of sessions, against a server that admits them."""
    return _scenarios(cache, arguments, load.SCALE, load.SCALE_SETTINGS)


def measure_forms(cache: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every rendition, as JSON and as binary frames."""
    results = []
    with _quiet_server(cache, load.SCALE_SETTINGS) as server:
        for form in load.FORMS:
            print(f"  {form.name} ...", file=sys.stderr, flush=True)
            results.append(load.measure_form(server, form, arguments.seconds, arguments.repeat))
    return results


def measure_bargein(cache: Path, arguments: argparse.Namespace) -> Any:
    """INTERRUPT in the middle of speech."""
    with _quiet_server(cache) as server:
        return _child("bargein.py", "--port", str(server.port), "--times", str(arguments.interrupts))


def measure_stages(_: Path, __: argparse.Namespace) -> Any:
    """In a process of its own, with nothing else running."""
    return _child("stages.py")


def measure_latency(cache: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Words out of idle, then words with an open microphone."""
    with _quiet_server(cache) as server:
        base = ("latency.py", "--port", str(server.port), "--words", str(arguments.words))
        found = {"from_idle": _child(*base), "microphone": _child(*base, "--microphone")}
    return {kind: {**result, "threshold": MOVED_LEVELS} for kind, result in found.items()}


def measure_startup(_: Path, __: argparse.Namespace) -> dict[str, Any]:
    """Cold and warm, with a cache of its own."""
    return dict(startup.measure())


def _scenarios(
    cache: Path, arguments: argparse.Namespace, scenarios: Iterable[load.Scenario], settings: Mapping[str, str]
) -> list[dict[str, Any]]:
    results = []
    with _quiet_server(cache, settings) as server:
        for scenario in scenarios:
            print(f"  {scenario.name} ...", file=sys.stderr, flush=True)
            results.append(load.repeat(server, scenario, arguments.seconds, arguments.repeat))
    return results


@contextmanager
def _quiet_server(cache: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    with Server(cache, settings) as server:
        server.wait_until_quiet()
        yield server


def _child(script: str, *arguments: str) -> Any:
    command = [sys.executable, str(_HERE / script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure_preparation(_: Path, __: argparse.Namespace) -> Any:
    """Avatars of a photo and of two clips; their server has a cache of its own."""
    return _child("preparation.py", "--videos")


PARTS: dict[str, Callable[[Path, argparse.Namespace], Any]] = {
    "startup": measure_startup,
    "stages": measure_stages,
    "load": measure_load,
    "latency": measure_latency,
    "scale": measure_scale,
    "forms": measure_forms,
    "bargein": measure_bargein,
    "preparation": measure_preparation,
}
ON_REQUEST = ("scale", "forms", "bargein", "preparation")
"""Parts that only --only runs."""


def _open_many_sockets() -> None:
    """Server and clients inherit the limit: a session takes one descriptor at either end."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, help=f"parts to measure; default: all but {', '.join(ON_REQUEST)}"
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="window of each load scenario")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each load scenario; the middle one is shown")
    parser.add_argument("--words", type=int, default=20, help="words of each latency measurement")
    parser.add_argument("--interrupts", type=int, default=30, help="of bargein")
    parser.add_argument("--save", action="store_true", help="also write to bench/results/")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"conditions": report.conditions()}
    wanted = arguments.only or [name for name in PARTS if name not in ON_REQUEST]
    _open_many_sockets()
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as cache:
        for name in PARTS:
            if name in wanted:
                print(f"{name} ...", file=sys.stderr, flush=True)
                results[name] = PARTS[name](Path(cache), arguments)
    print(report.as_markdown(results))
    about = results["conditions"]
    name = "-".join([about["date"][:10], report.host_kind(about), *(arguments.only or ())])
    folders = [_HERE.parent / "out" / "bench"] + ([_HERE / "results"] if arguments.save else [])
    for folder in folders:
        print("written:", *report.save(results, folder, name))


if __name__ == "__main__":
    main()
