"""A file comes out of its archive whole, or nothing comes; nothing of the archive stays."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from musetalk_service.errors import DownloadError
from musetalk_service.models.checkpoint_catalogue import ModelFile
from musetalk_service.utils.download import Downloader
from musetalk_service.utils.http_source import HttpSource
from musetalk_service.utils.model_download import fetch_model_file
from support.file_server import FileServer

CONTENT = b"weights" * 1000
FILE = ModelFile("net.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), member="package/net.bin")


def archive(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"package/{name}.bin")
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
        folder = tarfile.TarInfo("package/folder.bin")
        folder.type = tarfile.DIRTYPE
        opened.addfile(folder)
    return packed.getvalue()


def fetch(url: str, target: Path, file: ModelFile = FILE) -> None:
    downloader = Downloader(HttpSource(5.0), retries=0, longest_wait_s=1.0)
    fetched = fetch_model_file(downloader, file, url, target)
    assert (fetched.size, fetched.sha256, fetched.checked) == (file.size, file.sha256, True)


def test_a_member_comes_out(file_server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "models" / "net.bin"
    fetch(file_server.add("/net.tgz", archive(readme=b"hello", net=CONTENT)), target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["net.bin"]


def test_a_file_that_lies_there_itself_comes_as_it_is(file_server: FileServer, tmp_path: Path) -> None:
    plain = ModelFile("net.bin", FILE.size, FILE.sha256)
    fetch(file_server.add("/net.bin", CONTENT), tmp_path / "net.bin", plain)
    assert (tmp_path / "net.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (archive(other=CONTENT), "no archive with package/net.bin in it"),
        (archive(net=CONTENT)[:80], "no archive with package/net.bin in it"),
        (archive(net=CONTENT)[:80] + bytes(40), "no archive with package/net.bin in it"),
        (b"<html>sign in</html>", "no archive with package/net.bin in it"),
        (archive(net=CONTENT + b"!"), "another package/net.bin: sha256"),
        (archive(net=CONTENT[:-1]), "another package/net.bin: sha256"),
    ],
    ids=["absent", "cut", "damaged", "no archive", "longer", "shorter"],
)
def test_what_is_not_it_leaves_nothing(file_server: FileServer, tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(DownloadError, match=why):
        fetch(file_server.add("/net.tgz", content), tmp_path / "models" / "net.bin")
    assert not list((tmp_path / "models").iterdir())


def test_a_folder_of_that_name_is_no_file(file_server: FileServer, tmp_path: Path) -> None:
    folder = ModelFile("net.bin", 1, "0" * 64, member="package/folder.bin")
    with pytest.raises(DownloadError, match="no archive with"):
        fetch(file_server.add("/net.tgz", archive(net=CONTENT)), tmp_path / "net.bin", folder)


def test_what_is_there_stays_until_the_new_one_is_whole(file_server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(b"before")
    with pytest.raises(DownloadError):
        fetch(file_server.add("/net.tgz", archive(other=CONTENT)), tmp_path / "net.bin")
    assert (tmp_path / "net.bin").read_bytes() == b"before"
