"""Preparation jobs: an upload goes in, a process of its own makes an avatar of it, everybody may watch.

A job that fails, is cancelled or crashes leaves nothing behind but its reason; the avatar before stays.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import signal
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from musetalk_service.engines.avatar_library import new_version
from musetalk_service.errors import AtCapacityError, ConflictError, InvalidMessageError, ProcessingError, ServiceError
from musetalk_service.models.avatar_manifest import Consent, Manifest
from musetalk_service.models.preparation import (
    PREPARE_COMMAND,
    Crop,
    Finished,
    JobStatus,
    Line,
    Order,
    PreparationLimits,
    PreparationModels,
    Progress,
    Refusal,
    Refused,
    parse_line,
)
from musetalk_service.services.avatar_service import AvatarService, ReadyAvatar

log = logging.getLogger(__name__)

_KEPT_STATUSES = 1000
_LONGEST_LINE = 1 << 22
_OUR_FAULT = frozenset({"failed", "unavailable", "cancelled"})
"""Codes of refusals that another picture would not change."""
_CANCELLED = Refusal(code="cancelled", message="the preparation was cancelled", advice="Start again when you like.")
_TIMED_OUT = Refusal(
    code="timed_out", message="reading the file took too long", advice="Make it smaller, or cut it shorter."
)
_CRASHED = Refusal(
    code="not_media",
    message="the file cannot be read: it is damaged, or too large to be read here",
    advice="Save it anew with another program, or make it smaller.",
)


@dataclass(frozen=True, slots=True)
class PreparationSettings:
    """What the jobs are held to, and where their models are."""

    limits: PreparationLimits
    timeout_s: float
    jobs: int
    """At the same time."""
    queue: int
    """More of them wait; beyond that they are refused."""
    retry_after_s: int
    models: PreparationModels


@dataclass
class _Job:
    status: JobStatus
    upload: Path
    consent: Consent | None
    official: str | None = None
    """Tells the files of a folder of the published scripts, which is not ours to delete, from later ones."""
    needs_face: bool = False
    actions: Mapping[str, Path] = field(default_factory=dict)
    crop: Crop | None = None
    staged: Path | None = None
    ready: ReadyAvatar | None = None
    task: asyncio.Task[Refusal | None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def update(self, **fields: Any) -> None:
        self.status = self.status.model_copy(update=fields)
        self.changed.set()
        self.changed = asyncio.Event()


class PreparationService:
    """All jobs of this server. At most one for an avatar at a time."""

    def __init__(
        self, avatars: AvatarService, settings: PreparationSettings, command: Sequence[str] = PREPARE_COMMAND
    ) -> None:
        self._avatars = avatars
        self._settings = settings
        self._command = command
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        self._slots = asyncio.Semaphore(settings.jobs)

    def check_room(self, user_id: str) -> None:
        """Before an upload is read: :class:`ConflictError` while a job of this user runs, :class:`AtCapacityError`."""
        running = [job for job in self._jobs.values() if not job.status.ended]
        if user_id in self._jobs and self._jobs[user_id] in running:
            raise ConflictError("an avatar of this user is being prepared; cancel that first", user_id=user_id)
        if len(running) >= self._settings.jobs + self._settings.queue:
            retry = self._settings.retry_after_s
            raise AtCapacityError("too many avatars are being prepared", retry_after_ms=1000 * retry)

    def submit(
        self,
        user_id: str,
        upload: Path,
        consent: Consent | None,
        actions: Mapping[str, Path] | None = None,
        crop: Crop | None = None,
    ) -> JobStatus:
        """Begin a job, also with videos for action clips or a chosen square. All files are deleted when it ends.

        Raises what :meth:`check_room` does.
        """
        return self._begin(_Job(_queued(user_id), upload, consent, actions=actions or {}, crop=crop))

    def submit_official(
        self, user_id: str, folder: Path, files: str, *, needs_face: bool, consent: Consent | None
    ) -> JobStatus:
        """The same for a folder of the published MuseTalk scripts, which stays. Nobody waits for what comes of it.

        ``needs_face``: without landmarks it is not wanted.
        """
        return self._begin(_Job(_queued(user_id), folder, consent, files, needs_face))

    def _begin(self, job: _Job) -> JobStatus:
        user_id = job.status.user_id
        self.check_room(user_id)
        self._jobs[user_id] = job
        self._jobs.move_to_end(user_id)
        self._forget_oldest()
        job.task = asyncio.create_task(self._run(job), name=f"prepare-{user_id}")
        job.task.add_done_callback(lambda task: _conclude(job, task))  # also of a task that never began
        return job.status

    async def make_face(self, picture: bytes) -> ReadyAvatar:
        """An avatar of one picture for one session alone, which is gone with the session.

        Raises :class:`AtCapacityError`, :class:`ProcessingError`, and :class:`InvalidMessageError` for a picture
        from which none can be made.
        """
        name = f"~{secrets.token_hex(8)}"
        self._settings.models.cache_dir.mkdir(parents=True, exist_ok=True)
        upload = self._settings.models.cache_dir / f"face-{name[1:]}"
        self.check_room(name)
        await asyncio.to_thread(upload.write_bytes, picture)
        try:
            self.submit(name, upload, None)
        except ServiceError:
            upload.unlink(missing_ok=True)
            raise
        job = self._jobs[name]
        assert job.task is not None
        try:
            await asyncio.wait([job.task])
        finally:
            job.task.cancel()
            self._jobs.pop(name, None)
        if job.status.reason is not None:
            reason = job.status.reason
            kind = ProcessingError if reason.code in _OUR_FAULT else InvalidMessageError
            raise kind(f"face_image: {reason.message}. {reason.advice}", field="data.face_image", reason=reason.code)
        assert job.ready is not None
        return job.ready

    def status(self, user_id: str) -> JobStatus | None:
        """How far the newest job of a user has come; None when there was none."""
        job = self._jobs.get(user_id)
        return None if job is None else job.status

    def staged(self, user_id: str) -> Path | None:
        """Where a job that runs leaves the avatar's files, as they come; None before and after."""
        job = self._jobs.get(user_id)
        return None if job is None or job.status.ended else job.staged

    async def watch(self, user_id: str) -> AsyncIterator[JobStatus]:
        """The status now and at each change, up to the end of the job."""
        job = self._jobs.get(user_id)
        while job is not None:
            status, changed = job.status, job.changed
            yield status
            if status.ended:
                return
            await changed.wait()

    async def cancel(self, user_id: str) -> bool:
        """End a running job; returns whether there was one."""
        job = self._jobs.get(user_id)
        if job is None or job.status.ended or job.task is None:
            return False
        job.task.cancel()
        await asyncio.wait([job.task])
        return True

    def forget(self, user_id: str) -> None:
        """The user's newest job, which has ended, is not told of any more."""
        job = self._jobs.get(user_id)
        if job is not None and job.status.ended:
            del self._jobs[user_id]

    async def close(self) -> None:
        """End all jobs. Twice is fine."""
        for user_id in list(self._jobs):
            await self.cancel(user_id)

    def _forget_oldest(self) -> None:
        ended = [user_id for user_id, job in self._jobs.items() if job.status.ended]
        for user_id in ended[: max(0, len(self._jobs) - _KEPT_STATUSES)]:
            del self._jobs[user_id]

    async def _run(self, job: _Job) -> Refusal | None:
        """Make the avatar; returns why there is none."""
        user_id = job.status.user_id
        async with self._slots:
            job.staged = self._avatars.library.stage()  # not in a thread: cancelled there, it would be nobody's
            outcome = await self._prepare(job, job.staged)
            if isinstance(outcome, Refusal):
                return outcome
            job.update(stage="encoding", percent=95)
            await asyncio.to_thread(self._avatars.library.publish, job.staged, outcome)
        if job.official is not None:
            await self._avatars.replaced(user_id)
        elif user_id.startswith("~"):
            job.ready = await self._avatars.make_ready_once(f"{user_id}@{outcome.version}")
        else:
            await self._avatars.published(user_id)
        return None

    async def _prepare(self, job: _Job, staged: Path) -> Manifest | Refusal:
        settings = self._settings
        order = Order(
            source=job.upload,
            official=job.official,
            needs_face=job.needs_face,
            actions=dict(job.actions),
            crop=job.crop,
            staged=staged,
            avatar_id=job.status.user_id,
            version=new_version(),
            consent=job.consent,
            limits=settings.limits,
            models=settings.models,
        )
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        try:
            last = await asyncio.wait_for(self._follow(job, process, order), settings.timeout_s)
        except asyncio.TimeoutError:
            return _TIMED_OUT
        except (ValidationError, ValueError, OSError) as error:
            log.warning("preparation process cannot be understood", extra={"cause": str(error)[:200]})
            return _CRASHED
        finally:
            await _end(process)
        match last:
            case Finished():
                return order.manifest(last)
            case Refused():
                return last.reason
            case _:
                log.warning("preparation process ended early", extra={"status": process.returncode})
                return _CRASHED

    @staticmethod
    async def _follow(job: _Job, process: asyncio.subprocess.Process, order: Order) -> Line | None:
        """Hand the order over and take note of the progress; returns the last line."""
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(order.model_dump_json().encode())
        process.stdin.close()
        last: Line | None = None
        async for line in process.stdout:
            last = parse_line(line)
            if isinstance(last, Progress):
                job.update(stage=last.stage, percent=round(0.9 * last.percent))
        await process.wait()
        return last if process.returncode == 0 else None


def _queued(user_id: str) -> JobStatus:
    return JobStatus(status="processing", user_id=user_id, job_id=secrets.token_hex(8), stage="queued", percent=0)


async def _end(process: asyncio.subprocess.Process) -> None:
    """No process of the group is left, whatever it was doing."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _conclude(job: _Job, task: "asyncio.Task[Refusal | None]") -> None:
    """Nothing but the outcome is left."""
    if job.official is None:
        for file in (job.upload, *job.actions.values()):
            file.unlink(missing_ok=True)
    if job.staged is not None:
        shutil.rmtree(job.staged, ignore_errors=True)
    reason = _CANCELLED if task.cancelled() else _explain(job, task)
    if reason is None:
        job.update(status="completed", stage="done", percent=100)
    else:
        job.update(status="failed", reason=reason)
    log.info("preparation ended", extra={"user_id": job.status.user_id, "status": job.status.status})


def _explain(job: _Job, task: "asyncio.Task[Refusal | None]") -> Refusal | None:
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, ServiceError):
        return Refusal(code="failed", message=error.message, advice="Try again later.")
    log.error("preparation failed", extra={"user_id": job.status.user_id}, exc_info=error)
    return Refusal(code="failed", message="the avatar could not be made", advice="The server's log says why.")
