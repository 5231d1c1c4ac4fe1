"""What hearing the mouth costs, apart from any drawing.

    python bench/mouth.py

Prints one line of JSON for each look-ahead: CPU time of one thread in ms per 40 ms of speech, the median of several
passes over the recording and the largest of them, each chunk pushed and its mouth asked for as in service; and the
bytes of a stream's state.
"""

import json
import os
import statistics
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from load_client import SPEECH, WAV_HEADER

from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEADS, MouthStream, load_network
from musetalk_service.models.media import SAMPLES_PER_FRAME

_PASSES = 9


def measure(look_ahead_ms: int) -> dict[str, float]:
    """One look-ahead's figures."""
    pcm = np.frombuffer(SPEECH.read_bytes()[WAV_HEADER:], np.int16)
    spent = []
    state_bytes = 0
    for _ in range(_PASSES + 1):  # the first fills caches
        stream = MouthStream(load_network(), look_ahead_ms)
        stream.push(pcm[: stream.LOOK_AHEAD_SAMPLES])
        started = time.thread_time()
        frames = range(0, len(pcm) - stream.LOOK_AHEAD_SAMPLES - SAMPLES_PER_FRAME, SAMPLES_PER_FRAME)
        for position in frames:
            stream.push(pcm[stream.pushed : stream.pushed + SAMPLES_PER_FRAME])
            stream.mouth_at(position)
        spent.append(1000 * (time.thread_time() - started) / len(frames))
        state_bytes = stream.state_bytes
    return {
        "look_ahead_ms": look_ahead_ms,
        "delay_ms": stream.LOOK_AHEAD_SAMPLES / 16,
        "median_ms": round(statistics.median(spent[1:]), 3),
        "largest_ms": round(max(spent[1:]), 3),
        "passes": _PASSES,
        "state_bytes": state_bytes,
    }


if __name__ == "__main__":
    for look_ahead in LOOK_AHEADS:
        print(json.dumps(measure(look_ahead)))
