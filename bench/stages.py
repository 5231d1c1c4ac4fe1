"""What a speaking frame costs apart from any server: hearing and rendering it, and x264.

    python bench/stages.py

Prints one line of JSON: CPU time of one thread in ms per frame, the median and the fastest of several passes over the
recording.
"""

import json
import os
import statistics
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from load_client import SPEECH, WAV_HEADER

from musetalk_service import __version__
from musetalk_service.config import default_settings
from musetalk_service.engines.avatar import Avatar, load_default_avatar
from musetalk_service.engines.base import FrameRequest
from musetalk_service.engines.builtin.engine import BuiltinEngine
from musetalk_service.engines.builtin.network import load_network
from musetalk_service.engines.voice import Voice
from musetalk_service.models.media import BASE_SIZE, GOP_FRAMES, SAMPLES_PER_FRAME, ClipPosition, make_renditions
from musetalk_service.utils.video_codec import H264Encoder, synthetic_label

_PASSES = 9
_CLIP = "speaking_0"


def speak(engine: BuiltinEngine, avatar: Avatar) -> dict[str, float]:
    """The recording, audio pushed and pictures encoded frame by frame as in service: means over its frames.

    No picture is kept, as in service: memory that is new each time costs up to a third more.
    """
    pcm = np.frombuffer(SPEECH.read_bytes()[WAV_HEADER:], np.int16)
    ahead = engine.info.look_ahead_samples
    stream, voice, encoder = engine.open(avatar, BASE_SIZE), Voice(load_network()), _encoder()
    pushed = size = 0
    render_s = encode_s = 0.0
    frames = len(pcm) // SAMPLES_PER_FRAME
    for index in range(frames):
        began = time.thread_time()
        position = index * SAMPLES_PER_FRAME
        end = position + SAMPLES_PER_FRAME + ahead
        voice.push(pcm[pushed:end], pushed)
        pushed = min(end, len(pcm))
        place = ClipPosition(_CLIP, index)
        mouth = voice.hear(position).mouth
        (picture,) = engine.render([FrameRequest(stream, place, avatar.pose(place), mouth, position)])
        rendered = time.thread_time()
        size += len(encoder.encode(picture, force_idr=index % GOP_FRAMES == 0).access_unit)
        render_s += rendered - began
        encode_s += time.thread_time() - rendered
    return {
        "render_ms": 1000 * render_s / frames,
        "x264_ms": 1000 * encode_s / frames,
        "all_ms": 1000 * (render_s + encode_s) / frames,
        "kbps": size * 8 * 25 / 1000 / frames,
        "frames": frames,
    }


def _encoder() -> H264Encoder:
    """The service's, at its best rendition."""
    settings = default_settings()
    best = make_renditions(settings.video_crf, settings.video_max_kbps)[0]
    return H264Encoder(synthetic_label("builtin", __version__), best)


def measure(passes: int = _PASSES) -> dict[str, float]:
    """Medians over the passes, and the fastest one's total: that of the least disturbed."""
    cv2.setNumThreads(1)
    engine, avatar = BuiltinEngine(), load_default_avatar()
    speak(engine, avatar)  # the first pass fills caches
    rows = [speak(engine, avatar) for _ in range(passes)]
    result = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    result["fastest_ms"] = min(row["all_ms"] for row in rows)
    return {**result, "renderer_share": result["render_ms"] / result["all_ms"]}


if __name__ == "__main__":
    print(json.dumps(measure()))
