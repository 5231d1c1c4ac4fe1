"""Fetching one large file over an unreliable network: resumed, checked, and put in its place whole.

What is resumed is known to be the same file, by the checksum that the server states or by its entity tag (RFC 9110,
8.8.3); otherwise the download begins again. A file of which the checksum is known is never put in place without it.
"""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException, responses
from pathlib import Path
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

from musetalk_service.errors import DownloadError
from musetalk_service.utils.http_source import FAILURES, Answer, HttpSource, reason
from musetalk_service.utils.partial_file import PartialFile

T = TypeVar("T")
_PIECE: Final = 1 << 18
_BEGINNINGS: Final = 3
"""How often a file is begun at most: it may change, or come damaged, while it is fetched."""
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Remote:
    """What a server says of a file; None where it says nothing."""

    size: int | None
    sha256: str | None
    """Model hubs state it for large files."""
    etag: str | None = None


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


class _Silence:
    def progress(self, done: int, total: int | None) -> None: ...

    def pause(self, why: str, seconds: float) -> None: ...


class _Interrupted(Exception):
    """Worth trying again."""

    def __init__(self, why: str, retry_after_s: float | None = None, *, is_hopeless: bool = False) -> None:
        """``is_hopeless``: as the first thing that happens this means that there is no network."""
        super().__init__(why)
        self.retry_after_s = retry_after_s
        self.is_hopeless = is_hopeless


class _OtherFile(Exception):
    """What comes is not, or no longer, the file that was begun."""


class Downloader:
    """Fetches files; its waits and its clock can be replaced."""

    def __init__(
        self,
        source: HttpSource,
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
        return self._persist(lambda: self._inspect(url), lambda: 0, observer or _Silence())

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
            wanted = sha256 or remote.sha256
            total = size if size is not None else remote.size
            try:
                self._persist(
                    lambda: self._transfer(url, partial, wanted, total, observer),  # noqa: B023  (called at once)
                    lambda: partial.size,
                    observer,
                )
                if wanted is not None and partial.sha256 != wanted:
                    raise _OtherFile(f"it has sha256 {partial.sha256}, expected {wanted}")
            except _OtherFile as error:
                trouble = str(error)
                partial.begin("")
                remote = self.inspect(url, observer)
                continue
            fetched = Fetched(partial.size, partial.sha256, checked=wanted is not None)
            partial.finish()
            return fetched
        raise DownloadError(f"{url} does not give the file that was wanted: {trouble}")

    def _transfer(
        self, url: str, partial: PartialFile, sha256: str | None, total: int | None, observer: Observer
    ) -> None:
        """One request for all that is missing."""
        if partial.size and not (partial.tag == f"sha256 {sha256}" or (sha256 is None and partial.tag[:5] == "etag ")):
            partial.begin("")
        if partial.size and partial.size == total:
            return
        start = partial.size
        with self._ask("GET", url, {"Range": f"bytes={start}-"} if start else {}) as answer:
            if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                raise _OtherFile(f"{start} bytes have come, and it ends before them")
            if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                raise self._refusal(answer)
            etag = _strong_etag(answer.headers)
            tag = f"sha256 {sha256}" if sha256 else f"etag {etag}" if etag else ""
            if answer.status == HTTPStatus.OK:  # also from a server that knows no ranges
                partial.begin(tag)
            elif not start or tag != partial.tag or _range_start(answer.headers) != start:
                raise _OtherFile("it has changed while it was fetched")
            length = _number(answer.headers.get("Content-Length"))
            promised = None if length is None else partial.size + length
            if total is not None and promised is not None and promised != total:
                raise _OtherFile(f"it has {promised} bytes, expected {total}")
            self._read(answer, partial, total if total is not None else promised, observer)

    def _read(self, answer: Answer, partial: PartialFile, total: int | None, observer: Observer) -> None:
        observer.progress(partial.size, total)
        while True:
            try:
                piece = answer.read(_PIECE)
            except FAILURES as error:
                raise _Interrupted(f"the connection was lost ({reason(error)})") from None
            if not piece:
                break
            if total is not None and partial.size + len(piece) > total:
                raise _OtherFile(f"it is longer than the {total} bytes expected")
            partial.write(piece)
            observer.progress(partial.size, total)
        if total is not None and partial.size < total:
            raise _Interrupted(f"the connection ended after {partial.size} of {total} bytes")

    def _inspect(self, url: str) -> Remote:
        with self._ask("HEAD", url, {}) as answer:
            if answer.status in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED):
                return Remote(None, None)
            if not 200 <= answer.status < 400:
                raise self._refusal(answer)
            headers = answer.headers
            linked = (headers.get("X-Linked-Etag") or "").strip('"').lower()
            is_sum = len(linked) == 64 and set(linked) <= set("0123456789abcdef")
            size = headers.get("X-Linked-Size") or (headers.get("Content-Length") if answer.status < 300 else None)
            return Remote(_number(size), linked if is_sum else None, _strong_etag(headers))

    def _ask(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        try:
            return self._source.request(method, url, headers)
        except FAILURES as error:
            inner = getattr(error, "reason", error)
            is_passing = isinstance(inner, TimeoutError | ConnectionResetError | ConnectionAbortedError | HTTPException)
            why = f"no connection to {urlsplit(url).netloc} ({reason(error)})"
            raise _Interrupted(why, is_hopeless=not is_passing) from None

    def _persist(self, attempt: Callable[[], T], progress: Callable[[], int], observer: Observer) -> T:
        """Try until it works, is refused, or ``retries`` tries in a row have brought nothing new."""
        failures, furthest = 0, progress()
        while True:
            try:
                result = attempt()
                self._has_answered = True
                return result
            except _Interrupted as error:
                why, asked = str(error), error.retry_after_s
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

    def _refusal(self, answer: Answer) -> Exception:
        status = answer.status
        phrase = responses.get(status, "")
        why = f"{urlsplit(answer.url).netloc} answers {status} {phrase}".rstrip()
        if status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS):
            return _Interrupted(why, self._retry_after(answer.headers))
        return DownloadError(why, status)

    def _retry_after(self, headers: Message) -> float | None:
        """Seconds, from either form (RFC 9110, 10.2.3)."""
        text = headers.get("Retry-After")
        if text is None or text.strip().isdigit():
            return None if text is None else float(text)
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
        return max(0.0, moment.timestamp() - self._now())


def _strong_etag(headers: Message) -> str | None:
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else None


def _range_start(headers: Message) -> int | None:
    """Where the body of a 206 begins: ``bytes 100-199/200``."""
    unit, _, span = (headers.get("Content-Range") or "").partition(" ")
    return _number(span.split("-")[0]) if unit == "bytes" else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdecimal() and text.isascii() else None
