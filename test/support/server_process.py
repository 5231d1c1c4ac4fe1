"""A real server in a process of its own, as an operator starts it."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from musetalk_service.config import Settings

START_TIMEOUT_S = 90.0
"""The first start of all also encodes the idle clip; later ones find it in the cache."""
END_TIMEOUT_S = 15.0


class ServerProcess:
    """``python -m musetalk_service serve`` on a free port of 127.0.0.1, run in an empty directory."""

    def __init__(self, folder: Path, cache_dir: Path, **settings: object) -> None:
        self._out = folder / "stdout.txt"
        self._err = folder / "stderr.txt"
        # Settings that the developer's shell may carry must not change what is tested.
        env = {key: value for key, value in os.environ.items() if key.lower() not in Settings.model_fields}
        env |= {"CACHE_DIR": str(cache_dir), "WORKERS": "1"}
        env |= {key.upper(): str(value) for key, value in settings.items()}
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "musetalk_service", "serve", "--host", "127.0.0.1", "--port", "0"],
                cwd=folder,
                env=env,
                stdout=out,
                stderr=err,
            )
        try:
            self.url = self._wait_until_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def websocket_url(self) -> str:
        """Of the WebSocket route, without the user id."""
        return f"ws{self.url.removeprefix('http')}/musetalk/v1/ws"

    @property
    def log(self) -> str:
        """What the server has written to standard error."""
        return self._err.read_text()

    def signal_end(self) -> None:
        """Ask it to end, as an init system does."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """SIGTERM, then wait; fails when it does not end in time, or ends in any other way."""
        if self.process.poll() is None:
            self.signal_end()
        self.wait()

    def wait(self) -> None:
        """Wait for the end that a signal has asked for."""
        try:
            status = self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server does not end on SIGTERM:\n{self.log}") from None
        # uvicorn, when all is done, raises the signal again for the one who sent it to see.
        assert status in (0, -signal.SIGTERM), f"exit status {status}:\n{self.log}"
        assert "Traceback" not in self.log, self.log

    def _wait_until_ready(self) -> str:
        deadline = time.monotonic() + START_TIMEOUT_S
        url: str | None = None
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended while starting:\n{self.log}")
            if url is None:
                said = re.search(r"http://127\.0\.0\.1:\d+", self._out.read_text())
                url = said and said.group()
            if url is not None and _is_healthy(url):
                return url
            time.sleep(0.05)
        raise AssertionError(f"the server is not ready in time:\n{self.log}")


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
