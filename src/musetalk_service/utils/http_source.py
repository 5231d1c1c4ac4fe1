"""Files over HTTP by the standard library: proxies of the environment, system certificates, no token.

What is resumed is known to be the same file, by its checksum or by the server's entity tag (RFC 9110, 8.8.3); otherwise
it begins again. Redirects are followed here and not by urllib, so that none leads from https to http, or out of both.
"""

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException
from types import TracebackType
from typing import IO, Any, Final
from urllib.parse import urljoin, urlsplit

from musetalk_service import __version__
from musetalk_service.errors import DownloadError
from musetalk_service.utils.download import Interrupted, Observer, OtherFile, Remote, number, range_start, refusal
from musetalk_service.utils.partial_file import PartialFile

FAILURES: Final = (OSError, HTTPException)
"""What a request, and reading its answer, may raise when the network fails; urllib's errors are OSErrors."""
_MAX_REDIRECTS: Final = 10
_PIECE: Final = 1 << 18


class Answer:
    """A status, headers, and a body to read in pieces. To be closed; a context manager."""

    def __init__(self, url: str, status: int, headers: Message, body: IO[bytes]) -> None:
        self.url = url
        self.status = status
        self.headers = headers
        self._body = body

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; empty at the end, which a broken connection can look like, too."""
        return self._body.read(size)

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._body.close()


class HttpSource:
    """Asks, and follows redirects over http and https, never from https back to http."""

    def __init__(self, timeout_s: float) -> None:
        """``timeout_s``: for connecting, and for each piece of an answer."""
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirects)

    def inspect(self, url: str) -> Remote:
        """What the server says of a file. Raises :class:`DownloadError` or :class:`Interrupted`."""
        with self._try("HEAD", url, {}) as answer:
            if answer.status in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED):
                return Remote(None)
            if not 200 <= answer.status < 300:
                raise refusal(answer.url, answer.status, answer.headers.get("Retry-After"))
            return Remote(number(answer.headers.get("Content-Length")))

    def transfer(self, url: str, partial: PartialFile, wanted: Remote, observer: Observer) -> None:
        """One request for all that is missing; see :meth:`Source.transfer` for what it raises."""
        sha256, total, start = wanted.sha256, wanted.size, partial.size
        if start and not (partial.tag == f"sha256 {sha256}" or (sha256 is None and partial.tag[:5] == "etag ")):
            partial.begin("")
            start = 0
        if start and start == total:
            return
        with self._try("GET", url, {"Range": f"bytes={start}-"} if start else {}) as answer:
            if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                raise OtherFile(f"{start} bytes have come, and it ends before them")
            if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                raise refusal(answer.url, answer.status, answer.headers.get("Retry-After"))
            etag = _strong_etag(answer.headers)
            tag = f"sha256 {sha256}" if sha256 else f"etag {etag}" if etag else ""
            if answer.status == HTTPStatus.OK:  # also from a server that knows no ranges
                partial.begin(tag)
            elif not start or tag != partial.tag or range_start(answer.headers.get("Content-Range")) != start:
                raise OtherFile("it has changed while it was fetched")
            length = number(answer.headers.get("Content-Length"))
            promised = None if length is None else partial.size + length
            if total is not None and promised is not None and promised != total:
                raise OtherFile(f"it has {promised} bytes, expected {total}")
            _read(answer, partial, total if total is not None else promised, observer)

    def request(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The last answer, whatever its status.

        Raises:
            DownloadError: a redirect that is not followed, or a certificate that is not trusted.
            OSError, HTTPException: the network failed (:data:`FAILURES`).
        """
        for _ in range(_MAX_REDIRECTS):
            answer = self._ask(method, url, dict(headers or {}))
            target = answer.headers.get("Location")
            if not 300 <= answer.status < 400 or target is None:
                return answer
            with answer:
                url = follow(url, target)
        raise DownloadError(f"{urlsplit(url).netloc} redirects without end")

    def _try(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        try:
            return self.request(method, url, headers)
        except FAILURES as error:
            raise broken(url, error) from None

    def _ask(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DownloadError(f"{url} is no http or https address")
        headers |= {"User-Agent": f"musetalk-service/{__version__}", "Accept-Encoding": "identity"}
        request = urllib.request.Request(url, headers=headers, method=method)
        try:
            response = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            return Answer(url, error.code, error.headers, error)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise broken(url, error) from None
            raise
        return Answer(url, response.status, response.headers, response)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as it is; urllib then raises it as an HTTPError."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _read(answer: Answer, partial: PartialFile, total: int | None, observer: Observer) -> None:
    observer.progress(partial.size, total)
    while True:
        try:
            piece = answer.read(_PIECE)
        except FAILURES as error:
            raise Interrupted(f"the connection was lost ({_reason(error)})") from None
        if not piece:
            break
        if total is not None and partial.size + len(piece) > total:
            raise OtherFile(f"it is longer than the {total} bytes expected")
        partial.write(piece)
        observer.progress(partial.size, total)
    if total is not None and partial.size < total:
        raise Interrupted(f"the connection ended after {partial.size} of {total} bytes")


def follow(url: str, target: str) -> str:
    """Where a redirect leads. Raises :class:`DownloadError` where that is from https to anything else."""
    following = urljoin(url, target)
    if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
        raise DownloadError(f"{urlsplit(url).netloc} redirects from https to {following.split('?')[0]}")
    return following


def broken(url: str, error: Exception) -> DownloadError | Interrupted:
    """What it means that there was no answer: never, or perhaps later."""
    inner = _unwrapped(error)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return DownloadError(
            f"the certificate of {urlsplit(url).hostname} is not trusted ({inner.verify_message}); "
            "SSL_CERT_FILE names other authorities"
        )
    is_passing = not isinstance(inner, OSError) or isinstance(
        inner, TimeoutError | ConnectionResetError | ConnectionAbortedError
    )
    return Interrupted(f"no connection to {urlsplit(url).netloc} ({_reason(error)})", is_hopeless=not is_passing)


def _strong_etag(headers: Message) -> str | None:
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else None


def _unwrapped(error: Exception) -> object:
    """What urllib wraps; of other errors of TLS ``reason`` is only the name."""
    return error.reason if isinstance(error, urllib.error.URLError) else error


def _reason(error: Exception) -> str:
    inner = _unwrapped(error)
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__)
