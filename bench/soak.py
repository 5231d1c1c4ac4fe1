"""Holds a real server under trouble for minutes and checks that nothing breaks and nothing is left behind. Linux only.

    python bench/soak.py [--only fuzz abrupt ...] [--messages 100000] [--connections 2000] [--seed 1]

README.md beside this file says what each part does and demands. Exits with 1 when a demand is not met.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from soak_fuzz import fuzz
from soak_state import Finding, SoakServer

# What is to be found out here is not how fast a client is refused.
_SETTINGS = {
    "rate_user_messages_per_s": 0,
    "rate_user_bytes_per_s": 0,
    "rate_address_handshakes_per_min": 0,
    "resume_grace_s": 1,
    "log_level": "warning",
}


def _fuzz(server: SoakServer, arguments: argparse.Namespace) -> Finding:
    return fuzz(server, arguments.seed, arguments.messages, arguments.tolerance)


PARTS: dict[str, Callable[[SoakServer, argparse.Namespace], Finding]] = {"fuzz": _fuzz}


def report(finding: Finding) -> str:
    """As Markdown."""
    lines = [f"### {finding.name}", ""]
    lines += [f"- {name}: {value}" for name, value in finding.figures.items()]
    lines += [f"- **not as it should be**: {problem}" for problem in finding.problems] or ["- as it should be"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--messages", type=int, default=100_000, help="of the fuzzer")
    parser.add_argument("--connections", type=int, default=2_000, help="half of which end abruptly")
    parser.add_argument("--sessions", type=int, default=50, help="with voices of their own")
    parser.add_argument("--seconds", type=float, default=20.0, help="that the slow client is watched")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=0.02, help="growth of memory that is not a leak")
    parser.add_argument("--cache", type=Path, help="CACHE_DIR of the server; an empty one without it")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="soak-cache-") as empty:
        for name in arguments.only:
            with SoakServer(arguments.cache or Path(empty), _SETTINGS) as server:
                server.wait_until_quiet()
                finding = PARTS[name](server, arguments)
                finding.check(not server.errors, f"the log has {len(server.errors)} errors: {server.errors[:3]}")
            print(report(finding), flush=True)
            failed = failed or bool(finding.problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
