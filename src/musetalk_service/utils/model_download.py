"""Fetching a file of the catalogue: as it lies there, or out of the tar archive that its makers publish it in."""

import gzip
import hashlib
import tarfile
import zlib
from pathlib import Path

from musetalk_service.errors import DownloadError
from musetalk_service.models.checkpoint_catalogue import ModelFile
from musetalk_service.utils.download import Downloader, Fetched, Observer, Remote


def fetch_model_file(
    downloader: Downloader,
    file: ModelFile,
    url: str,
    target: Path,
    *,
    remote: Remote | None = None,
    observer: Observer | None = None,
) -> Fetched:
    """Bring a file to its place, whole and checked; what comes in an archive leaves nothing else there.

    Args:
        downloader: fetches.
        file: what it has to be.
        url: where it, or its archive, is.
        target: where it goes; what is there is replaced in the end.
        remote: what the server has said of what is at ``url``, if it was asked already.
        observer: hears of it.

    Raises:
        DownloadError: it cannot be fetched, is another file, or cannot be written.
    """
    if not file.member:
        size = file.size if file.sha256 is not None else None
        return downloader.fetch(url, target, sha256=file.sha256, size=size, remote=remote, observer=observer)
    archive = target.with_name(f".{target.name}.tar")
    downloader.fetch(url, archive, remote=remote, observer=observer)
    try:
        content = _member(archive, file)
        digest = hashlib.sha256(content).hexdigest()
        if digest != file.sha256:
            raise DownloadError(f"{url} has another {file.member}: sha256 {digest}, expected {file.sha256}")
        aside = target.with_name(f".{target.name}.new")
        aside.write_bytes(content)
        aside.replace(target)
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        archive.unlink(missing_ok=True)
    return Fetched(len(content), digest, checked=True)


def _member(archive: Path, file: ModelFile) -> bytes:
    """The file's bytes; no more than it may have, and one, are read."""
    try:
        with tarfile.open(archive) as opened:
            found = opened.extractfile(file.member)
            if found is None:
                raise KeyError
            return found.read(file.size + 1)
    except (KeyError, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError):
        raise DownloadError(f"what was fetched is no archive with {file.member} in it") from None
