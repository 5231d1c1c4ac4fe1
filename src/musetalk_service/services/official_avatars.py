"""Avatars of the published MuseTalk scripts that lie in AVATARS_DIR: in the background a version is made of each.

They are found when the server starts and when somebody wants one, and made anew when their files have changed.
"""

import asyncio
import contextlib
import importlib.util
import logging
from dataclasses import dataclass
from typing import Literal

from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.errors import AtCapacityError, ConflictError, ModelNotFoundError
from musetalk_service.models.avatar_manifest import Consent
from musetalk_service.models.preparation import Refusal
from musetalk_service.services.preparation_service import PreparationService

log = logging.getLogger(__name__)

NO_CONSENT = Refusal(
    code="no_consent",
    message="nobody has said who agreed to the use of this face",
    advice="Run musetalk-service avatar import with its folder and --consent-by.",
)


@dataclass(frozen=True)
class _Work:
    """What is to be done for one avatar."""

    files: str
    needs_face: bool
    """It is used already, without landmarks for want of a landmarker."""
    consent: Consent | None


@dataclass(frozen=True)
class OfficialState:
    """How far an avatar that cannot be used yet has come."""

    status: Literal["processing", "failed"]
    reason: Refusal | None = None


class OfficialAvatars:
    """Those of one library."""

    def __init__(
        self, library: AvatarLibrary, jobs: PreparationService, *, require_consent: bool, retry_after_s: float
    ) -> None:
        self._library = library
        self._jobs = jobs
        self._require_consent = require_consent
        self._retry_after_ms = round(1000 * retry_after_s)
        self._has_landmarker = importlib.util.find_spec("mediapipe") is not None
        self._refused: dict[tuple[str, str, bool], Refusal] = {}
        """Why nothing came of it, by id, files and whether a face was to be found: it is not tried again."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._search: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Make ready what lies there, one after the other; returns at once."""
        self._search = asyncio.create_task(self._prepare_all(), name="official-avatars")

    async def close(self) -> None:
        """Stop. Twice is fine."""
        tasks = [*self._running.values(), *([] if self._search is None else [self._search])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def check(self, avatar_id: str) -> None:
        """Before a session shows an avatar: begin what is to be done for it.

        Raises :class:`AtCapacityError` while it cannot be used yet, :class:`ModelNotFoundError` where it never will.
        """
        if self._library.official(avatar_id) is None:  # a few stats: less than a thread would take
            return
        self.begin(avatar_id)
        state = self.state(avatar_id)
        if state is None:
            return
        if state.reason is not None:
            raise ModelNotFoundError(
                f"this user's avatar cannot be used: {state.reason.message}. {state.reason.advice}",
                user_id=avatar_id,
                reason=state.reason.code,
            )
        raise AtCapacityError(
            "this user's avatar is being prepared", user_id=avatar_id, retry_after_ms=self._retry_after_ms
        )

    def state(self, avatar_id: str) -> OfficialState | None:
        """Of one that lies there and cannot be used yet; None for all others."""
        files = self._library.official(avatar_id)
        if files is None or self._library.find(avatar_id) is not None:
            return None
        reason = self._refused.get((avatar_id, files, False))
        return OfficialState("processing") if reason is None else OfficialState("failed", reason)

    def begin(self, avatar_id: str) -> None:
        """Make a version of what lies there in the background, unless that is done, under way, or has failed."""
        work = self._find_work(avatar_id)
        if work is None or avatar_id in self._running:
            return
        if self._require_consent and work.consent is None:
            self._refuse(avatar_id, work, NO_CONSENT)
            return
        task = self._running[avatar_id] = asyncio.create_task(self._do(avatar_id, work), name=f"official-{avatar_id}")
        task.add_done_callback(lambda _: self._running.pop(avatar_id, None))

    async def _prepare_all(self) -> None:
        for avatar_id in await asyncio.to_thread(self._library.official_ids):
            self.begin(avatar_id)
            task = self._running.get(avatar_id)
            if task is not None:
                await asyncio.wait([task])

    async def _do(self, avatar_id: str, work: _Work) -> None:
        with contextlib.suppress(ConflictError, AtCapacityError):  # whoever wants it next tries again
            self._jobs.submit_official(
                avatar_id,
                self._library.root / avatar_id,
                work.files,
                needs_face=work.needs_face,
                consent=work.consent,
            )
            async for status in self._jobs.watch(avatar_id):
                if status.ended and status.reason is not None and status.reason.code != "cancelled":
                    self._refuse(avatar_id, work, status.reason)

    def _refuse(self, avatar_id: str, work: _Work, reason: Refusal) -> None:
        self._refused[avatar_id, work.files, work.needs_face] = reason
        log.warning("official avatar not prepared", extra={"avatar": avatar_id, "cause": reason.message})

    def _find_work(self, avatar_id: str) -> _Work | None:
        files = self._library.official(avatar_id)
        if files is None:
            return None
        work = _Work(files, needs_face=False, consent=None)
        ref = self._library.find(avatar_id)
        if ref is not None:
            try:
                manifest = self._library.manifest(ref)
            except ModelNotFoundError:  # damaged: the files are there to make another of
                manifest = None
            if manifest is not None:
                if manifest.official is None:
                    return None  # an upload has taken their place
                if manifest.official.files == files:
                    if manifest.official.no_face_code != "unavailable" or not self._has_landmarker:
                        return None
                    work = _Work(files, needs_face=True, consent=manifest.consent)
        return None if (avatar_id, files, work.needs_face) in self._refused else work
