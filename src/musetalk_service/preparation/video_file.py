"""Video files: their frames at 25 a second and upright, whatever rate and orientation they were taken with."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from musetalk_service.models.media import FPS
from musetalk_service.preparation.errors import NotMediaError, TooLargeError, TooLongError, TooShortError

Picture = NDArray[np.uint8]

_LEAST_FRAMES: Final = 2 * FPS
_BAD_PACKETS: Final = 0.1
"""Share of packets that may be damaged."""


@dataclass(frozen=True)
class VideoLimits:
    """What is accepted."""

    max_pixels: int = 1920 * 1920
    """Of a frame."""
    max_seconds: float = 120.0


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself; it may be wrong."""

    width: int
    height: int
    seconds: float
    """0 when it is not said."""


class FrameSource(Protocol):
    """Frames that can be gone through again and again."""

    @property
    def expected(self) -> int:
        """About how many there are; 0 when that is not known."""
        ...

    def __iter__(self) -> Iterator[Picture]:
        """(h, w, 3) BGR each, all of one size, 25 a second. Raises :class:`PreparationError`."""
        ...


@dataclass(frozen=True)
class VideoFrames:
    """Those of a video file."""

    path: Path
    limits: VideoLimits

    @property
    def expected(self) -> int:
        """By what the file says. Raises what :func:`probe_video` does."""
        return round(probe_video(self.path, self.limits).seconds * FPS)

    def __iter__(self) -> Iterator[Picture]:
        return read_frames(self.path, self.limits)


def probe_video(path: Path, limits: VideoLimits) -> VideoInfo:
    """Look into a file without decoding it.

    Raises:
        NotMediaError: no video.
        TooLargeError, TooLongError: beyond the limits.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise NotMediaError("the file holds no moving picture")
            stream = container.streams.video[0]
            if stream.codec_context is None:  # of a codec that a damaged header names
                raise NotMediaError("the video's codec is not known")
            seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            info = VideoInfo(stream.width, stream.height, seconds or (container.duration or 0) / av.time_base)
    except (av.error.FFmpegError, ValueError) as error:
        raise NotMediaError("the file is not a video, or is damaged") from error
    if info.width * info.height > limits.max_pixels:
        raise TooLargeError(f"the video has {info.width}x{info.height} pixels, at most {limits.max_pixels} are allowed")
    if info.seconds > limits.max_seconds + 1.0:
        raise TooLongError(f"the video lasts {info.seconds:.0f} s, at most {limits.max_seconds:.0f} are allowed")
    return info


def read_frames(path: Path, limits: VideoLimits) -> Iterator[Picture]:
    """The frames that are seen at 0, 40, 80 ... ms after the first, (h, w, 3) BGR each, all of one size.

    Raises:
        NotMediaError: cannot be decoded, or the size of the picture changes.
        TooLargeError, TooLongError: beyond the limits.
        TooShortError: less than two seconds.
    """
    probe_video(path, limits)
    count, shape = 0, None
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            for frame, times in _paced(_frames(container)):
                if frame.width * frame.height > limits.max_pixels:
                    raise TooLargeError(f"a frame has {frame.width}x{frame.height} pixels")
                count += times
                if count > limits.max_seconds * FPS:
                    raise TooLongError(f"the video is longer than {limits.max_seconds:.0f} s")
                picture = _upright(frame)
                if shape is not None and picture.shape != shape:
                    raise NotMediaError("the size of the picture changes within the video")
                shape = picture.shape
                for _ in range(times):
                    yield picture
    except (av.error.FFmpegError, ValueError) as error:
        raise NotMediaError("the video cannot be decoded") from error
    if count < _LEAST_FRAMES:
        raise TooShortError(f"the video lasts {count / FPS:.1f} s, at least {_LEAST_FRAMES / FPS:.0f} are needed")


def _frames(container: InputContainer) -> Iterator[VideoFrame]:
    """What can be decoded; a few damaged packets are left out."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    packets = damaged = 0
    for packet in container.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged += 1
            if damaged > max(3.0, _BAD_PACKETS * packets):
                raise
            continue
        for frame in frames:
            assert isinstance(frame, VideoFrame)
            yield frame


def _paced(frames: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, int]]:
    """Each frame with how many 40 ms instants fall on it; those with none are left out."""
    shown: VideoFrame | None = None
    start = end = 0.0
    done = 0
    for frame in frames:
        time = end if frame.pts is None else frame.time
        if shown is None:
            start = time
        elif time - start > done / FPS:
            times = int(np.ceil((time - start) * FPS - 1e-6)) - done
            if times > 0:
                yield shown, times
                done += times
        shown = frame
        end = time + 1.0 / FPS
    if shown is not None:
        times = int(np.ceil((end - start) * FPS - 1e-6)) - done
        if times > 0:
            yield shown, times


def _upright(frame: VideoFrame) -> Picture:
    picture = frame.to_ndarray(format="bgr24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else np.asarray(picture, np.uint8)
