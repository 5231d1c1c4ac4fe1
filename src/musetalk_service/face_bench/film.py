"""The track as a film with its sound."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from musetalk_service.face_bench.subject import Picture
from musetalk_service.models.media import FPS, SAMPLE_RATE

_COLOUR = "colorprim=smpte170m:transfer=smpte170m:colormatrix=smpte170m:range=tv"
_AAC_FRAME = 1024


def write_film(path: Path, pictures: list[Picture], pcm: NDArray[np.int16]) -> None:
    """An MP4 of I420 pictures at 25 fps and 16 kHz mono sound. Raises ``OSError`` or ``av.FFmpegError``."""
    rows, width = pictures[0].shape
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = width, rows * 2 // 3, "yuv420p"
        video.options = {"crf": "18", "preset": "veryfast", "x264-params": _COLOUR}
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = np.pad(pcm, (0, -len(pcm) % _AAC_FRAME)).astype(np.float32) / 32768
        for start in range(0, len(samples), _AAC_FRAME):
            sound = av.AudioFrame.from_ndarray(samples[None, start : start + _AAC_FRAME], format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
