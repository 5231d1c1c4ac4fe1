"""Uploads on their way to the disk: bounded in bytes from the first one on, under names of our own."""

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from musetalk_service.errors import InvalidMessageError, UploadTooLargeError

_FORM_BYTES = 64 << 10
"""Room for the other fields and the boundaries of a multipart body."""
_MAX_FILES = 3
"""The picture or video, and one for each action."""
_MAX_FIELDS = 20


@dataclass(frozen=True, slots=True)
class Uploads:
    """Where uploads go, and how large they may be."""

    folder: Path
    max_bytes: int
    """Of all files of an upload together."""

    async def read_form(self, request: Request) -> FormData:
        """A multipart body, files on the disk. To be closed.

        Raises :class:`UploadTooLargeError`, :class:`InvalidMessageError`.
        """
        limit = self.max_bytes + _FORM_BYTES
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise self.too_large()
        bounded = Request(request.scope, self._bounded(request.receive, limit))
        try:
            return await bounded.form(max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=_FORM_BYTES)
        except HTTPException as error:
            raise InvalidMessageError(f"the body is no multipart form: {error.detail}", field="body") from None

    def too_large(self) -> UploadTooLargeError:
        """The refusal."""
        return UploadTooLargeError(f"the upload is larger than {self.max_bytes >> 20} MB", max_bytes=self.max_bytes)

    def keep(self, upload: UploadFile) -> Path:
        """A copy under a name of our own; blocks. Raises :class:`UploadTooLargeError`, ``OSError``."""
        if upload.size is not None and upload.size > self.max_bytes:
            raise self.too_large()
        path = self.new_path()
        upload.file.seek(0)
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file, 1 << 20)
        return path

    def keep_copy(self, source: Path) -> Path:
        """The same of a file of the operator's."""
        if source.stat().st_size > self.max_bytes:
            raise self.too_large()
        path = self.new_path()
        shutil.copyfile(source, path)
        return path

    def new_path(self) -> Path:
        """Where nothing is yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"upload-{secrets.token_hex(8)}"

    def _bounded(self, receive: Receive, limit: int) -> Receive:
        seen = 0

        async def read() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise self.too_large()
            return message

        return read


def inside(folder: Path, name: str) -> Path:
    """A file under a folder, by its relative or absolute name, links followed.

    Raises :class:`InvalidMessageError` for whatever lies elsewhere or is no file.
    """
    try:
        root = folder.resolve(strict=True)
        path = (root / name).resolve(strict=True)
        if path.is_relative_to(root) and path.is_file():
            return path
    except (OSError, ValueError, RuntimeError):
        pass
    raise InvalidMessageError("video_path names no file of the folder that the operator allows", field="video_path")
