"""Jobs: whole avatars or a reason, nothing left behind, one at a time for a user, watched and cancelled."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest

from musetalk_service.errors import AtCapacityError, ConflictError
from musetalk_service.models.avatar_manifest import Consent
from musetalk_service.models.preparation import JobStatus, PreparationLimits, PreparationModels
from musetalk_service.services.preparation_service import PreparationService, PreparationSettings
from support.in_process import Service, started_service
from support.preparation_child import COMMAND

LIMITS = PreparationLimits(max_pixels=1_000_000, max_seconds=10, max_memory_mb=1024, max_cpu_s=20)


class Jobs:
    """A service of jobs and the folders around it."""

    def __init__(self, folder: Path, service: Service, timeout_s: float) -> None:
        settings = PreparationSettings(
            LIMITS,
            timeout_s=timeout_s,
            jobs=1,
            queue=1,
            retry_after_s=5,
            models=PreparationModels(folder=folder, cache_dir=folder),
        )
        self.avatars = service.front.avatars
        self.service = PreparationService(self.avatars, settings, COMMAND)
        self._folder = folder

    def submit(self, user_id: str, does: str, consent: Consent | None = None) -> JobStatus:
        upload = self._folder / f"upload-{user_id}"
        upload.write_text(does)
        return self.service.submit(user_id, upload, consent)

    async def result(self, user_id: str) -> list[JobStatus]:
        return [status async for status in self.service.watch(user_id)]

    def left(self) -> list[str]:
        """Files that should not be there any more."""
        staging = self.avatars.library.root / ".staging"
        staged = os.listdir(staging) if staging.is_dir() else []
        return [*staged, *(path.name for path in self._folder.glob("upload-*"))]


@asynccontextmanager
async def running(tmp_path: Path, cache_dir: Path, timeout_s: float = 60.0) -> AsyncIterator[Jobs]:
    async with started_service(cache_dir, avatars_dir=tmp_path / "avatars") as service:
        await service.lend_packets()
        jobs = Jobs(tmp_path, service, timeout_s)
        try:
            yield jobs
        finally:
            await jobs.service.close()
        assert jobs.left() == []


async def test_an_upload_becomes_the_users_avatar(tmp_path: Path, cache_dir: Path) -> None:
    async with running(tmp_path, cache_dir) as jobs:
        consent = Consent(by="Alice", at=datetime(2026, 1, 2, tzinfo=timezone.utc), note="for tests")
        assert jobs.submit("alice", "fine", consent).status == "processing"
        seen = await jobs.result("alice")
        assert [status.status for status in seen][-1] == "completed"
        assert [status.percent for status in seen] == sorted(status.percent for status in seen)
        assert {"queued", "face", "encoding", "done"} <= {status.stage for status in seen}
        library = jobs.avatars.library
        ref = library.find("alice")
        assert ref is not None and (await jobs.avatars.obtain("alice")).ref == ref
        manifest = library.manifest(ref)
        assert manifest.consent == consent and manifest.source.kind == "photo"
        assert jobs.left() == []


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("refuse", "no_face"),
        ("crash", "not_media"),
        ("garbage", "not_media"),
        ("silence", "not_media"),
        ("wrong", "not_media"),
        ("exit", "not_media"),
        ("damaged", "failed"),
    ],
)
async def test_what_fails_leaves_its_reason_and_the_avatar_before(
    tmp_path: Path, cache_dir: Path, does: str, code: str
) -> None:
    async with running(tmp_path, cache_dir) as jobs:
        jobs.submit("alice", "fine")
        await jobs.result("alice")
        before = jobs.avatars.library.find("alice")
        jobs.submit("alice", does)
        last = (await jobs.result("alice"))[-1]
        assert last.status == "failed" and last.reason is not None
        assert last.reason.code == code and last.reason.message and last.reason.advice
        assert jobs.avatars.library.find("alice") == before
        assert (await jobs.avatars.obtain("alice")).ref == before
        assert jobs.left() == []


async def test_cancelled_job_leaves_nothing(tmp_path: Path, cache_dir: Path) -> None:
    async with running(tmp_path, cache_dir) as jobs:
        jobs.submit("alice", "hang")
        async for status in jobs.service.watch("alice"):
            if status.stage == "face":
                break
        assert await jobs.service.cancel("alice")
        last = jobs.service.status("alice")
        assert last is not None and last.reason is not None and last.reason.code == "cancelled"
        assert not await jobs.service.cancel("alice")
        assert jobs.left() == [] and jobs.avatars.library.find("alice") is None


async def test_job_that_hangs_is_ended_at_its_deadline(tmp_path: Path, cache_dir: Path) -> None:
    async with running(tmp_path, cache_dir, timeout_s=0.5) as jobs:
        jobs.submit("alice", "hang")
        last = (await jobs.result("alice"))[-1]
        assert last.reason is not None and last.reason.code == "timed_out"


async def test_one_job_for_a_user_and_a_bounded_queue(tmp_path: Path, cache_dir: Path) -> None:
    async with running(tmp_path, cache_dir) as jobs:
        jobs.submit("alice", "hang")
        with pytest.raises(ConflictError):
            jobs.service.check_room("alice")
        jobs.submit("bob", "fine")
        with pytest.raises(AtCapacityError) as refusal:
            jobs.service.check_room("carol")
        assert refusal.value.details["retry_after_ms"] == 5000
        await asyncio.sleep(0)
        waiting = jobs.service.status("bob")
        assert waiting is not None and waiting.stage == "queued"
        await jobs.service.cancel("alice")
        assert (await jobs.result("bob"))[-1].status == "completed"
        jobs.service.check_room("carol")


async def test_users_without_a_job_have_no_status(tmp_path: Path, cache_dir: Path) -> None:
    async with running(tmp_path, cache_dir) as jobs:
        assert jobs.service.status("nobody") is None
        assert await jobs.result("nobody") == []
        assert not await jobs.service.cancel("nobody")
        jobs.submit("alice", "refuse")
        await jobs.result("alice")
        jobs.service.forget("alice")
        assert jobs.service.status("alice") is None


async def test_server_that_ends_ends_its_jobs(tmp_path: Path, cache_dir: Path) -> None:
    async with running(tmp_path, cache_dir) as jobs:
        jobs.submit("alice", "hang")
        jobs.submit("bob", "hang")
        await jobs.service.close()
        await jobs.service.close()
        for user_id in ("alice", "bob"):
            status = jobs.service.status(user_id)
            assert status is not None and status.ended
