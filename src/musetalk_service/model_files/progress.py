"""How far a file has come: a bar at a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from typing import Final, TextIO

_BAR: Final = 24
_REDRAW_S: Final = 0.1
_LINE_S: Final = 30.0
"""Between lines where there is no terminal."""
_UNITS: Final = ((10**9, "GB", 2), (10**6, "MB", 1), (10**3, "kB", 1))


def human(size: float) -> str:
    """Bytes as people read them: 3.40 GB."""
    for unit, name, digits in _UNITS:
        if size >= unit:
            return f"{size / unit:.{digits}f} {name}"
    return f"{size:.0f} bytes"


class ProgressBar:
    """Shows one file. A context manager that ends its line."""

    def __init__(
        self,
        label: str,
        stream: TextIO,
        *,
        lines: bool = True,
        amount: Callable[[float], str] = human,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            label: what it is about.
            stream: where it is shown.
            lines: whether to write anything where there is no terminal.
            amount: writes what is counted, with its unit.
            now: monotonic seconds.
        """
        self._label = label
        self._stream = stream
        self._amount = amount
        self._now = now
        self._is_terminal = stream.isatty()
        self._is_shown = lines or self._is_terminal
        self._began: tuple[float, int] | None = None
        self._shown_at = float("-inf")
        self._width = 0

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_line()

    def progress(self, done: int, total: int | None) -> None:
        """So much is there, of so much."""
        now = self._now()
        if self._began is None or done < self._began[1]:  # what was there already says nothing of the speed
            self._began = now, done
            self._shown_at = now if not self._is_terminal else float("-inf")
        is_last = done == total
        if self._is_shown and (is_last or now - self._shown_at >= (_REDRAW_S if self._is_terminal else _LINE_S)):
            self._shown_at = now
            self._show(self._describe(done, total, now))

    def pause(self, why: str, seconds: float) -> None:
        """Something went wrong, and is tried again."""
        self._end_line()
        self._stream.write(f"{self._label}: {why}; again in {seconds:.0f} s\n")
        self._stream.flush()

    def _describe(self, done: int, total: int | None, now: float) -> str:
        assert self._began is not None
        seconds, came = now - self._began[0], done - self._began[1]
        speed = f"  {self._amount(came / seconds)}/s" if seconds > 0 and came else ""
        if not total:
            return f"{self._amount(done)}{speed}  {self._label}"
        filled = _BAR * done // total
        bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] " if self._is_terminal else ""
        left = f"  {_clock((total - done) * seconds / came)} left" if came and done < total else ""
        amounts = f"{self._amount(done)} of {self._amount(total)}"
        return f"{bar}{100 * done // total:3d} %  {amounts}{speed}{left}  {self._label}"

    def _show(self, text: str) -> None:
        if self._is_terminal:
            self._stream.write(f"\r{text:<{self._width}}")
            self._width = len(text)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def _end_line(self) -> None:
        if self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
