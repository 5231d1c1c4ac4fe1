"""Files of the model hub, by its own client library: logins, mirrors, redirects, errors, and what breaks off.

Of huggingface_hub this is ``get_hf_file_metadata`` and ``http_get``, not ``hf_hub_download`` that calls them: it throws
away what an ended process had (issue 4196 there), compares sizes only, and leaves a folder ``.cache`` behind.
"""

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from musetalk_service import __version__
from musetalk_service.errors import DownloadError
from musetalk_service.utils.download import Interrupted, Observer, OtherFile, Remote, range_start, refusal
from musetalk_service.utils.http_source import broken, follow
from musetalk_service.utils.partial_file import PartialFile

_PIECE: Final = 1 << 16
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_BUSY: Final = (408, 429)
_LIBRARY_WAITS_S: Final = 1.0
"""Before it takes up what broke off."""


class HubClientMissingError(DownloadError):
    """huggingface_hub is not installed, or is too old."""

    def __init__(self) -> None:
        super().__init__(
            "files of the hub come by huggingface_hub 1.32 or newer, which is not installed: "
            "pip install 'musetalk-service[musetalk]'"
        )


class HubSource:
    """Asks a hub, or a mirror of it; a :class:`~musetalk_service.utils.download.Source`."""

    def __init__(self, timeout_s: float, *, token: str | None = None) -> None:
        """
        Args:
            timeout_s: for connecting, and for each piece of an answer.
            token: for the hub; None: the one that ``hf auth login`` has stored, if any.
        """
        self._timeout_s = timeout_s
        self._token = token

    def inspect(self, url: str) -> Remote:
        """Size, SHA-256 where the hub states it (large files), and entity tag of a file.

        Raises :class:`DownloadError` or :class:`Interrupted`.
        """
        library = _library(self._timeout_s)
        with _translated(url, library):
            said = library.get_hf_file_metadata(url, timeout=self._timeout_s, **self._identity(url))
        if said.commit_hash is None:
            raise DownloadError(
                f"{urlsplit(url).netloc} does not answer as a hub does (it names no commit); "
                "HF_ENDPOINT, or a proxy, leads elsewhere"
            )
        is_sum = re.fullmatch("[0-9a-f]{64}", said.etag or "") is not None
        return Remote(said.size, said.etag if is_sum else None, said.etag)

    def transfer(self, url: str, partial: PartialFile, wanted: Remote, observer: Observer) -> None:
        """All that is missing; the library takes up a connection that breaks, five times without a new byte.

        For what it raises see :meth:`musetalk_service.utils.download.Source.transfer`.
        """
        library = _library(self._timeout_s)
        tag = f"sha256 {wanted.sha256}" if wanted.sha256 else f"etag {wanted.etag}" if wanted.etag else ""
        if not tag or partial.tag != tag:
            partial.begin(tag)
        start = partial.size
        observer.progress(start, wanted.size)
        headers = library.utils.build_hf_headers(**self._identity(url)) | {"Accept-Encoding": "identity"}
        try:
            with _translated(url, library), _watched(url, library, partial, observer):
                library.file_download.http_get(
                    url,
                    _Sink(partial, wanted.size, observer),
                    resume_size=start,
                    headers=headers,
                    expected_size=wanted.size,
                    tqdm_class=library.utils.silent_tqdm,
                )
        except DownloadError as error:
            if error.status == 416 and start:
                raise OtherFile(f"{start} bytes have come, and it ends before them") from None
            raise
        except OSError as error:
            if error.errno is not None:  # the disk's; without a number it is the library, which has counted bytes
                raise
            of_all = "" if wanted.size is None else f" of {wanted.size}"
            raise Interrupted(f"the connection ended after {partial.size}{of_all} bytes") from None

    def _identity(self, url: str) -> dict[str, Any]:
        """Who asks: nobody where a token could be read on its way, which is without TLS to another machine."""
        parts = urlsplit(url)
        is_safe = parts.scheme == "https" or parts.hostname in _LOOPBACK
        token = self._token if is_safe else False
        return {"token": token, "library_name": "musetalk-service", "library_version": __version__}


class _Sink:
    """The file as ``http_get`` writes it: appending, and from the start again where a server knows no ranges."""

    def __init__(self, partial: PartialFile, total: int | None, observer: Observer) -> None:
        self._partial = partial
        self._total = total
        self._observer = observer

    def write(self, piece: bytes) -> int:
        if self._total is not None and self._partial.size + len(piece) > self._total:
            raise OtherFile(f"it is longer than the {self._total} bytes expected")
        self._partial.write(piece)
        self._observer.progress(self._partial.size, self._total)
        return len(piece)

    def tell(self) -> int:
        return self._partial.size

    def seek(self, position: int) -> int:
        assert position == 0, "it goes back to begin anew, and only for that"
        return position

    def truncate(self) -> int:
        self._partial.begin(self._partial.tag)
        return 0


def _library(timeout_s: float) -> Any:
    """huggingface_hub, loaded on first need and set to our measures. Raises :class:`HubClientMissingError`."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.file_download
        import huggingface_hub.utils
    except ImportError as error:
        raise HubClientMissingError from error
    if huggingface_hub.__version__.startswith("0."):
        raise HubClientMissingError
    constants = huggingface_hub.constants
    # From the environment it reads this when it is loaded; ours may be from elsewhere.
    constants.HF_HUB_DOWNLOAD_TIMEOUT = timeout_s
    # It keeps nothing of a piece that breaks off: by its own measure up to 10 MB, again and again on a bad line.
    constants.DOWNLOAD_CHUNK_SIZE = _PIECE
    # To say who runs it, it would first ask huggingface.co, whatever HF_ENDPOINT is.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    return huggingface_hub


@contextlib.contextmanager
def _translated(url: str, library: Any) -> Iterator[None]:
    """Tells the library's errors as ours; those of the disk pass."""
    errors, host = library.errors, urlsplit(url).netloc
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise DownloadError(f"HF_HUB_OFFLINE is set, so {host} is not asked") from None
    except errors.GatedRepoError as error:
        # Also where it answers 401, for want of a token: that alone would not open it.
        raise DownloadError(f"{host} answers {error.response.status_code}: {_said(error)}", 403) from None
    except errors.HfHubHTTPError as error:
        answer = error.response
        raise refusal(str(answer.url), answer.status_code, answer.headers.get("Retry-After")) from None
    except errors.HTTPError as error:  # of httpx or httpx2, by the library's version
        if str(error).startswith("407"):
            raise DownloadError(f"no connection to {host} ({error})", 407) from None
        raise broken(url, _cause(error)) from None


def _said(error: Any) -> str:
    return " ".join((error.server_message or "the model is for those who accepted its terms").split())


def _cause(error: Exception) -> Exception:
    """The system's own error under the wrappings, where there is one."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error


@contextlib.contextmanager
def _watched(url: str, library: Any, partial: PartialFile, observer: Observer) -> Iterator[None]:
    """Judges each answer before the library does, and tells the observer of what the library would only log."""

    def judge(answer: Any) -> None:
        if answer.has_redirect_location:
            follow(str(answer.url), answer.headers["Location"])
        if answer.status_code in _BUSY:  # it would wait for as long as it is told
            raise refusal(str(answer.url), answer.status_code, answer.headers.get("Retry-After"))
        if answer.status_code == 206 and range_start(answer.headers.get("Content-Range")) != partial.size:
            raise OtherFile("the server sends another part than it was asked for")

    def tell(record: logging.LogRecord) -> bool:
        what, _, then = record.getMessage().partition("\n")
        if then.startswith("Trying"):
            why = what.rpartition(f"{url}: ")[2].rstrip(".")
            observer.pause(f"the connection was lost ({why})", _LIBRARY_WAITS_S)
        return not then

    hooks: list[Callable[[Any], None]] = library.get_session().event_hooks["response"]
    log = logging.getLogger(library.file_download.__name__)
    hooks.append(judge)
    log.addFilter(tell)
    try:
        yield
    finally:
        hooks.remove(judge)
        log.removeFilter(tell)
