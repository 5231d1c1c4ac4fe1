"""Avatars of the published scripts that lie in the folder: taken over once, again when they change, never twice."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.errors import AtCapacityError, ModelNotFoundError
from musetalk_service.models.avatar_manifest import Official
from musetalk_service.services.official_avatars import OfficialAvatars
from support.avatars import publish
from support.in_process import started_service


def lay(root: Path, name: str, does: str = "fine") -> Path:
    """What the server looks at, and what the stand-in for the preparation process is to do with it."""
    folder = root / name
    for part in ("full_imgs", "mask"):
        (folder / part).mkdir(parents=True)
    for part in ("coords.pkl", "mask_coords.pkl", "latents.pt"):
        (folder / part).write_bytes(b"x")
    (folder / "does").write_text(does)
    return folder


@asynccontextmanager
async def service(tmp_path: Path, cache_dir: Path, **settings: Any) -> AsyncIterator[OfficialAvatars]:
    async with started_service(cache_dir, avatars_dir=tmp_path, **settings) as started:
        await started.lend_packets()
        yield started.front.official


async def ended(official: OfficialAvatars) -> None:
    await asyncio.gather(*official._running.values(), *([official._search] if official._search else []))


def found(tmp_path: Path, name: str) -> Official | None:
    library = AvatarLibrary(tmp_path)
    ref = library.find(name)
    return None if ref is None else library.manifest(ref).official


async def test_what_lies_there_is_prepared_at_the_start(tmp_path: Path, cache_dir: Path) -> None:
    lay(tmp_path, "anna")
    lay(tmp_path, "bea")
    async with service(tmp_path, cache_dir) as official:
        assert official.state("anna") is not None and official.state("anna").status == "processing"  # type: ignore[union-attr]
        with pytest.raises(AtCapacityError, match="is being prepared") as refusal:
            official.check("anna")
        assert refusal.value.details["retry_after_ms"]
        await ended(official)
        official.check("anna")
        official.check("bea")
        official.check("nobody")
        assert official.state("anna") is None
        assert found(tmp_path, "anna") and found(tmp_path, "bea")
        assert (tmp_path / "anna" / "coords.pkl").exists()
    assert os.listdir(tmp_path / ".staging") == []


async def test_what_comes_later_is_prepared_when_it_is_wanted_and_again_when_it_changes(
    tmp_path: Path, cache_dir: Path
) -> None:
    async with service(tmp_path, cache_dir) as official:
        await ended(official)
        folder = lay(tmp_path, "anna")
        with pytest.raises(AtCapacityError):
            official.check("anna")
        await ended(official)
        official.check("anna")
        assert not official._running
        first = AvatarLibrary(tmp_path).find("anna")
        (folder / "latents.pt").write_bytes(b"others")
        official.check("anna")  # the version before is shown meanwhile
        await ended(official)
        assert AvatarLibrary(tmp_path).find("anna") != first


async def test_what_cannot_be_used_says_why_and_is_not_tried_again(tmp_path: Path, cache_dir: Path) -> None:
    folder = lay(tmp_path, "anna", "refuse")
    async with service(tmp_path, cache_dir) as official:
        await ended(official)
        for _ in range(2):
            with pytest.raises(ModelNotFoundError, match=r"cannot be used: no face\. show one"):
                official.check("anna")
            assert not official._running
        state = official.state("anna")
        assert state is not None and state.status == "failed" and state.reason is not None
        (folder / "does").write_text("fine")
        (folder / "coords.pkl").write_bytes(b"others")
        with pytest.raises(AtCapacityError):
            official.check("anna")
        await ended(official)
        official.check("anna")


async def test_a_landmarker_that_comes_later_gives_it_a_face(tmp_path: Path, cache_dir: Path) -> None:
    folder = lay(tmp_path, "anna", "no landmarker")
    async with service(tmp_path, cache_dir) as official:
        official._has_landmarker = False
        await ended(official)
        before = AvatarLibrary(tmp_path).find("anna")
        official._has_landmarker = True
        for _ in range(2):
            official.check("anna")
            await ended(official)
            assert AvatarLibrary(tmp_path).find("anna") == before  # there is none yet, and nothing is done twice
        assert ("anna", AvatarLibrary(tmp_path).official("anna"), True) in official._refused
    (folder / "does").write_text("fine")
    async with service(tmp_path, cache_dir) as official:
        official._has_landmarker = True
        official.check("anna")
        await ended(official)
        made = found(tmp_path, "anna")
        assert made is not None and made.no_face_code is None


async def test_uploads_take_its_place(tmp_path: Path, cache_dir: Path) -> None:
    lay(tmp_path, "anna")
    ref = publish(tmp_path, "anna")
    async with service(tmp_path, cache_dir) as official:
        await ended(official)
        official.check("anna")
        assert AvatarLibrary(tmp_path).find("anna") == ref


async def test_consent_can_be_demanded(tmp_path: Path, cache_dir: Path) -> None:
    lay(tmp_path, "anna")
    async with service(tmp_path, cache_dir, require_consent=True) as official:
        await ended(official)
        with pytest.raises(ModelNotFoundError, match="who agreed to the use of this face"):
            official.check("anna")
    assert found(tmp_path, "anna") is None


@pytest.mark.parametrize("part", ["full_imgs", "coords.pkl", "."])
async def test_links_are_not_followed(tmp_path: Path, cache_dir: Path, part: str) -> None:
    folder = lay(tmp_path / "outside", "anna")
    root = tmp_path / "avatars"
    root.mkdir()
    if part == ".":
        (root / "anna").symlink_to(folder)
    else:
        folder.rename(root / "anna")
        (root / "anna" / part).rename(tmp_path / part)
        (root / "anna" / part).symlink_to(tmp_path / part)
    async with service(root, cache_dir) as official:
        official.check("anna")
        assert official.state("anna") is None and AvatarLibrary(root).official_ids() == []
