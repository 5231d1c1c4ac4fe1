"""Prepared avatars for tests, made of the default portrait."""

from datetime import datetime, timezone
from importlib import resources
from pathlib import Path

from musetalk_service.engines.avatar_library import AvatarLibrary, new_version
from musetalk_service.models.avatar_manifest import Manifest, Source


def manifest_for(avatar_id: str) -> Manifest:
    """A photo's manifest, of a new version."""
    return Manifest(
        avatar_id=avatar_id,
        version=new_version(),
        created=datetime(2026, 1, 2, tzinfo=timezone.utc),
        generator="test",
        source=Source(kind="photo", width=512, height=512, sha256="0" * 64),
    )


def publish(root: Path, avatar_id: str) -> str:
    """Another version of an avatar that looks like the default one; returns its reference."""
    library = AvatarLibrary(root)
    staged = library.stage()
    drawn = resources.files("musetalk_service") / "assets" / "default_avatar"
    for name in ("portrait.png", "landmarks.json"):
        (staged / name).write_bytes((drawn / name).read_bytes())
    return library.publish(staged, manifest_for(avatar_id))
