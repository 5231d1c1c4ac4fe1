"""The sound of any audio or video file, as speech is heard here: mono, 16 bit, 16 kHz unless asked otherwise."""

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
_SHORTEST_GAP, _LONGEST_GAP = 0.01, 600.0  # seconds; less is rounding, more is a clock that jumped


def read_audio_file(path: Path, rate: int = SAMPLE_RATE) -> Pcm:
    """Decode the first audio track, mixed down to mono, at 16 kHz or another rate (Hz); shape (n,).

    Sample 0 is the file's start: where sound begins after the picture, silence is put before it, and so it is in the
    place of damaged or missing packets where the container keeps times (an MP3 file does not).

    Raises:
        MediaFileMissingError: not there, a folder, or not readable.
        NoAudioTrackError: no audio track, or an empty one.
        UndecodableMediaError: not media, of an unknown codec, or damaged throughout.
    """
    if not path.exists():
        raise MediaFileMissingError(f"{path}: there is no such file")
    if not path.is_file():
        raise MediaFileMissingError(f"{path}: not a file")
    try:
        # What a file says of itself may be in any encoding; it is not needed.
        with av.open(str(path), metadata_errors="replace") as container:
            return _read(container, path, rate)
    except PermissionError as error:
        raise MediaFileMissingError(f"{path}: may not be read") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise UndecodableMediaError(f"{path}: cannot be decoded ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _read(container: InputContainer, path: Path, rate: int) -> Pcm:
    if not container.streams.audio:
        raise NoAudioTrackError(f"{path}: has no audio track")
    pieces = list(_resampled(container, rate))
    pcm = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if pcm.size == 0:
        raise NoAudioTrackError(f"{path}: the audio track is empty")
    return pcm


def _resampled(container: InputContainer, wanted: int) -> Iterator[Pcm]:
    """The pieces (n,) at a rate, resampled as the service resamples chunks of another one than its own."""
    resampler: soxr.ResampleStream | None = None
    for piece, rate in _mixed(container):
        if rate == wanted:
            yield piece
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate, wanted, 1, dtype="int16")
        yield np.asarray(resampler.resample_chunk(piece), np.int16)
    if resampler is not None:
        yield np.asarray(resampler.resample_chunk(np.zeros(0, np.int16), last=True), np.int16)


def _mixed(container: InputContainer) -> Iterator[tuple[Pcm, int]]:
    """Mono pieces (n,) and their rate, which is one and the same; silence where the file's times leave a gap."""
    start = (container.start_time or 0) / _MICROSECONDS
    mixer: av.AudioResampler | None = None
    rate = written = 0
    for frame in _frames(container):
        if mixer is None:
            rate = frame.sample_rate
            mixer = av.AudioResampler("s16", "mono", rate)
        missing = 0.0 if frame.time is None else frame.time - start - written / rate
        if _SHORTEST_GAP < missing < _LONGEST_GAP:
            silence = np.zeros(round(missing * rate), np.int16)
            written += silence.size
            yield silence, rate
        for piece in mixer.resample(frame):
            written += piece.samples
            yield np.asarray(piece.to_ndarray()[0], np.int16), rate


def _frames(container: InputContainer) -> Iterator[AudioFrame]:
    """What can be decoded; damaged packets are left out, unless all are."""
    stream = container.streams.audio[0]
    decoded, damage = False, None
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError as error:
            damage = error
            continue
        for frame in frames:
            assert isinstance(frame, AudioFrame)
            decoded = True
            yield frame
    if damage is not None and not decoded:
        raise damage
