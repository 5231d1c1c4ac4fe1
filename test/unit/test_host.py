"""The host's avatars: the default one, prepared ones by reference, no more of them than memory allows."""

from pathlib import Path

import pytest

from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.errors import ModelNotFoundError
from musetalk_service.host import HostAvatars
from support.avatars import publish


def test_avatars_are_loaded_once_and_kept_while_they_fit(tmp_path: Path) -> None:
    refs = [publish(tmp_path, name) for name in ("alice", "bob")]
    plenty = HostAvatars(AvatarLibrary(tmp_path), 1 << 30)
    alice = plenty.get(refs[0])
    plenty.get(refs[1])
    assert plenty.get(refs[0]) is alice
    tight = HostAvatars(AvatarLibrary(tmp_path), 1)
    alice = tight.get(refs[0])
    tight.get(refs[1])
    assert tight.get(refs[0]) is not alice


def test_default_avatar_needs_no_library(tmp_path: Path) -> None:
    avatars = HostAvatars(AvatarLibrary(tmp_path / "nowhere"), 1 << 30)
    assert avatars.get("default").name == "default"
    with pytest.raises(ModelNotFoundError):
        avatars.get("alice@0123456789abcdef")
