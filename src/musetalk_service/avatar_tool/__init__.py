"""``musetalk-service avatar``: make, list, show, delete, export and import avatars from the shell."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from musetalk_service.avatar_tool.archive import ArchiveError, export_avatar, import_avatar, is_exported
from musetalk_service.avatar_tool.create import CreationError, create_avatar
from musetalk_service.avatar_tool.official import unpack_official
from musetalk_service.config import Settings
from musetalk_service.engines.avatar import DEFAULT_AVATAR
from musetalk_service.engines.avatar_library import OFFICIAL_NAMES, AvatarLibrary, official_files
from musetalk_service.errors import ServiceError
from musetalk_service.models.avatar_manifest import AVATAR_ID_PATTERN, Consent, Manifest
from musetalk_service.models.preparation import Crop

_BAR = 30
_NOT_YET = "{:<24} of the published MuseTalk scripts, not used yet: serve prepares it, or avatar import"


def create(
    settings: Settings,
    file: Path,
    avatar_id: str,
    *,
    consent_by: str | None,
    consent_note: str,
    actions: Mapping[str, Path],
    crop: Crop | None = None,
) -> int:
    """Make an avatar of a photo or video, and of videos for its action clips; returns the exit status."""

    def work() -> str:
        consent = _ask_consent(consent_by, consent_note, required=settings.require_consent)
        manifest = _create(settings, file, _check_id(avatar_id), consent, actions=actions, crop=crop)
        bends = "" if manifest.matte is not None else " (without layers: its background bends where the head moves)"
        return f"{manifest.avatar_id}: made of a {manifest.source.kind}{bends}; connect as this user to see it"

    return _tell(work)


def _create(
    settings: Settings,
    source: Path,
    avatar_id: str,
    consent: Consent | None,
    official: str | None = None,
    actions: Mapping[str, Path] | None = None,
    crop: Crop | None = None,
) -> Manifest:
    manifest = create_avatar(
        AvatarLibrary(settings.avatars_dir),
        source,
        avatar_id,
        consent=consent,
        limits=settings.preparation_limits(),
        timeout_s=settings.preparation_timeout_s,
        models=settings.preparation_models(),
        report=_show_progress,
        official=official,
        actions=actions,
        crop=crop,
    )
    _show_progress("done", 100.0)
    return manifest


def list_all(settings: Settings, *, as_json: bool) -> int:
    """Print all avatars; returns the exit status."""

    def work() -> str:
        library = AvatarLibrary(settings.avatars_dir)
        refs = {avatar_id: library.find(avatar_id) for avatar_id in sorted({*library.ids(), *library.official_ids()})}
        manifests = [library.manifest(ref) for ref in refs.values() if ref is not None]
        if as_json:
            return json.dumps([manifest.model_dump(mode="json") for manifest in manifests], indent=2)
        lines = [_NOT_YET.format(name) if ref is None else _line(library.manifest(ref)) for name, ref in refs.items()]
        return "\n".join(lines) or f"no avatars in {library.root}"

    return _tell(work)


def show(settings: Settings, avatar_id: str) -> int:
    """Print one avatar's manifest and files; returns the exit status."""

    def work() -> str:
        library = AvatarLibrary(settings.avatars_dir)
        ref = _find(library, avatar_id)
        folder, manifest = library.folder(ref), library.manifest(ref)
        avatar = library.load(ref)
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
        clips = {clip: avatar.clip_frames(clip) for clip in avatar.clips}
        facts = manifest.model_dump(mode="json") | {"folder": str(folder), "files": files, "clips": clips}
        return json.dumps(facts, indent=2)

    return _tell(work)


def delete(settings: Settings, avatar_id: str) -> int:
    """Delete an avatar with all its versions; returns the exit status."""

    def work() -> str:
        library = AvatarLibrary(settings.avatars_dir)
        if library.official(avatar_id) is None:
            _find(library, avatar_id)
        library.remove(avatar_id)
        return f"{avatar_id}: deleted"

    return _tell(work)


def export(settings: Settings, avatar_id: str, target: Path) -> int:
    """Write an avatar into one file; returns the exit status."""

    def work() -> str:
        manifest = export_avatar(AvatarLibrary(settings.avatars_dir), avatar_id, target)
        return f"{manifest.avatar_id}: written to {target}"

    return _tell(work)


def bring_in(
    settings: Settings, source: Path, avatar_id: str | None, *, consent_by: str | None, consent_note: str
) -> int:
    """Publish an exported avatar, or one of the published MuseTalk scripts; returns the exit status."""

    def work() -> str:
        library = AvatarLibrary(settings.avatars_dir)
        limit = 8 * (settings.upload_max_mb << 20)
        wanted = None if avatar_id is None else _check_id(avatar_id)
        if not source.is_dir() and is_exported(source):
            manifest = import_avatar(library, source, wanted, limit)
            return f"{manifest.avatar_id}: imported"
        consent = _ask_consent(consent_by, consent_note, required=settings.require_consent)
        if source.is_dir():
            return _import_official(settings, source, wanted or source.resolve().name, consent)
        unpacked = library.stage()
        try:
            name = unpack_official(source, unpacked, limit)
            return _import_official(settings, unpacked, wanted or name, consent)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)

    return _tell(work)


def _import_official(settings: Settings, folder: Path, avatar_id: str, consent: Consent | None) -> str:
    files = official_files(folder)
    if files is None:
        raise ArchiveError("there is no whole avatar: " + ", ".join(OFFICIAL_NAMES) + " are needed, and no links")
    manifest = _create(settings, folder, _check_id(avatar_id), consent, files)
    missing = f" only: {manifest.official.no_face}" if manifest.official and manifest.official.no_face else ""
    return f"{manifest.avatar_id}: imported, ready for {' and '.join(manifest.engines)}{missing}"


def _tell(work: Callable[[], str]) -> int:
    try:
        print(work())
    except (CreationError, ArchiveError, ServiceError, OSError, ValueError) as error:
        message = error.message if isinstance(error, ServiceError) else str(error)
        print(f"musetalk-service avatar: {message}", file=sys.stderr)
        return 1
    return 0


def _check_id(avatar_id: str) -> str:
    if not re.fullmatch(AVATAR_ID_PATTERN, avatar_id) or avatar_id == DEFAULT_AVATAR:
        raise ValueError(
            f"{avatar_id!r} is no user id: 1 to 64 letters, digits, hyphens or underscores, not 'default' (--id)"
        )
    return avatar_id


def _find(library: AvatarLibrary, avatar_id: str) -> str:
    ref = library.find(avatar_id)
    if ref is None:
        raise ValueError(f"there is no avatar {avatar_id!r} in {library.root}")
    return ref


def _ask_consent(by: str | None, note: str, *, required: bool) -> Consent | None:
    """Who agreed; a person at a terminal is asked where the command line does not say."""
    if by is None and sys.stdin.isatty():
        by = input("Who agreed to the use of this face? (their name; empty: not said) ")
    if not by or not by.strip():
        if required:
            raise ValueError("--consent-by NAME is required here (REQUIRE_CONSENT): who agreed to the use of this face")
        return None
    return Consent(by=by.strip(), at=datetime.now(timezone.utc), note=note)


def _line(manifest: Manifest) -> str:
    source = manifest.source
    seconds = f", {source.seconds:.1f} s" if source.kind == "video" else ""
    agreed = manifest.consent.by if manifest.consent is not None else "not said"
    made = f"{source.kind} {source.width}x{source.height}{seconds}"
    ready = "+".join(manifest.engines)
    return f"{manifest.avatar_id:<24} {made:<24} {manifest.created:%Y-%m-%d %H:%M}  {ready:<17} consent: {agreed}"


def _show_progress(stage: str, percent: float) -> None:
    if sys.stderr.isatty():
        done = round(_BAR * percent / 100)
        end = "\n" if percent >= 100 else ""
        print(
            f"\r[{'#' * done}{'.' * (_BAR - done)}] {percent:3.0f} % {stage:<12}", end=end, file=sys.stderr, flush=True
        )
