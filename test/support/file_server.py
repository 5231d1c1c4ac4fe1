"""A web server of files in this process, that breaks off, damages, redirects and refuses as it is told.

It also answers as a model hub does: :meth:`FileServer.publish`.
"""

import hashlib
import ssl
import sys
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Trouble:
    """What goes wrong with one answer."""

    status: int | None = None
    """Answer this, with no content."""
    headers: dict[str, str] = field(default_factory=dict)
    """More of them, or others."""
    cut_after: int | None = None
    """Hang up after so many bytes of the body."""
    damage: bool = False
    """Send other bytes than those of the file."""
    ignore_range: bool = False
    drop: bool = False
    """Hang up without any answer."""
    without_length: bool = False
    extra: bytes = b""
    """More bytes than announced, if nothing else tells the length."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]


class FileServer:
    """Files by path. Each answer takes the next trouble that was laid out for its method and path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.always: dict[str, dict[str, str]] = defaultdict(dict)
        """Headers by path."""
        self.troubles: dict[tuple[str, str], deque[Trouble]] = defaultdict(deque)
        self.requests: list[Request] = []
        self.etags = True

    def add(self, path: str, content: bytes) -> str:
        """Serve a file; returns its address."""
        self.files[path] = content
        return self.url + path

    def publish(self, path: str, content: bytes, storage: "FileServer | None" = None) -> str:
        """Serve a file as a hub does, which names its commit; returns the address.

        Args:
            path: /OWNER/NAME/resolve/REVISION/FILE.
            content: the file.
            storage: where it lies; the hub then redirects there, and says the file's size and SHA-256 itself. None: a
                small file, which the hub has itself, and of which it says the checksum that git has.
        """
        owner, name, _, commit, file = path.lstrip("/").split("/", 4)
        self.always[path] = {"X-Repo-Commit": commit}
        if storage is None:
            blob = b"blob %d\0" % len(content) + content
            self.always[path]["ETag"] = f'"{hashlib.sha1(blob, usedforsecurity=False).hexdigest()}"'
            return self.add(path, content)
        self.files.pop(path, None)
        stored = storage.add(f"/{owner}/{name}/{file}?signed", content)
        self.always[path] |= {
            "Location": stored.replace("127.0.0.1", "localhost"),  # hubs tell others from themselves by their names
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
        }
        return self.url + path

    def upset(self, path: str, *troubles: Trouble, method: str = "GET") -> None:
        """Lay out troubles, one for each of the next answers."""
        self.troubles[method, path].extend(troubles)

    def sent(self, method: str) -> list[Request]:
        """What was asked with a method."""
        return [request for request in self.requests if request.method == method]


@contextmanager
def serve_files(tls: ssl.SSLContext | None = None) -> Iterator[FileServer]:
    """A server on a free port of this machine; with ``tls`` it speaks https."""
    http = _Server(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
    scheme = "http" if tls is None else "https"
    server = http.files = FileServer(f"{scheme}://127.0.0.1:{http.server_port}")  # type: ignore[attr-defined]
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up, or does not trust the certificate, is no affair of the test's output."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_CONNECT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None: ...

    def _answer(self) -> None:
        server: FileServer = self.server.files  # type: ignore[attr-defined]
        server.requests.append(Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        waiting = server.troubles[self.command, self.path]
        trouble = waiting.popleft() if waiting else Trouble()
        self.close_connection = True
        if trouble.drop:
            return
        content = server.files.get(self.path)
        headers = server.always[self.path] | trouble.headers
        if trouble.status is not None or content is None:
            status = trouble.status or (302 if "Location" in headers else 404)
            self._send(status, headers | {"Content-Length": "0"}, b"")
            return
        if server.etags:
            headers = {"ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'} | headers
        status, start = 200, 0
        asked = self.headers.get("Range")
        if asked and not trouble.ignore_range:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(content):
                self._send(416, {"Content-Length": "0"}, b"")
                return
            headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} | headers
        body = content[start:]
        if not trouble.without_length:
            headers = {"Content-Length": str(len(body))} | headers
        body = bytes(byte ^ 1 for byte in body) if trouble.damage else body
        self._send(status, headers, (body + trouble.extra)[: trouble.cut_after])

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
