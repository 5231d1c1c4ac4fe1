"""Archives of folders that the published MuseTalk scripts have made: unpacked, and nothing else of them.

What comes in is a stranger's: only files of known names are taken, under names of ours, and sizes are counted while
they are unpacked.
"""

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from musetalk_service.avatar_tool.archive import ArchiveError, is_zip, unpack

_MEMBER = re.compile(
    r"(?P<above>(?:.*/)?)"
    r"(?P<name>(?:full_imgs|mask)/[0-9]{1,9}\.(?:png|jpg)|latents\.pt|coords\.pkl|mask_coords\.pkl|avator_info\.json)"
)
_MAX_MEMBERS = 100_000
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)


def unpack_official(source: Path, target: Path, max_bytes: int) -> str:
    """Unpack the avatar in a zip or tar file into a folder.

    Args:
        source: the file.
        target: an empty folder.
        max_bytes: that may come out.

    Returns:
        The name of the folder that the avatar was packed in, or of the file.

    Raises:
        ArchiveError: no such archive, or one that may not be unpacked; ``OSError``.
    """
    above: str | None = None
    left = max_bytes
    try:
        for count, (path, file) in enumerate(_members(source)):
            if count > _MAX_MEMBERS:
                raise ArchiveError(f"{source} holds more than {_MAX_MEMBERS} files")
            found = _MEMBER.fullmatch(path)
            if found is None or above not in (None, found["above"]):
                continue
            above = found["above"]
            copy = target / found["name"]
            copy.parent.mkdir(exist_ok=True)
            left = unpack(file, copy, left)
    except (*_DAMAGED, NotImplementedError, EOFError, ValueError) as error:
        raise ArchiveError(f"{source} is no archive, or is damaged ({error})") from None
    except RuntimeError as error:  # zipfile's, for what is encrypted
        raise ArchiveError(f"{source} cannot be unpacked ({error})") from None
    if above is None:
        raise ArchiveError(f"{source} holds no avatar: neither manifest.json nor full_imgs, latents.pt and so on")
    return Path(above).name or source.name.partition(".")[0]


def _members(source: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Path and content of each plain file; links and devices are left out."""
    if is_zip(source):
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    with archive.open(member) as file:
                        yield member.filename, file
        return
    with tarfile.open(source, "r|*") as stream:
        for entry in stream:
            content = stream.extractfile(entry) if entry.isreg() else None
            if content is not None:
                yield entry.name, content
