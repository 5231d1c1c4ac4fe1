"""What a speaking frame costs apart from any server: the engine's rendering, then x264 on the same pictures.

    python bench/stages.py

Prints one line of JSON: CPU time of one thread in ms per frame, the median of several passes over the recording, of
which each renders all pictures and then encodes those pictures.
"""

import json
import os
import statistics
import time
from collections.abc import Sequence

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from load_client import SPEECH, WAV_HEADER

from musetalk_service import __version__
from musetalk_service.config import default_settings
from musetalk_service.engines.avatar import Avatar, load_default_avatar
from musetalk_service.engines.base import FrameRequest, Picture
from musetalk_service.engines.builtin.engine import BuiltinEngine
from musetalk_service.engines.builtin.network import load_network
from musetalk_service.engines.voice import Voice
from musetalk_service.models.media import BASE_SIZE, GOP_FRAMES, SAMPLES_PER_FRAME, ClipPosition, make_renditions
from musetalk_service.utils.video_codec import H264Encoder, synthetic_label

_PASSES = 5
_CLIP = "speaking_0"


def render(engine: BuiltinEngine, avatar: Avatar) -> tuple[list[Picture], float]:
    """The recording's pictures, audio pushed frame by frame as in service, and ms per frame."""
    pcm = np.frombuffer(SPEECH.read_bytes()[WAV_HEADER:], np.int16)
    ahead = engine.info.look_ahead_samples
    stream, voice = engine.open(avatar, BASE_SIZE), Voice(load_network())
    pushed = 0
    pictures = []
    started = time.thread_time()
    for index in range(len(pcm) // SAMPLES_PER_FRAME):
        position = index * SAMPLES_PER_FRAME
        end = position + SAMPLES_PER_FRAME + ahead
        voice.push(pcm[pushed:end], pushed)
        pushed = min(end, len(pcm))
        place = ClipPosition(_CLIP, index)
        mouth = voice.hear(position).mouth
        pictures += engine.render([FrameRequest(stream, place, avatar.pose(place), mouth, position)])
    return pictures, 1000 * (time.thread_time() - started) / len(pictures)


def encode(pictures: Sequence[Picture]) -> tuple[float, float]:
    """(ms per frame, kbit/s) of the service's encoder, at its best rendition."""
    settings = default_settings()
    best = make_renditions(settings.video_crf, settings.video_max_kbps)[0]
    encoder = H264Encoder(synthetic_label("builtin", __version__), best)
    size = 0
    started = time.thread_time()
    for index, picture in enumerate(pictures):
        size += len(encoder.encode(picture, force_idr=index % GOP_FRAMES == 0).access_unit)
    spent = 1000 * (time.thread_time() - started) / len(pictures)
    return spent, size * 8 * 25 / 1000 / len(pictures)


def measure(passes: int = _PASSES) -> dict[str, float]:
    """Medians over the passes."""
    cv2.setNumThreads(1)
    engine, avatar = BuiltinEngine(), load_default_avatar()
    render(engine, avatar)  # the first pass fills caches
    rows = []
    for _ in range(passes):
        pictures, render_ms = render(engine, avatar)
        encode_ms, kbps = encode(pictures)
        rows.append((render_ms, encode_ms, render_ms + encode_ms, kbps, float(len(pictures))))
    names = ("render_ms", "x264_ms", "all_ms", "kbps", "frames")
    result = {name: statistics.median(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return {**result, "renderer_share": result["render_ms"] / (result["render_ms"] + result["x264_ms"])}


if __name__ == "__main__":
    print(json.dumps(measure()))
