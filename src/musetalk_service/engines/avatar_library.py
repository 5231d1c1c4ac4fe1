"""Prepared avatars on disk: found, read, published and removed without ever showing half of one.

    <root>/<id>/current                  the name of the version that new sessions get
    <root>/<id>/<version>/manifest.json  and the files that it names
    <root>/<id>/<version>/engines/       what engines have computed of them, by engine and weights
    <root>/.staging/                     what is being prepared

Folders that the published MuseTalk scripts have left there, <root>/<id>/full_imgs and so on, are avatars, too: a
version is made of them, which lies beside their files.

A version is never changed once it is published; preparing again publishes another one. A session that
runs goes on with the version it began with, by its reference ``<id>@<version>``.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from musetalk_service.engines.avatar import DEFAULT_AVATAR, Avatar, add_large_view, add_matte, load_avatar
from musetalk_service.engines.base_video import read_base_video
from musetalk_service.engines.painted_video import read_painted_video
from musetalk_service.errors import ModelNotFoundError
from musetalk_service.models.avatar_manifest import (
    AVATAR_ID_PATTERN,
    FRAMES_FILE,
    LATENTS_FILE,
    MASKS_FILE,
    PLACES_FILE,
    REF_ID_PATTERN,
    TRANSFORMS_FILE,
    VERSION_PATTERN,
    Manifest,
)

_MANIFEST = "manifest.json"
_CURRENT = "current"
_STAGING = ".staging"
_LEFTOVER_S = 24 * 3600.0
"""So old is nothing that a server of the same folder still works at."""
_MANIFEST_MAX_BYTES = 1 << 20
_OFFICIAL_FOLDERS = ("full_imgs", "mask")
_OFFICIAL_FILES = ("coords.pkl", "mask_coords.pkl", "latents.pt")
OFFICIAL_NAMES = (*_OFFICIAL_FOLDERS, *_OFFICIAL_FILES)
"""What a folder of the published MuseTalk scripts has at least."""


class AvatarLibrary:
    """The avatars under one folder. Methods touch the disk; any process may have its own library of a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def ids(self) -> list[str]:
        """The avatars that can be used, sorted."""
        with contextlib.suppress(OSError):
            return sorted(entry.name for entry in os.scandir(self.root) if self.find(entry.name) is not None)
        return []

    def find(self, avatar_id: str) -> str | None:
        """The reference ``<id>@<version>`` that new sessions of an avatar get; None where there is none."""
        if avatar_id == DEFAULT_AVATAR or not re.fullmatch(AVATAR_ID_PATTERN, avatar_id):
            return None
        folder = self.root / avatar_id
        try:
            version = (folder / _CURRENT).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        if folder.is_symlink() or not re.fullmatch(VERSION_PATTERN, version):
            return None
        return f"{avatar_id}@{version}" if (folder / version / _MANIFEST).is_file() else None

    def official_ids(self) -> list[str]:
        """Those whose folder holds an avatar of the published MuseTalk scripts, sorted."""
        with contextlib.suppress(OSError):
            return sorted(entry.name for entry in os.scandir(self.root) if self.official(entry.name) is not None)
        return []

    def official(self, avatar_id: str) -> str | None:
        """What tells the files that the published scripts have left in an avatar's folder from others; None: none."""
        if avatar_id == DEFAULT_AVATAR or not re.fullmatch(AVATAR_ID_PATTERN, avatar_id):
            return None
        return official_files(self.root / avatar_id)

    def folder(self, ref: str) -> Path:
        """Where a version lies. Raises :class:`ModelNotFoundError` for what is no reference or not there."""
        avatar_id, _, version = ref.partition("@")
        if not re.fullmatch(REF_ID_PATTERN, avatar_id) or not re.fullmatch(VERSION_PATTERN, version):
            raise ModelNotFoundError(f"{ref[:100]!r} is no reference to an avatar")
        folder = self.root / avatar_id / version
        if folder.is_symlink() or folder.parent.is_symlink() or not folder.is_dir():
            raise ModelNotFoundError(f"avatar {ref!r} is not there")
        return folder

    def manifest(self, ref: str) -> Manifest:
        """Raises :class:`ModelNotFoundError` when it is missing, too large or not of a format that is known."""
        path = self.folder(ref) / _MANIFEST
        try:
            if path.stat().st_size > _MANIFEST_MAX_BYTES:
                raise ModelNotFoundError(f"the manifest of avatar {ref!r} is too large")
            return Manifest.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ModelNotFoundError(f"the manifest of avatar {ref!r} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelNotFoundError(f"the manifest of avatar {ref!r} is wrong: {where}: {first['msg']}") from None

    def load(self, ref: str) -> Avatar:
        """An avatar in memory. Raises :class:`ModelNotFoundError` where its files are missing or damaged."""
        return _read(ref, self.folder(ref), self.manifest(ref))

    def stage(self) -> Path:
        """A new empty folder on the same disk, for what :meth:`publish` takes."""
        path = self.root / _STAGING / secrets.token_hex(8)
        path.mkdir(parents=True)
        return path

    def publish(self, staged: Path, manifest: Manifest) -> str:
        """Make a staged folder the version that new sessions get; returns its reference.

        The manifest is written last. A crash at any moment leaves the version before in use.
        Raises :class:`ModelNotFoundError` for files that do not load, ``OSError``.
        """
        ref = f"{manifest.avatar_id}@{manifest.version}"
        _read(ref, staged, manifest)
        _write(staged / _MANIFEST, manifest.model_dump_json(indent=2))
        folder = self.root / manifest.avatar_id
        folder.mkdir(parents=True, exist_ok=True)
        staged.rename(folder / manifest.version)
        _write(folder / _CURRENT, manifest.version)
        return ref

    def remove(self, avatar_id: str) -> bool:
        """Delete an avatar with all its versions; returns whether there was one."""
        if not re.fullmatch(REF_ID_PATTERN, avatar_id) or (self.root / avatar_id).is_symlink():
            return False
        grave = self.root / _STAGING / secrets.token_hex(8)
        grave.parent.mkdir(parents=True, exist_ok=True)
        try:
            (self.root / avatar_id).rename(grave)  # gone for everybody at once, whatever follows
        except OSError:
            return False
        shutil.rmtree(grave, ignore_errors=True)
        return True

    def prune(self, in_use: Collection[str]) -> None:
        """Delete versions that are neither current nor in use (references)."""
        for avatar_id in self.ids():
            keep = {self.find(avatar_id), *in_use}
            for version in self._versions(avatar_id):
                if f"{avatar_id}@{version.name}" not in keep:
                    shutil.rmtree(version, ignore_errors=True)

    def clear_leftovers(self, older_than_s: float = _LEFTOVER_S) -> None:
        """Delete what servers that did not end in order have left: staged files, and avatars of single sessions."""
        folders = [*self.root.glob(f"{_STAGING}/*"), *self.root.glob("~*")]
        for folder in folders:
            with contextlib.suppress(OSError):
                if time.time() - folder.lstat().st_mtime >= older_than_s:
                    shutil.rmtree(folder, ignore_errors=True)

    def _versions(self, avatar_id: str) -> Iterator[Path]:
        for path in (self.root / avatar_id).iterdir():
            if re.fullmatch(VERSION_PATTERN, path.name) and path.is_dir() and not path.is_symlink():
                yield path


def official_files(folder: Path) -> str | None:
    """What tells the files of the published MuseTalk scripts in a folder from later ones; None where there are none.

    Links are not followed.
    """
    facts: list[object] = []
    try:
        if not all(stat.S_ISDIR(path.lstat().st_mode) for path in (folder, *(folder / n for n in _OFFICIAL_FOLDERS))):
            return None
        for name in _OFFICIAL_FILES:
            status = (folder / name).lstat()
            if not stat.S_ISREG(status.st_mode):
                return None
            facts.append((name, status.st_size, status.st_mtime_ns))
    except (OSError, ValueError):
        return None
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def new_version() -> str:
    """A name for a version that no other has."""
    return secrets.token_hex(8)


def _read(ref: str, folder: Path, manifest: Manifest) -> Avatar:
    try:
        portrait = _member(folder, manifest.portrait).read_bytes()
        points = None if manifest.landmarks is None else _member(folder, manifest.landmarks).read_bytes()
        avatar = load_avatar(ref, portrait, points)
        if manifest.matte is not None:
            avatar = add_matte(avatar, _member(folder, manifest.matte).read_bytes())
        if manifest.large is not None:
            avatar = add_large_view(avatar, _member(folder, manifest.large))
        if manifest.base_video:
            transforms = None if points is None else _member(folder, TRANSFORMS_FILE)
            video = read_base_video(_member(folder, FRAMES_FILE), transforms, manifest.base_video)
            if manifest.official is not None:
                for name in (LATENTS_FILE, MASKS_FILE, PLACES_FILE):
                    _member(folder, name)
                video = replace(video, painted=read_painted_video(folder, manifest.official, len(video.frames)))
            # The video is as much a part of what is cached as the portrait, but too long to be read for its digest.
            digest = hashlib.sha256(f"{avatar.digest}:{manifest.version}".encode()).hexdigest()[:16]
            avatar = replace(avatar.with_base_video(video), digest=digest)
        elif points is None:
            raise ValueError("neither landmarks nor a video")
        return replace(avatar, folder=folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelNotFoundError(f"avatar {ref!r} is damaged: {error}") from None


def _member(folder: Path, name: str) -> Path:
    """A file that a manifest names. Raises ``ValueError`` when it lies elsewhere or is a link."""
    path = folder / name
    if path.parent != folder or path.is_symlink():
        raise ValueError(f"{name[:100]!r} is no file of its folder")
    return path


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
