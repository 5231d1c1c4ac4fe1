"""The REST routes of avatars: upload, progress, list, look at, delete."""

import asyncio
import base64
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import UploadFile

from musetalk_service.engines.avatar import DEFAULT_AVATAR, Avatar, load_avatar
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.errors import InvalidMessageError, ModelNotFoundError
from musetalk_service.handlers.http_handler import Authorization, ErrorBody, UserId
from musetalk_service.handlers.uploads import Uploads, inside
from musetalk_service.models.avatar_manifest import AVATAR_ID_PATTERN, Consent, Manifest, Official
from musetalk_service.models.clips import ACTION_CLIPS, DEFAULT_CLIP
from musetalk_service.models.messages import USER_ID_PATTERN
from musetalk_service.models.preparation import Crop, JobStatus, Refusal
from musetalk_service.services.authentication import Authenticator, Principal, read_credentials, require
from musetalk_service.services.avatar_service import AvatarService
from musetalk_service.services.host_pool import HostPool
from musetalk_service.services.official_avatars import OfficialAvatars
from musetalk_service.services.preparation_service import PreparationService
from musetalk_service.services.session_service import SessionService
from musetalk_service.utils.pictures import jpeg, thumbnail
from musetalk_service.utils.remux import packets_to_mp4

_FACE_FILES = ("portrait.png", "landmarks.json")
_MULTIPART: Mapping[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "Photo or video of one face."},
                        "user_id": {"type": "string", "pattern": USER_ID_PATTERN},
                        "video_path": {
                            "type": "string",
                            "description": "Instead of file: a file of the server, where the operator allows that.",
                        },
                        **{
                            name: {
                                "type": "string",
                                "format": "binary",
                                "description": "Video of what this clip shows.",
                            }
                            for name in ACTION_CLIPS
                        },
                        "crop": {
                            "type": "string",
                            "example": "0.25,0.1,0.6",
                            "description": "x,y,size of the square that becomes the portrait: its left edge as part "
                            "of the width, its top as part of the height, its side as part of the shorter side.",
                        },
                        "consent_by": {"type": "string", "description": "Who agreed to the use of this face."},
                        "consent_note": {"type": "string", "description": "What was agreed."},
                    },
                }
            }
        },
    }
}


class AvatarInfo(BaseModel):
    """One prepared avatar."""

    user_id: str
    status: Literal["ready", "processing", "failed"] = Field(
        description="Avatars of the published MuseTalk scripts that lie in AVATARS_DIR are not ready at once."
    )
    reason: Refusal | None = Field(description="Why it has failed, or is not ready for every engine.")
    version: str
    created: datetime
    kind: Literal["photo", "video"]
    clips: dict[str, int] = Field(description="Frames of each clip, at 25 per second; what available_videos will say.")
    engines: list[str] = Field(description="Engines of this server that it is ready for.")
    layers: bool = Field(description="Whether its background is known, and stays still behind a moving head.")
    consent: Consent | None
    thumbnail: str = Field(description="Path of a small JPEG picture.")
    preview: str = Field(description="Path of its idle clip as MP4.")


class AvatarList(BaseModel):
    """Prepared avatars: all of them, or one's own where authentication is on."""

    avatars: list[AvatarInfo]


class Accepted(JobStatus):
    """The answer to an upload: its job, and where to ask how far it has come."""

    message: str
    status_url: str


class FramedFace(BaseModel):
    """What the preparation has cut out of the upload, and the face that it has found there."""

    portrait: str = Field(description="A data: address of a JPEG picture.")
    width: int
    height: int
    landmarks: list[tuple[float, float]] = Field(
        description="478 points (MediaPipe Face Mesh) as x, y in pixels of the portrait."
    )


@dataclass(frozen=True)
class AvatarsHandler:
    """The routes' dependencies."""

    avatars: AvatarService
    jobs: PreparationService
    official: OfficialAvatars
    sessions: SessionService
    hosts: HostPool
    authenticator: Authenticator
    uploads: Uploads
    require_consent: bool
    source_dir: Path | None
    """Files that ``video_path`` may name; None: it is refused."""

    @property
    def library(self) -> AvatarLibrary:
        return self.avatars.library

    def router(self) -> APIRouter:
        """All routes of avatars."""
        router = APIRouter(tags=["avatars"])
        gone: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody}}
        refusals: dict[int | str, dict[str, Any]] = {
            status: {"model": ErrorBody} for status in (400, 401, 403, 409, 413, 503)
        }
        for path, summary, route in (
            ("/prepare_avatar/{user_id}", "Make a user's avatar of a photo or video", self.prepare_avatar),
            ("/upload_video", "The same, as earlier clients ask for it", self.upload_video),
        ):
            router.post(
                path,
                status_code=202,
                response_model=Accepted,
                responses=refusals,
                openapi_extra=dict(_MULTIPART),
                summary=summary,
            )(route)
        router.delete(
            "/prepare_avatar/{user_id}", response_model=JobStatus, responses=gone, summary="Cancel a preparation"
        )(self.cancel)
        router.get(
            "/processing_status/{user_id}", response_model=JobStatus, responses=gone, summary="How far it has come"
        )(self.status)
        router.get(
            "/processing_status/{user_id}/events",
            response_class=StreamingResponse,
            responses={
                200: {"content": {"text/event-stream": {}}, "description": "A JobStatus at each change."},
                **gone,
            },
            summary="The same as server-sent events",
        )(self.events)
        router.get(
            "/processing_status/{user_id}/portrait",
            response_model=FramedFace | None,
            responses=gone,
            summary="The face that was found, as soon as it is cut out",
        )(self.framed_face)
        router.get("/avatars", response_model=AvatarList, summary="Prepared avatars")(self.list_avatars)
        router.get("/avatars/{user_id}", response_model=AvatarInfo, responses=gone, summary="One avatar")(self.show)
        router.delete("/avatars/{user_id}", status_code=204, responses=gone, summary="Delete an avatar everywhere")(
            self.delete
        )
        picture: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "JPEG."}}
        router.get(
            "/avatars/{user_id}/thumbnail.jpg",
            response_class=Response,
            responses={**picture, **gone},
            summary="What it looks like",
        )(self.thumbnail)
        video: dict[int | str, dict[str, Any]] = {200: {"content": {"video/mp4": {}}, "description": "MP4, no sound."}}
        router.get(
            "/avatars/{user_id}/preview.mp4",
            response_class=Response,
            responses={**video, **gone},
            summary="How it moves",
        )(self.preview)
        return router

    # --- making ---

    async def prepare_avatar(self, user_id: UserId, request: Request, authorization: Authorization = None) -> Accepted:
        """Upload a photo or a video; the answer comes at once, the avatar seconds later."""
        await self._allow(authorization, user_id)
        return await self._accept(request, user_id)

    async def upload_video(self, request: Request, authorization: Authorization = None) -> Accepted:
        """Upload a photo or a video for a ``user_id`` of the form, or for a new one."""
        principal = await self._principal(authorization)
        return await self._accept(request, None, principal)

    async def _accept(self, request: Request, user_id: str | None, principal: Principal | None = None) -> Accepted:
        if user_id is not None:
            self.jobs.check_room(_checked_id(user_id))
        form = await self.uploads.read_form(request)
        try:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            if user_id is None:
                own = principal.user_id if principal is not None else f"user-{secrets.token_hex(6)}"
                user_id = _checked_id(fields.get("user_id") or own)
                if principal is not None:
                    require(principal, user_id, "drive")
                self.jobs.check_room(user_id)
            consent, crop = self._consent(fields), _crop(fields.get("crop"))
            with contextlib.ExitStack() as undo:
                upload = await self._take(form.get("file"), fields.get("video_path"))
                undo.callback(upload.unlink, missing_ok=True)
                actions = {}
                for name in ACTION_CLIPS:
                    video = form.get(name)
                    if isinstance(video, UploadFile):
                        actions[name] = await asyncio.to_thread(self.uploads.keep, video)
                        undo.callback(actions[name].unlink, missing_ok=True)
                    elif video is not None:
                        raise InvalidMessageError(f"{name} must be a video file", field=name)
                status = self.jobs.submit(user_id, upload, consent, actions, crop)
                undo.pop_all()  # the job deletes them
        finally:
            await form.close()
        return Accepted(
            **status.model_dump(),
            message="the avatar is being prepared",
            status_url=f"/processing_status/{user_id}",
        )

    async def _take(self, file: UploadFile | str | None, video_path: str | None) -> Path:
        if isinstance(file, UploadFile):
            return await asyncio.to_thread(self.uploads.keep, file)
        if video_path is None:
            raise InvalidMessageError("the form has no file", field="file")
        if self.source_dir is None:
            raise InvalidMessageError("video_path is not allowed here: upload the file", field="video_path")
        return await asyncio.to_thread(self.uploads.keep_copy, inside(self.source_dir, video_path))

    def _consent(self, fields: Mapping[str, str]) -> Consent | None:
        by = fields.get("consent_by", "").strip()
        if not by:
            if self.require_consent:
                raise InvalidMessageError(
                    "consent_by is required: the name of the person who agreed to the use of this face",
                    field="consent_by",
                )
            return None
        try:
            return Consent(by=by, at=datetime.now(timezone.utc), note=fields.get("consent_note", "").strip())
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise InvalidMessageError(first["msg"], field=f"consent_{first['loc'][0]}") from None

    async def cancel(self, user_id: UserId, authorization: Authorization = None) -> JobStatus:
        """Ends the job that runs; the avatar before stays as it is."""
        await self._allow(authorization, user_id)
        if not await self.jobs.cancel(user_id):
            raise ModelNotFoundError("no avatar of this user is being prepared", user_id=user_id)
        return self._status(user_id)

    async def status(self, user_id: UserId, authorization: Authorization = None) -> JobStatus:
        """``completed`` as well for an avatar that was prepared before this server started."""
        await self._allow(authorization, user_id)
        return self._status(user_id)

    def _status(self, user_id: str) -> JobStatus:
        status = self.jobs.status(user_id)
        if status is not None:
            return status
        ref = self.library.find(user_id)
        if ref is None:
            raise ModelNotFoundError("no avatar of this user has been asked for", user_id=user_id)
        job_id = ref.partition("@")[2]
        return JobStatus(status="completed", user_id=user_id, job_id=job_id, stage="done", percent=100)

    async def events(self, user_id: UserId, authorization: Authorization = None) -> StreamingResponse:
        """``data`` lines with the same object, up to completed or failed (HTML standard, section 9.2)."""
        await self._allow(authorization, user_id)
        last = self._status(user_id)

        async def lines() -> AsyncIterator[str]:
            if self.jobs.status(user_id) is None:
                yield f"data: {last.model_dump_json()}\n\n"
            async for status in self.jobs.watch(user_id):
                yield f"data: {status.model_dump_json()}\n\n"

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)

    async def framed_face(self, user_id: UserId, authorization: Authorization = None) -> FramedFace | None:
        """Of the job that runs, null until it has found one; else of the avatar that there is."""
        await self._allow(authorization, user_id)
        avatar = await asyncio.to_thread(self._newest_face, user_id)
        if avatar is None:
            return None
        picture = await asyncio.to_thread(jpeg, avatar.portrait)
        height, width = avatar.portrait.shape[:2]
        return FramedFace(
            portrait=f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}",
            width=width,
            height=height,
            landmarks=[(round(float(x), 1), round(float(y), 1)) for x, y in avatar.landmarks[:, :2]],
        )

    def _newest_face(self, user_id: str) -> Avatar | None:
        status, staged = self.jobs.status(user_id), self.jobs.staged(user_id)
        if status is not None and not status.ended:
            if staged is None:
                return None
            with contextlib.suppress(OSError, ValueError, KeyError):
                portrait, points = (staged / name for name in _FACE_FILES)
                return load_avatar(user_id, portrait.read_bytes(), points.read_bytes())
            if staged.is_dir():
                return None  # it is not there yet, or half written
        return self.library.load(self._ref(user_id))

    # --- what there is ---

    async def list_avatars(self, authorization: Authorization = None) -> AvatarList:
        """Sorted by user id."""
        principal = await self._principal(authorization)
        ids = await asyncio.to_thread(lambda: sorted({*self.library.ids(), *self.library.official_ids()}))
        if principal is not None and "admin" not in principal.scopes:
            ids = [avatar_id for avatar_id in ids if avatar_id == principal.user_id]
        infos = await asyncio.gather(*(asyncio.to_thread(self._info, avatar_id) for avatar_id in ids))
        return AvatarList(avatars=[info for info in infos if info is not None])

    async def show(self, user_id: UserId, authorization: Authorization = None) -> AvatarInfo:
        """What it consists of."""
        await self._allow(authorization, user_id)
        info = await asyncio.to_thread(self._info, user_id)
        if info is None:
            raise _no_avatar(user_id)
        return info

    async def delete(self, user_id: UserId, authorization: Authorization = None) -> Response:
        """Its files, what was computed from them, and the sessions that show it: also how consent is revoked."""
        await self._allow(authorization, user_id)
        cancelled = await self.jobs.cancel(user_id)
        self.sessions.end_avatar(user_id)
        if not await self.avatars.remove(user_id) and not cancelled:
            raise _no_avatar(user_id)
        self.jobs.forget(user_id)
        return Response(status_code=204)

    async def thumbnail(self, user_id: UserId, authorization: Authorization = None) -> Response:
        """256x256."""
        await self._allow(authorization, user_id)
        ref = self._ref(user_id)
        avatar = await asyncio.to_thread(self.library.load, ref)
        return Response(await asyncio.to_thread(thumbnail, avatar.portrait), media_type="image/jpeg")

    async def preview(self, user_id: UserId, authorization: Authorization = None) -> Response:
        """The idle clip that every session of it begins with."""
        await self._allow(authorization, user_id)
        self._ref(user_id)
        ready = await self.avatars.obtain(user_id)
        best = self.avatars.renditions[0]
        units = [packet.access_unit for packet in ready.idle[best.name][DEFAULT_CLIP]]
        return Response(await asyncio.to_thread(packets_to_mp4, units, *best.size), media_type="video/mp4")

    def _info(self, user_id: str) -> AvatarInfo | None:
        ref = self.library.find(user_id)
        if ref is None:
            return self._official_info(user_id)
        manifest: Manifest = self.library.manifest(ref)
        avatar = self.library.load(ref)
        there = {engine.name for host in self.hosts.hosts for engine in host.ready.engines}
        return AvatarInfo(
            user_id=user_id,
            status="ready",
            reason=_no_face(manifest.official),
            version=manifest.version,
            created=manifest.created,
            kind=manifest.source.kind,
            clips={clip: avatar.clip_frames(clip) for clip in avatar.clips},
            engines=sorted(there if avatar.has_face else there.intersection(manifest.engines)),
            layers=avatar.matte is not None,
            consent=manifest.consent,
            thumbnail=f"/avatars/{user_id}/thumbnail.jpg",
            preview=f"/avatars/{user_id}/preview.mp4",
        )

    def _official_info(self, user_id: str) -> AvatarInfo | None:
        """Of one that lies there, but cannot be used yet."""
        files, state = self.library.official(user_id), self.official.state(user_id)
        if files is None or state is None:
            return None
        return AvatarInfo(
            user_id=user_id,
            status=state.status,
            reason=state.reason,
            version=files,
            created=datetime.fromtimestamp((self.library.root / user_id).stat().st_mtime, timezone.utc),
            kind="video",
            clips={},
            engines=[],
            layers=False,
            consent=None,
            thumbnail=f"/avatars/{user_id}/thumbnail.jpg",
            preview=f"/avatars/{user_id}/preview.mp4",
        )

    def _ref(self, user_id: str) -> str:
        ref = self.library.find(user_id)
        if ref is None:
            raise _no_avatar(user_id)
        return ref

    # --- who may ---

    async def _principal(self, authorization: str | None) -> Principal | None:
        if not self.authenticator.enabled:
            return None
        return await self.authenticator.check(read_credentials(authorization, []).token)

    async def _allow(self, authorization: str | None, user_id: str) -> None:
        principal = await self._principal(authorization)
        if principal is not None:
            require(principal, user_id, "drive")


def _no_face(official: Official | None) -> Refusal | None:
    if official is None or official.no_face_code is None:
        return None
    return Refusal(code=official.no_face_code, message=official.no_face, advice=official.no_face_advice)


def _no_avatar(user_id: str) -> ModelNotFoundError:
    return ModelNotFoundError("this user has no avatar", user_id=user_id)


def _crop(text: str | None) -> Crop | None:
    if not text:
        return None
    try:
        return Crop.parse(text)
    except ValueError:
        allowed = "x,y,size: two numbers from 0 up to 1, and one from 0.05 to 1"
        raise InvalidMessageError("crop names no square", field="crop", allowed=allowed) from None


def _checked_id(user_id: str) -> str:
    if not re.fullmatch(AVATAR_ID_PATTERN, user_id):
        raise InvalidMessageError(
            "user_id must be 1 to 64 letters, digits, hyphens or underscores", field="user_id", allowed=USER_ID_PATTERN
        )
    if user_id == DEFAULT_AVATAR:
        raise InvalidMessageError(f"user_id must not be {DEFAULT_AVATAR!r}", field="user_id")
    return user_id
