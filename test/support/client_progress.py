"""A line that fills up, on a terminal only."""

import sys
from typing import TextIO

_WIDTH = 30


class Progress:
    """Shows how much of something is done; where nobody watches it shows nothing."""

    def __init__(self, label: str, total: float, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._shown = ""

    def show(self, done: float) -> None:
        """``done`` of the total; draws only what has changed."""
        if not self._stream.isatty() or self._total <= 0:
            return
        share = min(max(done / self._total, 0.0), 1.0)
        filled = round(share * _WIDTH)
        line = f"{self._label:<10} [{'#' * filled}{' ' * (_WIDTH - filled)}] {share:4.0%}"
        if line != self._shown:
            self._stream.write(f"\r{line}")
            self._stream.flush()
            self._shown = line

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            self._stream.write(f"\r{' ' * len(self._shown)}\r")
            self._stream.flush()
            self._shown = ""
