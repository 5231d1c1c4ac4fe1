"""Fetching one large file over an unreliable network: with patience, checked, and put in its place whole.

How the bytes come is a :class:`Source`'s affair. A file whose checksum is known is never put in place without it.
"""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import responses
from pathlib import Path
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

from musetalk_service.errors import DownloadError
from musetalk_service.utils.partial_file import PartialFile

T = TypeVar("T")
_BEGINNINGS: Final = 2
"""How often a file is begun at most: it may change, or come damaged, while it is fetched."""
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Remote:
    """What is known of a file that a server has; None where nothing is."""

    size: int | None
    """Bytes."""
    sha256: str | None = None
    """Lower-case hexadecimal."""
    etag: str | None = None
    """By which the server tells its versions (RFC 9110, 8.8.3)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that has come."""

    size: int
    sha256: str
    checked: bool
    """Whether the checksum was known before, to us or to the server."""


class Observer(Protocol):
    """Hears how a download goes on."""

    def progress(self, done: int, total: int | None) -> None:
        """Bytes there, of so many."""

    def pause(self, why: str, seconds: float) -> None:
        """The connection was lost, or the server is busy; after this many seconds it is tried again."""


class Interrupted(Exception):
    """Worth trying again."""

    def __init__(self, why: str, retry_after: str | None = None, *, is_hopeless: bool = False) -> None:
        """
        Args:
            why: for people.
            retry_after: what the server says of when, as in the header of that name (RFC 9110, 10.2.3).
            is_hopeless: as the first thing that happens this means that there is no network.
        """
        super().__init__(why)
        self.retry_after = retry_after
        self.is_hopeless = is_hopeless


class OtherFile(Exception):
    """What comes is not, or no longer, the file that was begun."""


class Source(Protocol):
    """Knows how to ask."""

    def inspect(self, url: str) -> Remote:
        """What the server says of a file. Raises :class:`DownloadError` or :class:`Interrupted`."""

    def transfer(self, url: str, partial: PartialFile, wanted: Remote, observer: Observer) -> None:
        """Bring what is missing of a file, or all of it where ``partial`` is of another version.

        Raises:
            Interrupted: it broke off; what came is kept.
            OtherFile: it is none that could go on from what is there, or it has not the size that is wanted.
            DownloadError: the server refuses.
            OSError: it cannot be written.
        """


class _Silence:
    def progress(self, done: int, total: int | None) -> None: ...

    def pause(self, why: str, seconds: float) -> None: ...


class Downloader:
    """Fetches files; its waits and its clock can be replaced."""

    def __init__(
        self,
        source: Source,
        *,
        retries: int,
        longest_wait_s: float,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            source: asks.
            retries: tries without a new byte, one after the other, before it gives up.
            longest_wait_s: a server that asks for a longer pause is not waited for.
            sleep: waits, seconds.
            now: seconds since 1970, for pauses that a server gives as a date.
        """
        self._source = source
        self._retries = retries
        self._longest_wait_s = longest_wait_s
        self._sleep = sleep
        self._now = now
        self._has_answered = False

    def inspect(self, url: str, observer: Observer | None = None) -> Remote:
        """What the server says of a file, without fetching it. Raises :class:`DownloadError`."""
        return self._persist(lambda: self._source.inspect(url), lambda: 0, observer or _Silence())

    def fetch(
        self,
        url: str,
        target: Path,
        *,
        sha256: str | None = None,
        size: int | None = None,
        remote: Remote | None = None,
        observer: Observer | None = None,
    ) -> Fetched:
        """Bring a file to its place. What came before it broke off is kept for the next time.

        Args:
            url: where it is.
            target: where it goes; what is there is replaced in the end.
            sha256: what it must have, lower-case hexadecimal; None: what the server states, if it does.
            size: what it must have, bytes; None: what the server states.
            remote: what :meth:`inspect` has said, if it was asked already.
            observer: hears of it.

        Raises:
            DownloadError: it cannot be fetched, is another file, or cannot be written.
        """
        watcher = observer or _Silence()
        remote = remote or self.inspect(url, watcher)
        host = urlsplit(url).netloc
        for known, stated, what in ((sha256, remote.sha256, "sha256"), (size, remote.size, "bytes")):
            if known is not None and stated is not None and known != stated:
                raise DownloadError(f"{host} has another file at {url}: {what} {stated}, expected {known}")
        try:
            with PartialFile(target) as partial:
                return self._bring(url, partial, remote, sha256, size, watcher)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DownloadError(f"no space left for {target}; what has come is kept") from None
            raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from None

    def _bring(
        self,
        url: str,
        partial: PartialFile,
        remote: Remote,
        sha256: str | None,
        size: int | None,
        observer: Observer,
    ) -> Fetched:
        trouble = ""
        for _ in range(_BEGINNINGS):
            wanted = Remote(size if size is not None else remote.size, sha256 or remote.sha256, remote.etag)
            try:
                self._persist(
                    lambda: self._source.transfer(url, partial, wanted, observer),  # noqa: B023  (called at once)
                    lambda: partial.size,
                    observer,
                )
                if wanted.sha256 is not None and partial.sha256 != wanted.sha256:
                    raise OtherFile(f"it has sha256 {partial.sha256}, expected {wanted.sha256}")
            except OtherFile as error:
                trouble = str(error)
                partial.begin("")
                remote = self.inspect(url, observer)
                continue
            fetched = Fetched(partial.size, partial.sha256, checked=wanted.sha256 is not None)
            partial.finish()
            return fetched
        raise DownloadError(f"{url} does not give the file that was wanted: {trouble}")

    def _persist(self, attempt: Callable[[], T], progress: Callable[[], int], observer: Observer) -> T:
        """Try until it works, is refused, or ``retries`` tries in a row have brought nothing new."""
        failures, furthest = 0, progress()
        while True:
            try:
                result = attempt()
                self._has_answered = True
                return result
            except Interrupted as error:
                why, asked = str(error), self._seconds(error.retry_after)
                if error.is_hopeless and not self._has_answered:
                    raise DownloadError(why) from None
            if progress() > furthest:
                failures, furthest = 0, progress()
            failures += 1
            if failures > self._retries:
                raise DownloadError(f"{why}; tried {failures} times")
            seconds = asked if asked is not None else min(2.0 ** (failures - 1), _LONGEST_PAUSE_S)
            if seconds > self._longest_wait_s:
                raise DownloadError(f"{why}; it asks to come back in {seconds:.0f} s")
            observer.pause(why, seconds)
            self._sleep(seconds)

    def _seconds(self, retry_after: str | None) -> float | None:
        """From either form of the header."""
        if retry_after is None or retry_after.strip().isdigit():
            return None if retry_after is None else float(retry_after)
        try:
            moment = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
        return max(0.0, moment.timestamp() - self._now())


def refusal(url: str, status: int, retry_after: str | None) -> DownloadError | Interrupted:
    """What an answer that is no success means: never, or later."""
    why = f"{urlsplit(url).netloc} answers {status} {responses.get(status, '')}".rstrip()
    if status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS):
        return Interrupted(why, retry_after)
    return DownloadError(why, status)


def range_start(content_range: str | None) -> int | None:
    """Where the body of a 206 begins, by its header: ``bytes 100-199/200``."""
    unit, _, span = (content_range or "").partition(" ")
    return number(span.split("-")[0]) if unit == "bytes" else None


def number(text: str | None) -> int | None:
    """What a header gives in digits; None: nothing, or something else."""
    return int(text) if text and text.strip().isdecimal() and text.isascii() else None
