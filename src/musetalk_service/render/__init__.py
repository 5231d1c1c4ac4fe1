"""``musetalk-service render``: a film of an avatar that says a recording, in as much time as that takes."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from musetalk_service.config import Settings
from musetalk_service.errors import MediaFileError, ServiceError
from musetalk_service.model_files.progress import ProgressBar
from musetalk_service.render.script import frame_count, write_script
from musetalk_service.render.studio import Studio
from musetalk_service.render.subject import Subject, choose_subject
from musetalk_service.utils.audio_file import read_audio_file
from musetalk_service.utils.logs import configure_logging
from musetalk_service.utils.remux import SOUND_RATE, Mp4Writer

_STOPPED = 130
"""Exit status, as shells have it for Ctrl-C."""


def main(
    settings: Settings, file: Path, *, out: Path, avatar_id: str | None, engine: str | None, size: str | None
) -> int:
    """Make the film; returns the exit status.

    Args:
        settings: folders, device, quality; and what is not said otherwise.
        file: audio or video, whose sound is spoken.
        out: the MP4 file; replaced when the film is whole, else as it was.
        avatar_id: of AVATARS_DIR; None: the default one.
        engine: its name, or ``auto``; None: ENGINE.
        size: WIDTHxHEIGHT; None: the first of VIDEO_SIZES.
    """
    # What the processes of a server log about each other is told here as one error.
    logging.getLogger("musetalk_service").addHandler(logging.NullHandler())
    if settings.log_level == "debug":
        configure_logging(settings.log_level, settings.log_format)
    try:
        _check_out(out, file)
        subject = choose_subject(settings, avatar_id, engine, size)
        take = _Take(read_audio_file(file), read_audio_file(file, SOUND_RATE))
        started = time.monotonic()
        asyncio.run(_render(settings, subject, take, out))
        seconds = time.monotonic() - started
    except ServiceError as error:
        return _fail(error.message)
    except (MediaFileError, OSError, ValueError, av.error.FFmpegError) as error:
        return _fail(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        _fail("stopped; nothing is written")
        return _STOPPED
    print(
        f"written: {out}: {take.frames} frames at 25 fps of {subject.avatar.partition('@')[0]} by {subject.engine}, "
        f"{subject.rendition.size}, in {seconds:.1f} s, {seconds / take.frames:.3f} s a frame"
    )
    return 0


@dataclass(frozen=True)
class _Take:
    """The recording, as it is heard and as it is kept."""

    pcm: NDArray[np.int16]
    """(n,) at 16 kHz."""
    sound: NDArray[np.int16]
    """(n,) at the rate of the file that is written."""

    @property
    def frames(self) -> int:
        """Of the film."""
        return frame_count(self.pcm)


async def _render(settings: Settings, subject: Subject, take: _Take, out: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever stops it: no process and no half a file is left
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with _in_place_of(out) as aside:
        async with Studio(settings, subject) as studio:
            script = write_script(
                take.pcm,
                subject.clip_frames,
                studio.look_ahead,
                speech_end_s=settings.speech_end_ms / 1000,
                silence_hold_s=settings.silence_hold_ms / 1000,
            )
            with (
                Mp4Writer(aside, subject.rendition.size, take.sound) as film,
                ProgressBar(out.name, sys.stderr, amount=_frames) as bar,
            ):
                bar.progress(0, take.frames)
                done = 0
                async for access_unit in studio.film(script):
                    film.add(access_unit)
                    done += 1
                    bar.progress(done, take.frames)


@contextlib.contextmanager
def _in_place_of(target: Path) -> Iterator[Path]:
    """A name beside a file for what is to take its place: moved there when all went well, else removed."""
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield aside
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _check_out(out: Path, file: Path) -> None:
    """Before minutes are spent on it. Raises ``ValueError``."""
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"--out {out}: the name must end in .mp4")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    if out.is_dir():
        raise ValueError(f"--out {out}: is a folder")
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"--out {out}: is the recording itself")


def _frames(count: float) -> str:
    return f"{round(count, 2):g} frames"


def _fail(message: str) -> int:
    print(f"musetalk-service render: {' '.join(message.split())}", file=sys.stderr)
    return 1
