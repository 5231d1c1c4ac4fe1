"""Processes of this program that the front starts, keeps alive and ends; each is connected by a socket pair."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

from musetalk_service.utils.clock import Clock

log = logging.getLogger(__name__)

_BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Waits before a process that ended is started again; the last repeats."""
_HEALTHY_S = 20.0
"""A process that has lived this long starts again at once when it ends."""
_END_S = 2.0
"""Time to end by itself when its link is closed."""
THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The variables that tell numeric libraries how many threads to start."""
# They would start one per core in every process; each has one core to itself.
_ENVIRONMENT = dict.fromkeys(THREAD_COUNTS, "1")


async def keep_alive(name: str, run: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Run a process from spawn to end again and again, after growing waits where it keeps ending."""
    failures = 0
    while True:
        started = clock.now()
        try:
            await run()
        except Exception:
            log.exception("%s failed", name)
        failures = 1 if clock.now() - started > _HEALTHY_S else failures + 1
        wait = _BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1]
        log.error("%s ended", name, extra={"restart_in_s": wait})
        await asyncio.sleep(wait)


async def spawn(
    arguments: Sequence[str], settings_json: str, environment: Mapping[str, str] | None = None
) -> tuple[asyncio.subprocess.Process, socket.socket]:
    """Start a command of this program with settings on its standard input, and more in its environment.

    Returns:
        The process and our end of the socket pair whose other end it has as ``--bus-fd``.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "musetalk_service",
            *arguments,
            "--bus-fd",
            str(theirs.fileno()),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env={**_without_secrets(os.environ), **_ENVIRONMENT, **(environment or {})},
        )
    assert process.stdin is not None
    process.stdin.write(settings_json.encode())
    process.stdin.close()
    return process, ours


async def end_process(process: asyncio.subprocess.Process) -> None:
    """Wait for a process to end by itself, else make it; at once when this is cancelled."""
    # Not asyncio.wait_for: until Python 3.12 that forgets a cancellation that comes together with the result.
    ended = asyncio.ensure_future(process.wait())
    try:
        for ask in (None, signal.SIGTERM, signal.SIGKILL):
            _tell(process, ask)
            if (await asyncio.wait({ended}, timeout=_END_S))[0]:
                return
    except asyncio.CancelledError:
        _tell(process, signal.SIGKILL)
        raise
    finally:
        ended.cancel()


def _tell(process: asyncio.subprocess.Process, ask: signal.Signals | None) -> None:
    if ask is not None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(ask)


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Such processes check no tokens: the fewer know the key, the better."""
    return {name: value for name, value in environment.items() if not name.upper().startswith("AUTH_")}
