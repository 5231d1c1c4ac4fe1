"""An avatar from the shell: the same confined process as behind an upload, with a progress bar before it."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from musetalk_service.engines.avatar_library import AvatarLibrary, new_version
from musetalk_service.models.avatar_manifest import Consent, Manifest
from musetalk_service.models.preparation import (
    PREPARE_COMMAND,
    Crop,
    Finished,
    Line,
    Order,
    PreparationLimits,
    PreparationModels,
    Progress,
    Refused,
    parse_line,
)

_NOISE_LINES = 5


class CreationError(Exception):
    """No avatar came of it; the message says why, and what to do."""


def create_avatar(
    library: AvatarLibrary,
    source: Path,
    avatar_id: str,
    *,
    consent: Consent | None,
    limits: PreparationLimits,
    timeout_s: float,
    models: PreparationModels,
    report: Callable[[str, float], None],
    official: str | None = None,
    actions: Mapping[str, Path] | None = None,
    crop: Crop | None = None,
    command: Sequence[str] = PREPARE_COMMAND,
) -> Manifest:
    """Make an avatar of a photo or video and publish it; or of a folder of the published scripts, if ``official``.

    ``actions`` are videos for action clips, by the clips' names; ``crop`` is the square that becomes the portrait, else
    one around the face.

    Raises :class:`CreationError`, :class:`ModelNotFoundError` for files that do not load, ``OSError``.
    """
    staged = library.stage()
    try:
        order = Order(
            source=source.resolve(strict=True),
            official=official,
            actions={name: file.resolve(strict=True) for name, file in (actions or {}).items()},
            crop=crop,
            staged=staged,
            avatar_id=avatar_id,
            version=new_version(),
            consent=consent,
            limits=limits,
            models=models,
        )
        finished = _run(order, command, timeout_s, report)
        manifest = order.manifest(finished)
        library.publish(staged, manifest)
        return manifest
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _run(order: Order, command: Sequence[str], timeout_s: float, report: Callable[[str, float], None]) -> Finished:
    last: Line | None = None
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, start_new_session=True
        )
        assert process.stdin is not None and process.stdout is not None
        watchdog = threading.Timer(timeout_s, _end, [process])
        watchdog.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(order.model_dump_json().encode())
                process.stdin.close()
            for line in process.stdout:
                last = parse_line(line)
                if isinstance(last, Progress):
                    report(last.stage, last.percent)
            process.wait()
        except ValidationError:
            raise CreationError("the file cannot be read: it is damaged, or too large") from None
        finally:
            timed_out = not watchdog.is_alive() and process.returncode not in (0, None)
            watchdog.cancel()
            _end(process)
        if isinstance(last, Refused):
            raise CreationError(f"{last.reason.message}. {last.reason.advice}")
        if timed_out:
            raise CreationError(f"reading the file took longer than {timeout_s:.0f} s. Make it smaller or shorter.")
        if not isinstance(last, Finished) or process.returncode != 0:
            noise.seek(0)
            said = noise.read().decode(errors="replace").splitlines()[-_NOISE_LINES:]
            raise CreationError(
                "\n".join(["the file cannot be read: it is damaged, or too large to be read here", *said])
            )
        return last


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
