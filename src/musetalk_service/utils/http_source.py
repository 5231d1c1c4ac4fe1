"""One HTTP request with its redirects, by the standard library: proxies of the environment, system certificates.

Redirects are followed here and not by urllib, for two reasons: a token must not travel to another origin, and a model
hub says the size and checksum of a file in the headers of its redirect, not in those of the server it points at.
"""

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from types import TracebackType
from typing import IO, Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from musetalk_service import __version__
from musetalk_service.errors import DownloadError

FAILURES: Final = (OSError, HTTPException)
"""What a request, and reading its answer, may raise when the network fails; urllib's errors are OSErrors."""
_MAX_REDIRECTS: Final = 10
_LINKED: Final = "X-Linked-Size"
"""A hub's redirect that has this describes the file; what it points at need not be asked."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


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

    def __init__(self, timeout_s: float, *, token: str | None = None, token_origin: str = "") -> None:
        """
        Args:
            timeout_s: for connecting, and for each piece of an answer.
            token: sent as bearer to ``token_origin`` alone, over TLS or to this machine.
            token_origin: any address there.
        """
        self._timeout_s = timeout_s
        self._token = token
        self._token_origin = _origin(urlsplit(token_origin))
        self._opener = urllib.request.build_opener(_NoRedirects)

    def request(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The last answer, whatever its status; for HEAD a redirect counts as the last that says the file's size.

        Raises:
            DownloadError: a redirect that is not followed, or a certificate that is not trusted.
            OSError, HTTPException: the network failed (:data:`FAILURES`).
        """
        for _ in range(_MAX_REDIRECTS):
            answer = self._ask(method, url, dict(headers or {}))
            target = answer.headers.get("Location")
            if not 300 <= answer.status < 400 or target is None:
                return answer
            if method == "HEAD" and answer.headers.get(_LINKED) is not None:
                return answer
            with answer:
                url = _follow(url, target)
        raise DownloadError(f"{urlsplit(url).netloc} redirects without end")

    def _ask(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DownloadError(f"{url} is no http or https address")
        headers |= {"User-Agent": f"musetalk-service/{__version__}", "Accept-Encoding": "identity"}
        safe = parts.scheme == "https" or parts.hostname in _LOOPBACK
        if self._token is not None and safe and _origin(parts) == self._token_origin:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(url, headers=headers, method=method)
        try:
            response = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            return Answer(url, error.code, error.headers, error)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise DownloadError(
                    f"the certificate of {parts.hostname} is not trusted ({error.reason.verify_message}); "
                    "SSL_CERT_FILE names other authorities"
                ) from None
            raise
        return Answer(url, response.status, response.headers, response)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as it is; urllib then raises it as an HTTPError."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _follow(url: str, target: str) -> str:
    following = urljoin(url, target)
    if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
        raise DownloadError(f"{urlsplit(url).netloc} redirects from https to {following.split('?')[0]}")
    return following


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    standard = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", parts.port or standard


def reason(error: BaseException) -> str:
    """What a network error says, without Python's wrapping."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__)
