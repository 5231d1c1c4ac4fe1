"""Access units into a file that players open, without decoding anything."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final

import av
import numpy as np
from av.container import OutputContainer
from av.stream import Stream
from numpy.typing import NDArray

from musetalk_service.models.media import FPS, FrameSize
from musetalk_service.utils import h264

SOUND_RATE: Final = 48_000
"""Hz; of the sound of an MP4 file."""
_SOUND_BITS_PER_S: Final = 128_000
_SOUND_PER_FRAME: Final = SOUND_RATE // FPS


def packets_to_mp4(access_units: Sequence[bytes], width: int, height: int) -> bytes:
    """An MP4 file, fragmented so that it plays while it loads, of H.264 access units (Annex B), one per frame."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as file:
        stream = file.add_mux_stream("h264", rate=FPS, width=width, height=height)
        for index, unit in enumerate(access_units):
            file.mux(_packet(stream, index, unit))
    return target.getvalue()


class Mp4Writer:
    """An MP4 file of access units that come one after the other, and of sound as AAC. A context manager.

    The index is put in front, so that the file plays while it loads.
    """

    def __init__(self, path: Path, size: FrameSize, sound: NDArray[np.int16]) -> None:
        """
        Args:
            path: of any name; a file that is there is overwritten.
            size: of the pictures.
            sound: (n,) mono at ``SOUND_RATE``; sample 0 belongs to the first frame.

        Raises:
            OSError, av.FFmpegError: the file cannot be written; so do all other methods.
        """
        self._file: OutputContainer = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._video = self._file.add_mux_stream("h264", rate=FPS, width=size.width, height=size.height)
        self._audio = self._file.add_stream("aac", rate=SOUND_RATE, layout="mono")
        self._audio.bit_rate = _SOUND_BITS_PER_S
        self._sound = sound
        self._written = 0
        self._frames = 0

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._add_sound(len(self._sound))
                self._file.mux(self._audio.encode(None))
        finally:
            self._file.close()

    def add(self, access_unit: bytes) -> None:
        """The next frame (H.264, Annex B), shown for 40 ms, and the sound that belongs to it."""
        self._file.mux(_packet(self._video, self._frames, access_unit))
        self._frames += 1
        self._add_sound(self._frames * _SOUND_PER_FRAME)

    def _add_sound(self, until: int) -> None:
        piece = self._sound[self._written : until]
        if len(piece):
            frame = av.AudioFrame.from_ndarray(piece[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, self._written, Fraction(1, SOUND_RATE)
            self._file.mux(self._audio.encode(frame))
            self._written += len(piece)


def _packet(stream: Stream, index: int, unit: bytes) -> "av.Packet[Stream]":
    packet = av.Packet(unit)
    packet.stream = stream
    packet.time_base = Fraction(1, FPS)
    packet.pts = packet.dts = index
    packet.duration = 1
    packet.is_keyframe = h264.is_idr(unit)
    return packet
