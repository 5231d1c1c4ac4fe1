"""Downloads by the standard library over a network that breaks off, damages, changes and refuses."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from musetalk_service.errors import DownloadError
from musetalk_service.utils.download import Downloader
from musetalk_service.utils.http_source import HttpSource
from musetalk_service.utils.partial_file import PartialFile
from support import download_watch
from support.file_server import FileServer, Trouble

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = os.urandom(300_000)


class Watch(download_watch.Watch):
    """Asks any server."""

    def downloader(self, retries: int = 3) -> Downloader:
        return self.asking(HttpSource(20.0), retries)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "unet.pth"


def _only(target: Path) -> bool:
    return [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_file_comes_whole(file_server: FileServer, watch: Watch, target: Path) -> None:
    fetched = watch.downloader().fetch(file_server.add("/f", CONTENT), target, sha256=SHA256, observer=watch)
    assert (fetched.size, fetched.sha256, fetched.checked) == (len(CONTENT), SHA256, True)
    assert target.read_bytes() == CONTENT
    assert _only(target)
    assert watch.seen[0] == (0, len(CONTENT))
    assert watch.seen[-1] == (len(CONTENT), len(CONTENT))


def test_without_a_known_checksum_it_is_told(file_server: FileServer, watch: Watch, target: Path) -> None:
    fetched = watch.downloader().fetch(file_server.add("/f", CONTENT), target)
    assert (fetched.sha256, fetched.checked) == (SHA256, False)


@pytest.mark.parametrize("sha256", [SHA256, None], ids=["known", "unknown"])
def test_after_a_break_only_the_rest_is_asked_for(
    file_server: FileServer, watch: Watch, target: Path, sha256: str | None
) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(cut_after=100_000), Trouble(cut_after=50_000), Trouble(drop=True))
    watch.downloader().fetch(url, target, sha256=sha256, observer=watch)
    assert target.read_bytes() == CONTENT
    ranges = [request.headers.get("range") for request in file_server.sent("GET")]
    assert ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert watch.slept == [1.0, 1.0, 2.0]
    assert "ended after 100000 of 300000 bytes" in watch.pauses[0]


def test_what_has_come_is_kept_for_the_next_time(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(cut_after=200_000), *[Trouble(status=503)] * 3)
    with pytest.raises(DownloadError, match=r"503 Service Unavailable; tried 3 times"):
        watch.downloader(retries=2).fetch(url, target, sha256=SHA256)
    assert not target.exists()
    watch.downloader().fetch(url, target, sha256=SHA256)
    assert file_server.requests[-1].headers["range"] == "bytes=200000-"
    assert target.read_bytes() == CONTENT
    assert _only(target)


def test_retries_count_only_without_progress(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", *[Trouble(cut_after=30_000)] * 9)
    watch.downloader(retries=1).fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_breaks_off_ends_it(
    file_server: FileServer, watch: Watch, target: Path
) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", *[Trouble(cut_after=100_000, ignore_range=True)] * 9)
    with pytest.raises(DownloadError, match="tried 3 times"):
        watch.downloader(retries=2).fetch(url, target, sha256=SHA256)
    assert len(file_server.sent("GET")) == 3


def test_a_server_that_ignores_ranges_begins_again(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(cut_after=100_000), Trouble(ignore_range=True))
    watch.downloader().fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_range_that_begins_elsewhere_is_not_appended(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(cut_after=100_000), Trouble(headers={"Content-Range": "bytes 0-299999/300000"}))
    watch.downloader().fetch(url, target)
    assert target.read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_again(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(damage=True))
    watch.downloader().fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_file_that_stays_damaged_is_not_put_in_place(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", OTHER)
    target.parent.mkdir()
    target.write_bytes(b"before")
    with pytest.raises(DownloadError, match=f"sha256 [0-9a-f]*, expected {SHA256}"):
        watch.downloader().fetch(url, target, sha256=SHA256)
    assert len(file_server.sent("GET")) == 2
    assert target.read_bytes() == b"before"
    assert _only(target)


def test_damage_before_a_break_is_found(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(damage=True, cut_after=100_000))
    watch.downloader().fetch(url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert [request.headers.get("range") for request in file_server.sent("GET")] == [None, "bytes=100000-", None]


def test_a_file_that_changes_between_tries_is_not_mixed(file_server: FileServer, watch: Watch, target: Path) -> None:
    class Change(Watch):
        def pause(self, why: str, seconds: float) -> None:
            file_server.add("/f", OTHER)

    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(cut_after=100_000))
    watch.downloader().fetch(url, target, observer=Change())
    assert target.read_bytes() == OTHER


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_anything_to_know_it_by_it_begins_again(
    file_server: FileServer, watch: Watch, target: Path, etag: str | None
) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.etags = False
    file_server.always["/f"] = {"ETag": etag} if etag else {}
    file_server.upset("/f", Trouble(cut_after=100_000))
    watch.downloader().fetch(url, target)
    assert [request.headers.get("range") for request in file_server.sent("GET")] == [None, None]
    assert target.read_bytes() == CONTENT


def test_another_file_is_refused_before_it_comes(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT[1:])
    with pytest.raises(DownloadError, match=r"has another file.*bytes 299999, expected 300000"):
        watch.downloader().fetch(url, target, sha256=SHA256, size=len(CONTENT))
    assert file_server.sent("GET") == []
    assert not target.parent.exists()


def test_more_bytes_than_expected_are_not_taken(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", *[Trouble(without_length=True, extra=b"more")] * 3)
    with pytest.raises(DownloadError, match="longer than the 300000 bytes"):
        watch.downloader().fetch(url, target)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(file_server: FileServer, watch: Watch, target: Path, status: int) -> None:
    file_server.upset("/f", Trouble(status=status), method="HEAD")
    with pytest.raises(DownloadError, match=f"127.0.0.1:[0-9]* answers {status} ") as caught:
        watch.downloader().fetch(file_server.add("/f", CONTENT), target)
    assert caught.value.status == status
    assert watch.slept == []


def test_a_refusal_of_the_content_is_final(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(status=403))
    with pytest.raises(DownloadError, match="answers 403"):
        watch.downloader().fetch(url, target)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize(
    ("asked", "waits"),
    [("7", 7.0), ("Tue, 14 Nov 2023 22:13:40 GMT", 20.0), ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0), ("soon", 1.0)],
)
def test_a_busy_server_is_waited_for(
    file_server: FileServer, watch: Watch, target: Path, asked: str, waits: float
) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(status=429, headers={"Retry-After": asked}))
    watch.downloader().fetch(url, target, observer=watch)
    assert watch.slept == [waits]
    assert "429 Too Many Requests" in watch.pauses[0]


def test_a_server_that_asks_for_too_much_patience_is_not(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(DownloadError, match="429 Too Many Requests; it asks to come back in 3600 s"):
        watch.downloader().fetch(url, target)
    assert watch.slept == []


def test_a_server_that_fails_is_tried_again(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(status=500), Trouble(drop=True), method="HEAD")
    watch.downloader().fetch(url, target)
    assert watch.slept == [1.0, 2.0]


def test_no_network_is_told_at_once(watch: Watch, target: Path) -> None:
    with pytest.raises(DownloadError, match=r"no connection to 127\.0\.0\.1:9 \(Connection refused\)"):
        watch.downloader().fetch("http://127.0.0.1:9/f", target)
    assert watch.slept == []
    assert not target.parent.exists()


def test_a_network_that_goes_away_is_waited_for(
    file_server: FileServer, watch: Watch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = file_server.add("/f", CONTENT)
    downloader = watch.downloader(retries=2)
    remote = downloader.inspect(url)
    monkeypatch.setattr(downloader._source._opener, "open", _refuse)
    with pytest.raises(DownloadError, match=r"no connection to .*\(Connection refused\); tried 3 times"):
        downloader.fetch(url, target, remote=remote)
    assert watch.slept == [1.0, 2.0]


def _refuse(*_: object, **__: object) -> object:
    raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_that_knows_no_head_is_used_anyway(
    file_server: FileServer, watch: Watch, target: Path, status: int
) -> None:
    url = file_server.add("/f", CONTENT)
    file_server.upset("/f", Trouble(status=status), method="HEAD")
    watch.downloader().fetch(url, target, sha256=SHA256, size=len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_full_disk_is_named_and_what_has_come_is_kept(
    file_server: FileServer, watch: Watch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = file_server.add("/f", CONTENT)
    write = PartialFile.write

    def write_a_little(partial: PartialFile, piece: bytes) -> None:
        write(partial, piece[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PartialFile, "write", write_a_little)
        with pytest.raises(DownloadError, match=r"no space left for .*unet\.pth; what has come is kept"):
            watch.downloader().fetch(url, target, sha256=SHA256)
    assert watch.slept == []
    watch.downloader().fetch(url, target, sha256=SHA256)
    assert file_server.requests[-1].headers["range"] == "bytes=1000-"
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_is_named(file_server: FileServer, watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"file/unet\.pth cannot be written: (Not a directory|File exists)"):
        watch.downloader().fetch(file_server.add("/f", CONTENT), tmp_path / "file" / "unet.pth")


def test_an_interruption_keeps_what_has_come(file_server: FileServer, watch: Watch, target: Path) -> None:
    url = file_server.add("/f", CONTENT)

    class Stop(Watch):
        def progress(self, done: int, total: int | None) -> None:
            if done > 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch.downloader().fetch(url, target, sha256=SHA256, observer=Stop())
    watch.downloader().fetch(url, target, sha256=SHA256)
    assert "range" in file_server.requests[-1].headers
    assert target.read_bytes() == CONTENT
