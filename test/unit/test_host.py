"""The host's graph. Its avatars: the default one, prepared ones by reference, no more of them than memory allows."""

from pathlib import Path

import pytest

from musetalk_service.config import load_settings
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.errors import ModelNotFoundError
from musetalk_service.host import HostAvatars, build_host, ready_message
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


@pytest.mark.parametrize(("look_ahead_ms", "samples"), [(0, 760), (40, 1400), (80, 2040)])
def test_the_front_is_told_of_the_look_ahead_that_is_set(look_ahead_ms: int, samples: int, tmp_path: Path) -> None:
    _, engines = build_host(load_settings(builtin_look_ahead_ms=look_ahead_ms, avatars_dir=tmp_path))
    assert engines["builtin"].info.look_ahead_samples == samples
    # Whatever draws, the session's own ear hears as far ahead.
    statuses = ready_message(engines, look_ahead_ms).engines
    assert [(status.name, status.look_ahead_samples) for status in statuses] == [
        ("builtin", samples),
        ("static", samples),
    ]
