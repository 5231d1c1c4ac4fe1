"""An avatar as one file, to carry to another server: a zip with the manifest and the files of its version.

What comes in is a stranger's: names are compared with a pattern, sizes are counted while they are unpacked.
"""

import re
import shutil
import zipfile
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from musetalk_service.engines.avatar_library import AvatarLibrary, new_version
from musetalk_service.errors import ModelNotFoundError
from musetalk_service.models.avatar_manifest import Manifest

_MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_MAX_FILES = 100
_PIECE = 1 << 20


class ArchiveError(Exception):
    """The file is no avatar's archive, or not one that may be unpacked; the message says why."""


def export_avatar(library: AvatarLibrary, avatar_id: str, target: Path) -> Manifest:
    """Write an avatar's current version into a zip file. Raises :class:`ModelNotFoundError`, ``OSError``."""
    ref = library.find(avatar_id)
    if ref is None:
        raise ModelNotFoundError(f"there is no avatar {avatar_id!r}")
    folder, manifest = library.folder(ref), library.manifest(ref)
    aside = target.with_name(f".{target.name}.part")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                if path.is_file() and not path.is_symlink() and _NAME.fullmatch(path.name):
                    archive.write(path, path.name)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return manifest


def is_zip(source: Path) -> bool:
    """By its beginning: a tar file with a zip file in it ends like one. Raises ``OSError``."""
    with source.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_exported(source: Path) -> bool:
    """Whether a file may be what :func:`export_avatar` has written. Raises ``OSError``."""
    if not is_zip(source):
        return False
    try:
        with zipfile.ZipFile(source) as archive:
            return _MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return False


def import_avatar(library: AvatarLibrary, source: Path, avatar_id: str | None, max_bytes: int) -> Manifest:
    """Publish an archive's avatar under its own id or another one.

    Raises :class:`ArchiveError`, :class:`ModelNotFoundError` for files that do not load, ``OSError``.
    """
    staged = library.stage()
    try:
        _unpack(source, staged, max_bytes)
        manifest = _read_manifest(staged / _MANIFEST)
        fresh = manifest.model_copy(update={"avatar_id": avatar_id or manifest.avatar_id, "version": new_version()})
        checked = Manifest.model_validate(fresh.model_dump())
        library.publish(staged, checked)
        return checked
    except ValidationError as error:
        raise ArchiveError(f"{avatar_id!r} is no user id: {error.errors()[0]['msg']}") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _unpack(source: Path, staged: Path, max_bytes: int) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            if len(members) > _MAX_FILES:
                raise ArchiveError(f"{source} holds {len(members)} files; an avatar has fewer than {_MAX_FILES}")
            left = max_bytes
            for member in members:
                if not _NAME.fullmatch(member.filename):
                    raise ArchiveError(f"{source} holds {member.filename[:100]!r}, which is no file of an avatar")
                with archive.open(member) as file:
                    left = unpack(file, staged / member.filename, left)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise ArchiveError(f"{source} is no archive of an avatar, or is damaged ({error})") from None


def unpack(file: IO[bytes], target: Path, left: int) -> int:
    """Unpack one file; returns how many bytes may still come. What the archive says of sizes is not believed.

    Raises :class:`ArchiveError` for one byte more than ``left``.
    """
    with target.open("xb") as copy:
        while piece := file.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise ArchiveError("the archive unpacks to more than an avatar may have")
            copy.write(piece)
    return left


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError:
        raise ArchiveError("the archive has no manifest") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArchiveError(f"the archive's manifest is wrong: {where}: {first['msg']}") from None
