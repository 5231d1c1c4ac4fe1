"""Downloads in tests: no waiting, a clock that stands still, and a record of what was told."""

from musetalk_service.utils.download import Downloader, Source

NOW = 1_700_000_000.0
"""Seconds since 1970."""


class Watch:
    """Waits no moment, and remembers."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.seen: list[tuple[int, int | None]] = []
        self.pauses: list[str] = []

    def progress(self, done: int, total: int | None) -> None:
        self.seen.append((done, total))

    def pause(self, why: str, seconds: float) -> None:
        self.pauses.append(why)

    def asking(self, source: Source, retries: int) -> Downloader:
        """A downloader of that source."""
        return Downloader(source, retries=retries, longest_wait_s=60.0, sleep=self.slept.append, now=lambda: NOW)
