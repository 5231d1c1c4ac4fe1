"""Writes what a session brought to an MP4 file: the H.264 stream as it came, and the speech where it is spoken."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from musetalk_service.client import ReceivedFrame
from support.client_speech import Recording, Samples

FRAME_MS = 40


def save(
    path: Path,
    frames: Sequence[ReceivedFrame],
    recording: Recording | None,
    size: tuple[int, int],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Remuxes without encoding the video anew.

    ``recording`` is the session's audio, counted as ``audio_timestamp`` does; ``size`` is (width, height);
    ``progress`` hears the number of frames written. Raises OSError or ValueError where the file cannot be written.
    """
    origin = frames[0].timestamp_ms
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_mux_stream("h264", rate=25, width=size[0], height=size[1])
        audio = container.add_stream("aac", rate=recording.sample_rate, layout="mono") if recording else None
        for number, frame in enumerate(frames, 1):
            packet = av.Packet(frame.access_unit)
            packet.stream = video
            packet.pts = packet.dts = frame.timestamp_ms - origin
            packet.duration = FRAME_MS
            packet.time_base = Fraction(1, 1000)
            packet.is_keyframe = frame.is_keyframe
            container.mux(packet)
            if progress is not None:
                progress(number)
        if recording is not None and audio is not None:
            sound = av.AudioFrame.from_ndarray(placed_audio(frames, recording)[None, :], "s16", "mono")
            sound.sample_rate = recording.sample_rate
            sound.pts, sound.time_base = 0, Fraction(1, recording.sample_rate)
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))


def placed_audio(frames: Sequence[ReceivedFrame], recording: Recording) -> Samples:
    """The recording on the video's time line: each frame's own 40 ms of it, silence elsewhere."""
    speech = np.frombuffer(recording.pcm, "<i2")
    per_ms = recording.sample_rate / 1000
    origin = frames[0].timestamp_ms
    track = np.zeros(round((frames[-1].timestamp_ms - origin + FRAME_MS) * per_ms), np.int16)
    for frame in frames:
        if frame.audio_timestamp_ms is None:
            continue
        begin = round(frame.audio_timestamp_ms * per_ms)
        piece = speech[begin : begin + round(FRAME_MS * per_ms)]
        start = round((frame.timestamp_ms - origin) * per_ms)
        track[start : start + len(piece)] = piece[: len(track) - start]
    return track
