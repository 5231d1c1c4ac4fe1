"""Files of a hub by its own client library, over a network that breaks off, damages, redirects and refuses."""

import errno
import hashlib
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from musetalk_service.errors import DownloadError
from musetalk_service.model_files.hub import HubClientMissingError, HubSource
from musetalk_service.utils.certificates import make_self_signed
from musetalk_service.utils.download import Downloader, Remote
from musetalk_service.utils.partial_file import PartialFile
from support import download_watch
from support.file_server import FileServer, Trouble, serve_files

AT = "/lab/model/resolve/c0ffee/unet.pth"
STORED = "/lab/model/unet.pth?signed"
PIECE = 1 << 16
CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = os.urandom(300_000)


class Watch(download_watch.Watch):
    """Asks the hub."""

    def downloader(self, retries: int = 3, token: str | None = None) -> Downloader:
        return self.asking(HubSource(20.0, token=token), retries)


@pytest.fixture
def watch(library_waits: list[float]) -> Watch:
    return Watch()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "unet.pth"


@pytest.fixture
def hub(file_server: FileServer, library_waits: list[float]) -> FileServer:
    return file_server


@pytest.fixture
def storage(other_file_server: FileServer) -> FileServer:
    return other_file_server


@pytest.fixture
def url(hub: FileServer, storage: FileServer) -> str:
    """A large file, which the hub has elsewhere."""
    return hub.publish(AT, CONTENT, storage)


def _ranges(server: FileServer) -> list[str | None]:
    return [request.headers.get("range") for request in server.sent("GET")]


def _asked_as(server: FileServer) -> set[str | None]:
    return {request.headers.get("authorization") for request in server.requests}


def test_a_large_file_is_described_by_the_redirect(url: str, storage: FileServer, watch: Watch) -> None:
    assert watch.downloader().inspect(url) == Remote(len(CONTENT), SHA256, SHA256)
    assert storage.requests == []


def test_a_small_file_has_no_sum_that_is_ours(hub: FileServer, watch: Watch) -> None:
    assert watch.downloader().inspect(hub.publish(AT, b"what is up, doc?")) == Remote(
        16, None, "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
    )


def test_a_file_comes_whole(url: str, watch: Watch, target: Path) -> None:
    fetched = watch.downloader().fetch(url, target, observer=watch)
    assert (fetched.size, fetched.sha256, fetched.checked) == (len(CONTENT), SHA256, True)
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == [target.name]
    assert watch.seen[0] == (0, len(CONTENT)) and watch.seen[-1] == (len(CONTENT), len(CONTENT))
    assert len(watch.seen) > 4


def test_without_a_known_checksum_it_is_told(hub: FileServer, watch: Watch, target: Path) -> None:
    fetched = watch.downloader().fetch(hub.publish(AT, CONTENT), target)
    assert (fetched.sha256, fetched.checked) == (SHA256, False)


def test_the_token_is_for_the_hub_alone(
    url: str, hub: FileServer, storage: FileServer, watch: Watch, target: Path
) -> None:
    storage.upset(STORED, Trouble(cut_after=100_000))
    watch.downloader(token="hf_secret").fetch(url, target)
    assert _asked_as(hub) == {"Bearer hf_secret"}
    assert _asked_as(storage) == {None}
    assert "musetalk-service/" in hub.requests[0].headers["user-agent"]


def test_a_login_is_used_where_there_is_no_token(
    url: str, hub: FileServer, storage: FileServer, watch: Watch, target: Path
) -> None:
    from huggingface_hub import constants

    Path(constants.HF_TOKEN_PATH).parent.mkdir()
    Path(constants.HF_TOKEN_PATH).write_text("hf_login")
    watch.downloader().fetch(url, target)
    assert (_asked_as(hub), _asked_as(storage)) == ({"Bearer hf_login"}, {None})


def test_nobody_else_is_asked(
    url: str, hub: FileServer, watch: Watch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    watch.downloader().fetch(url, target)
    assert {request.path for request in hub.requests} == {AT}


def test_through_a_proxy_in_the_open_no_token_is_sent(
    hub: FileServer, watch: Watch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(AT, CONTENT)
    hub.files[f"http://hub.invalid{AT}"] = hub.files[AT]
    hub.always[f"http://hub.invalid{AT}"] = hub.always[AT]
    monkeypatch.setenv("http_proxy", hub.url)
    watch.downloader(token="hf_secret").fetch(f"http://hub.invalid{AT}", target)
    assert target.read_bytes() == CONTENT
    assert _asked_as(hub) == {None}


def test_after_a_break_only_the_rest_is_asked_for(
    url: str, storage: FileServer, watch: Watch, target: Path, library_waits: list[float]
) -> None:
    storage.upset(STORED, Trouble(cut_after=100_000), Trouble(cut_after=70_000), Trouble(drop=True))
    watch.downloader(retries=0).fetch(url, target, observer=watch)
    assert target.read_bytes() == CONTENT
    assert _ranges(storage) == [None, f"bytes={PIECE}-", f"bytes={2 * PIECE}-", f"bytes={2 * PIECE}-"]
    assert (watch.slept, len(library_waits), len(watch.pauses)) == ([], 3, 3)
    assert watch.pauses[0].startswith("the connection was lost (peer closed connection")
    assert watch.pauses[2] == "the connection was lost (Server disconnected without sending a response)"


def test_what_has_come_is_kept_for_the_next_process(url: str, storage: FileServer, watch: Watch, target: Path) -> None:
    storage.upset(STORED, Trouble(cut_after=200_000), *[Trouble(status=503)] * 3)
    with pytest.raises(DownloadError, match=r"503 Service Unavailable; tried 3 times"):
        watch.downloader(retries=2).fetch(url, target)
    assert watch.slept == [1.0, 2.0]
    assert not target.exists()
    watch.downloader().fetch(url, target)
    assert _ranges(storage)[-1] == f"bytes={3 * PIECE}-"
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == [target.name]


def test_a_break_without_end_ends_it(
    url: str, storage: FileServer, watch: Watch, target: Path, library_waits: list[float]
) -> None:
    storage.upset(STORED, *[Trouble(drop=True)] * 99)
    with pytest.raises(DownloadError, match=r"no connection to .*disconnected.*; tried 2 times"):
        watch.downloader(retries=1).fetch(url, target, observer=watch)
    assert len(storage.sent("GET")) == 12  # the library tries six times
    assert len(watch.pauses) == 11 == len(library_waits) + len(watch.slept)


def test_a_server_that_knows_no_ranges_begins_again(url: str, storage: FileServer, watch: Watch, target: Path) -> None:
    storage.upset(STORED, Trouble(cut_after=100_000), Trouble(ignore_range=True))
    watch.downloader().fetch(url, target, observer=watch)
    assert target.read_bytes() == CONTENT
    assert watch.seen[-1] == (len(CONTENT), len(CONTENT))


def test_another_part_is_not_appended(hub: FileServer, watch: Watch, target: Path) -> None:
    url = hub.publish(AT, CONTENT)
    hub.upset(AT, Trouble(cut_after=100_000), Trouble(headers={"Content-Range": "bytes 0-299999/300000"}))
    watch.downloader().fetch(url, target)
    assert target.read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_again(url: str, storage: FileServer, watch: Watch, target: Path) -> None:
    storage.upset(STORED, Trouble(damage=True))
    watch.downloader().fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert len(storage.sent("GET")) == 2


def test_a_file_that_stays_damaged_is_not_put_in_place(
    url: str, storage: FileServer, watch: Watch, target: Path
) -> None:
    storage.files[STORED] = OTHER
    target.parent.mkdir()
    target.write_bytes(b"before")
    with pytest.raises(DownloadError, match=f"sha256 [0-9a-f]*, expected {SHA256}"):
        watch.downloader().fetch(url, target, sha256=SHA256)
    assert len(storage.sent("GET")) == 2
    assert target.read_bytes() == b"before"
    assert os.listdir(target.parent) == [target.name]


def test_damage_before_a_break_is_found(url: str, storage: FileServer, watch: Watch, target: Path) -> None:
    storage.upset(STORED, Trouble(damage=True, cut_after=100_000))
    watch.downloader().fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert _ranges(storage) == [None, f"bytes={PIECE}-", None]


@pytest.mark.parametrize("is_large", [True, False])
def test_a_file_that_changes_between_processes_is_not_mixed(
    hub: FileServer, storage: FileServer, watch: Watch, target: Path, is_large: bool
) -> None:
    place = storage if is_large else None
    server, path = (storage, STORED) if is_large else (hub, AT)
    server.upset(path, Trouble(cut_after=100_000), Trouble(status=503))
    with pytest.raises(DownloadError, match="503"):
        watch.downloader(retries=0).fetch(hub.publish(AT, CONTENT, place), target)
    watch.downloader().fetch(hub.publish(AT, OTHER, place), target)
    assert target.read_bytes() == OTHER
    assert _ranges(server)[-1] is None


def test_more_than_there_is_begins_anew(url: str, storage: FileServer, watch: Watch, target: Path) -> None:
    with PartialFile(target) as partial:
        partial.begin(f"sha256 {SHA256}")
        partial.write(CONTENT + b"more")
    watch.downloader().fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert _ranges(storage) == ["bytes=300004-", None]


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"sha256": "0" * 64}, f"has another file.*sha256 {SHA256}, expected 0*"),
        ({"size": 299_999}, "has another file.*bytes 300000, expected 299999"),
    ],
)
def test_another_file_is_refused_before_it_comes(
    url: str, storage: FileServer, watch: Watch, target: Path, known: dict[str, str | int], message: str
) -> None:
    with pytest.raises(DownloadError, match=message):
        watch.downloader().fetch(url, target, **known)  # type: ignore[arg-type]
    assert storage.requests == [] and not target.parent.exists()


def test_more_bytes_than_expected_are_not_taken(url: str, storage: FileServer, watch: Watch, target: Path) -> None:
    storage.upset(STORED, *[Trouble(without_length=True, extra=b"more")] * 2)
    with pytest.raises(DownloadError, match="longer than the 300000 bytes"):
        watch.downloader().fetch(url, target)
    assert os.listdir(target.parent) == []


def test_fewer_bytes_than_expected_are_not_all(url: str, storage: FileServer, watch: Watch, target: Path) -> None:
    storage.upset(STORED, Trouble(without_length=True, cut_after=200_000))
    watch.downloader().fetch(url, target, observer=watch)
    assert target.read_bytes() == CONTENT
    assert watch.pauses == ["the connection ended after 200000 of 300000 bytes"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(url: str, hub: FileServer, watch: Watch, target: Path, status: int) -> None:
    hub.upset(AT, Trouble(status=status), method="HEAD")
    with pytest.raises(DownloadError, match=f"127.0.0.1:[0-9]* answers {status} ") as caught:
        watch.downloader().fetch(url, target)
    assert caught.value.status == status
    assert watch.slept == []


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("says", ["Access to model lab/model is restricted.", None])
def test_a_model_behind_a_gate_is_told(
    url: str, hub: FileServer, watch: Watch, target: Path, status: int, says: str | None
) -> None:
    headers = {"X-Error-Code": "GatedRepo"} | ({"X-Error-Message": says} if says else {})
    hub.upset(AT, Trouble(status=status, headers=headers), method="HEAD")
    with pytest.raises(DownloadError, match=f"answers {status}: {says or 'the model is for those who'}") as caught:
        watch.downloader().fetch(url, target)
    assert caught.value.status == 403


def test_a_refusal_of_the_content_is_final(url: str, storage: FileServer, watch: Watch, target: Path) -> None:
    storage.upset(STORED, Trouble(status=403))
    with pytest.raises(DownloadError, match="answers 403"):
        watch.downloader().fetch(url, target)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(
    ("asked", "waits"), [("7", 7.0), ("Tue, 14 Nov 2023 22:13:40 GMT", 20.0), ("soon", 1.0), (None, 1.0)]
)
def test_a_busy_hub_is_waited_for(
    url: str, hub: FileServer, watch: Watch, target: Path, method: str, asked: str | None, waits: float
) -> None:
    hub.upset(AT, Trouble(status=429, headers={"Retry-After": asked} if asked else {}), method=method)
    watch.downloader().fetch(url, target, observer=watch)
    assert watch.slept == [waits]
    assert "429 Too Many Requests" in watch.pauses[0]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_hub_that_asks_for_too_much_patience_is_not(
    url: str, hub: FileServer, watch: Watch, target: Path, library_waits: list[float], method: str
) -> None:
    hub.upset(AT, Trouble(status=429, headers={"Retry-After": "3600"}), method=method)
    with pytest.raises(DownloadError, match="429 Too Many Requests; it asks to come back in 3600 s"):
        watch.downloader().fetch(url, target)
    assert watch.slept == library_waits == []


def test_a_hub_that_fails_is_tried_again(url: str, hub: FileServer, watch: Watch, target: Path) -> None:
    hub.upset(AT, Trouble(status=503), Trouble(drop=True), method="HEAD")
    hub.upset(AT, Trouble(status=500))
    watch.downloader().fetch(url, target)
    assert watch.slept == [1.0, 2.0, 1.0]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:9", r"no connection to 127\.0\.0\.1:9 \(Connection refused\)"),
        ("http://hub.invalid", r"no connection to hub\.invalid \("),
    ],
)
def test_no_network_is_told_at_once(
    file_server: FileServer, watch: Watch, target: Path, library_waits: list[float], address: str, message: str
) -> None:
    with pytest.raises(DownloadError, match=message):
        watch.downloader().fetch(address + AT, target)
    assert watch.slept == library_waits == []
    assert not target.parent.exists()


def test_who_is_no_hub_is_told(hub: FileServer, watch: Watch, target: Path) -> None:
    url = hub.add(AT, b"<html>Please pay for the network</html>")
    with pytest.raises(DownloadError, match=r"does not answer as a hub does.*HF_ENDPOINT"):
        watch.downloader().fetch(url, target)


def test_offline_is_obeyed(
    url: str, hub: FileServer, watch: Watch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match=r"HF_HUB_OFFLINE is set, so 127\.0\.0\.1:[0-9]* is not asked"):
        watch.downloader().fetch(url, target)
    assert (hub.requests, watch.slept) == ([], [])


def test_a_proxy_that_wants_a_name_is_told(
    hub: FileServer, watch: Watch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.upset("hub.invalid:443", Trouble(status=407), method="CONNECT")
    monkeypatch.setenv("https_proxy", hub.url)
    with pytest.raises(DownloadError, match=r"no connection to hub\.invalid \(407") as caught:
        watch.downloader().fetch(f"https://hub.invalid{AT}", target)
    assert caught.value.status == 407


@pytest.fixture
def secure_hub(tmp_path: Path, hub: FileServer) -> Iterator[FileServer]:
    """Over https, with the certificate ``cert``; ``hub`` is there for the environment that it has without proxies."""
    for name, pem in zip(("cert", "key"), make_self_signed(["127.0.0.1"], 1), strict=True):
        (tmp_path / name).write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with serve_files(context) as files:
        yield files


def test_a_certificate_that_is_not_trusted_is_named(
    secure_hub: FileServer, watch: Watch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 is not trusted \(self-signed.*SSL_CERT_FILE"):
        watch.downloader().fetch(secure_hub.publish(AT, CONTENT), target)
    assert watch.slept == []


def test_from_https_nothing_leads_back_to_http(
    secure_hub: FileServer, storage: FileServer, watch: Watch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(target.parents[1] / "cert"))
    with pytest.raises(DownloadError, match="redirects from https to http://localhost"):
        watch.downloader(token="hf_secret").fetch(secure_hub.publish(AT, CONTENT, storage), target)
    assert _asked_as(secure_hub) == {"Bearer hf_secret"}
    assert storage.requests == []


def test_a_full_disk_is_named_and_what_has_come_is_kept(
    url: str, storage: FileServer, watch: Watch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = PartialFile.write

    def write_a_little(partial: PartialFile, piece: bytes) -> None:
        write(partial, piece[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PartialFile, "write", write_a_little)
        with pytest.raises(DownloadError, match=r"no space left for .*unet\.pth; what has come is kept"):
            watch.downloader().fetch(url, target)
    assert watch.slept == []
    watch.downloader().fetch(url, target)
    assert _ranges(storage)[-1] == "bytes=1000-"
    assert target.read_bytes() == CONTENT


def test_an_interruption_keeps_what_has_come(url: str, storage: FileServer, watch: Watch, target: Path) -> None:
    class Stop(Watch):
        def progress(self, done: int, total: int | None) -> None:
            if done > 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch.downloader().fetch(url, target, observer=Stop())
    watch.downloader().fetch(url, target)
    assert _ranges(storage)[-1] == f"bytes={PIECE}-"
    assert target.read_bytes() == CONTENT


def test_nothing_of_ours_stays_in_the_library(url: str, watch: Watch, target: Path) -> None:
    import huggingface_hub

    watch.downloader().fetch(url, target)
    assert huggingface_hub.get_session().event_hooks["response"] == []


@pytest.mark.parametrize("version", [None, "0.36.0"])
def test_without_the_library_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, target: Path, version: str | None, request: pytest.FixtureRequest
) -> None:
    if version is None:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    else:
        request.getfixturevalue("library_waits")
        monkeypatch.setattr("huggingface_hub.__version__", version)
    with pytest.raises(HubClientMissingError, match=r"pip install 'musetalk-service\[musetalk\]'"):
        Downloader(HubSource(20.0), retries=0, longest_wait_s=0.0).fetch(f"http://127.0.0.1:9{AT}", target)
