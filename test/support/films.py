"""Small video files, made by the test that needs them."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


_TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def write_film(
    path: Path, pictures: Iterable[Picture], fps: int = 25, times: Sequence[float] | None = None, turn: int = 0
) -> Path:
    """H.264 of (h, w, 3) BGR pictures at a rate, or at times in seconds, to be shown turned clockwise by degrees."""
    with av.open(str(path), "w") as container:
        stream = None
        for i, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream("libx264", rate=fps)
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                stream.options = {"crf": "12", "preset": "ultrafast", "bf": "0"}
                if turn:
                    a, b, c, d = (65536 * part for part in _TURNS[turn])
                    stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
                stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = round(1000 * (times[i] if times is not None else i / fps))
            container.mux(stream.encode(frame))
        assert stream is not None
        container.mux(stream.encode(None))
    return path
