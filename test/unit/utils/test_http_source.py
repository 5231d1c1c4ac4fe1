"""Redirects and proxies: who is asked."""

import ssl
import urllib.error
import urllib.request

import pytest

from musetalk_service.errors import DownloadError
from musetalk_service.utils.http_source import HttpSource
from support.file_server import FileServer, Trouble

TIMEOUT_S = 20.0


def _read(source: HttpSource, url: str) -> bytes:
    with source.request("GET", url) as answer:
        return answer.read(1 << 20)


def test_a_redirect_to_another_origin_is_followed(file_server: FileServer, other_file_server: FileServer) -> None:
    target = other_file_server.add("/data", b"content")
    file_server.always["/file"] = {"Location": "/moved"}
    file_server.always["/moved"] = {"Location": target}
    assert _read(HttpSource(TIMEOUT_S), file_server.url + "/file") == b"content"


def test_the_proxy_of_the_environment_is_used(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    file_server.files["http://hub.invalid/data"] = b"by proxy"
    monkeypatch.setenv("http_proxy", file_server.url)
    assert _read(HttpSource(TIMEOUT_S), "http://hub.invalid/data") == b"by proxy"


def test_https_goes_through_the_proxy_as_a_tunnel(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", file_server.url)
    with pytest.raises(OSError, match="Tunnel connection failed: 404"):  # it leads nowhere
        _read(HttpSource(TIMEOUT_S), "https://hub.invalid/data")


def test_no_proxy_is_used_for_hosts_that_are_named(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert _read(HttpSource(TIMEOUT_S), file_server.add("/data", b"direct")) == b"direct"


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/hostname", "data:,x"])
def test_other_addresses_are_refused(file_server: FileServer, target: str) -> None:
    file_server.always["/file"] = {"Location": target}
    for url in (target, file_server.url + "/file"):
        with pytest.raises(DownloadError, match="is no http or https address"):
            HttpSource(TIMEOUT_S).request("GET", url)


def test_redirects_in_a_circle_end(file_server: FileServer) -> None:
    file_server.always["/a"] = {"Location": "/b"}
    file_server.always["/b"] = {"Location": "/a"}
    with pytest.raises(DownloadError, match="redirects without end"):
        HttpSource(TIMEOUT_S).request("GET", file_server.url + "/a")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_redirect_keeps_method_and_range(file_server: FileServer, status: int) -> None:
    file_server.add("/data", b"content")
    for method in ("HEAD", "GET"):
        file_server.upset("/file", Trouble(status=status, headers={"Location": "/data"}), method=method)
        with HttpSource(TIMEOUT_S).request(method, file_server.url + "/file", {"Range": "bytes=3-"}) as answer:
            assert answer.status == 206
        assert file_server.requests[-1].method == method
        assert file_server.requests[-1].headers["range"] == "bytes=3-"


def test_from_https_nothing_leads_back_to_http(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def open_url(request: urllib.request.Request, timeout: float) -> object:
        asked.append(request.full_url)
        return urllib.request.build_opener(_Keep).open(file_server.url + "/file", timeout=timeout)

    file_server.always["/file"] = {"Location": file_server.url + "/data"}
    source = HttpSource(TIMEOUT_S)
    monkeypatch.setattr(source._opener, "open", open_url)
    with pytest.raises(DownloadError, match="redirects from https to http://127"):
        source.request("GET", "https://hub.invalid/file")
    assert asked == ["https://hub.invalid/file"]


def test_a_certificate_that_is_not_trusted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ssl.SSLCertVerificationError()
    problem.verify_message = "self-signed certificate"

    def open_url(request: urllib.request.Request, timeout: float) -> object:
        raise urllib.error.URLError(problem)

    source = HttpSource(TIMEOUT_S)
    monkeypatch.setattr(source._opener, "open", open_url)
    with pytest.raises(DownloadError, match=r"hub\.invalid is not trusted \(self-signed.*SSL_CERT_FILE"):
        source.request("GET", "https://hub.invalid/file")


class _Keep(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None
