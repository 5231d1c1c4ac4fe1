"""The sound of any audio or video file, as speech is heard here: 16 kHz, mono, 16 bit."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.container import InputContainer
from numpy.typing import NDArray

from musetalk_service.errors import MediaFileMissingError, NoAudioTrackError, UndecodableMediaError
from musetalk_service.models.media import SAMPLE_RATE

Pcm = NDArray[np.int16]

_MICROSECONDS = 1_000_000  # of container.start_time
_EARLIEST = 0.001  # a shorter shift than a millisecond is rounding


def read_audio_file(path: Path) -> Pcm:
    """Decode the first audio track, mixed down to mono, at 16 kHz; shape (n,).

    Sample 0 is the file's start: where sound begins after the picture, silence is put before it.

    Raises:
        MediaFileMissingError: not there, a folder, or not readable.
        NoAudioTrackError: no audio track, or an empty one.
        UndecodableMediaError: not media, of an unknown codec, or damaged.
    """
    if not path.exists():
        raise MediaFileMissingError(f"{path}: there is no such file")
    if not path.is_file():
        raise MediaFileMissingError(f"{path}: not a file")
    try:
        # What a file says of itself may be in any encoding; it is not needed.
        with av.open(str(path), metadata_errors="replace") as container:
            return _read(container, path)
    except PermissionError as error:
        raise MediaFileMissingError(f"{path}: may not be read") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise UndecodableMediaError(f"{path}: cannot be decoded ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _read(container: InputContainer, path: Path) -> Pcm:
    if not container.streams.audio:
        raise NoAudioTrackError(f"{path}: has no audio track")
    pieces = list(_resampled(container))
    pcm = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if pcm.size == 0:
        raise NoAudioTrackError(f"{path}: the audio track is empty")
    return pcm


def _resampled(container: InputContainer) -> Iterator[Pcm]:
    """The pieces (n,) at 16 kHz, resampled as the service resamples chunks of another rate."""
    mixer: av.AudioResampler | None = None
    resampler: soxr.ResampleStream | None = None
    for frame in container.decode(audio=0):
        if mixer is None:
            rate = frame.sample_rate
            mixer = av.AudioResampler("s16", "mono", rate)
            if rate != SAMPLE_RATE:
                resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="int16")
            yield _silence_before(frame, container)
        for piece in mixer.resample(frame):
            yield _convert(piece, resampler)
    if mixer is not None:
        for piece in mixer.resample(None):
            yield _convert(piece, resampler)
    if resampler is not None:
        yield np.asarray(resampler.resample_chunk(np.zeros(0, np.int16), last=True), np.int16)


def _silence_before(frame: AudioFrame, container: InputContainer) -> Pcm:
    start = (container.start_time or 0) / _MICROSECONDS
    late = 0.0 if frame.time is None else frame.time - start
    return np.zeros(round(late * SAMPLE_RATE) if late > _EARLIEST else 0, np.int16)


def _convert(frame: AudioFrame, resampler: soxr.ResampleStream | None) -> Pcm:
    pcm = np.asarray(frame.to_ndarray()[0], np.int16)
    return pcm if resampler is None else np.asarray(resampler.resample_chunk(pcm), np.int16)
