"""Holds a real server under trouble for minutes and checks that nothing breaks and nothing is left behind. Linux only.

    python bench/soak.py [--only fuzz abrupt ...] [--messages 100000] [--connections 2000] [--seed 1]

README.md beside this file says what each part does and demands. Exits with 1 when a demand is not met.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from soak_abrupt import abrupt
from soak_fuzz import fuzz
from soak_slow import flood, silent, slow
from soak_state import Finding, SoakServer
from soak_uploads import UPLOADERS, uploads
from soak_voices import voices
from soak_warm import warm_up

_PING_S, _PONG_S, _GRACE_S = 1, 2, 1
_SLACK_S = 1.5
"""The janitor looks once a second, and machines have hiccups."""
FOUND_WITHIN_S = _PING_S + _PONG_S + _GRACE_S + _SLACK_S
# What is to be found out here is not how fast a client is refused.
SETTINGS = {
    "rate_user_messages_per_s": 0,
    "rate_user_bytes_per_s": 0,
    "rate_address_handshakes_per_min": 0,
    "resume_grace_s": _GRACE_S,
    "log_level": "warning",
}
SHORT_PINGS = {"ping_interval_s": _PING_S, "ping_timeout_s": _PONG_S}
"""Where silence is to be found out; elsewhere a loaded client may be slow to answer."""
_LONG_PINGS = {"ping_interval_s": 20, "ping_timeout_s": 20}


def _fuzz(server: SoakServer, arguments: argparse.Namespace) -> Finding:
    return fuzz(server, arguments.seed, arguments.messages, arguments.tolerance)


def _abrupt(server: SoakServer, arguments: argparse.Namespace) -> Finding:
    return abrupt(server, arguments.seed, arguments.connections, arguments.tolerance)


def _voices(server: SoakServer, arguments: argparse.Namespace) -> Finding:
    return voices(server, arguments.sessions)


def _slow(server: SoakServer, arguments: argparse.Namespace) -> Finding:
    return slow(server, arguments.seconds, arguments.tolerance)


def _silent(server: SoakServer, _: argparse.Namespace) -> Finding:
    return silent(server, FOUND_WITHIN_S)


def _flood(server: SoakServer, _: argparse.Namespace) -> Finding:
    return flood(server)


def _uploads(server: SoakServer, arguments: argparse.Namespace) -> Finding:
    return uploads(
        server, arguments.seed, arguments.uploads, [arguments.avatars / ".staging", arguments.cache / "uploads"]
    )


PARTS: dict[str, Callable[[SoakServer, argparse.Namespace], Finding]] = {
    "fuzz": _fuzz,
    "abrupt": _abrupt,
    "voices": _voices,
    "slow": _slow,
    "silent": _silent,
    "flood": _flood,
    "uploads": _uploads,
}


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
    parser.add_argument("--uploads", type=int, default=300, help="damaged pictures and videos")
    parser.add_argument("--seconds", type=float, default=20.0, help="that the slow client is watched")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=0.02, help="growth of memory that is not a leak")
    parser.add_argument("--cache", type=Path, help="CACHE_DIR of the server; an empty one without it")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="soak-cache-") as empty:
        arguments.cache = arguments.cache or Path(empty)
        arguments.avatars = Path(empty) / "avatars"
        for name in arguments.only:
            settings = SETTINGS | (SHORT_PINGS if name == "silent" else _LONG_PINGS)
            settings |= {"avatars_dir": arguments.avatars, "preparation_jobs": UPLOADERS}
            with SoakServer(arguments.cache, settings) as server:
                server.wait_until_quiet()
                if name in ("fuzz", "abrupt"):
                    asyncio.run(warm_up(server.port))
                finding = PARTS[name](server, arguments)
                finding.check(not server.errors, f"the log has {len(server.errors)} errors: {server.errors[:3]}")
            print(report(finding), flush=True)
            failed = failed or bool(finding.problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
