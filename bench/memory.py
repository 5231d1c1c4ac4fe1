"""What a speaking session takes in an engine host: resident memory, for each picture size.

    python bench/memory.py [--sessions 8] [--seconds 4] [--size 512x512 1024x1024 ...]

One host in this process, without a server. Each size is measured in a process of its own, after one session has spoken
(which makes what all sessions share: renderer, network, encoder library). Linux only.
"""

import argparse
import multiprocessing
import os
import wave
from collections.abc import Sequence
from pathlib import Path

import cv2

from musetalk_service.bus import messages as bus
from musetalk_service.config import default_settings
from musetalk_service.engines.avatar import DEFAULT_AVATAR
from musetalk_service.host import build_host
from musetalk_service.models.media import (
    FPS,
    SAMPLES_PER_FRAME,
    ClipPosition,
    FrameSize,
    make_renditions,
    parse_size,
)
from musetalk_service.services.engine_host import EngineHost

_SPEECH = Path(__file__).resolve().parents[1] / "fixtures" / "speech_6s.wav"
_ENGINE = "builtin"
_FRAME_BYTES = 2 * SAMPLES_PER_FRAME
_AHEAD_BYTES = 2 * 1720
_SIZES = tuple(map(parse_size, ("512x512", "256x256", "720x720", "1024x1024", "720x1280")))
_MIB = 1 << 20


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _ask(host: EngineHost, messages: Sequence[bus.UpMessage]) -> None:
    for reply in host.handle(messages):
        if isinstance(reply, bus.SessionFailed):
            raise SystemExit(f"a session failed: {reply}")


def _speak(host: EngineHost, names: list[str], size: FrameSize, seconds: float) -> None:
    """Sessions that stay open when this returns."""
    settings = default_settings()
    rendition = make_renditions(settings.video_crf, settings.video_max_kbps, [size])[0]
    start = ClipPosition("idle_0", 0)
    _ask(host, [bus.Open(name, 1, DEFAULT_AVATAR, _ENGINE, rendition, start) for name in names])
    with wave.open(str(_SPEECH)) as file:
        pcm = file.readframes(-1)
    sent = 0
    for frame in range(round(seconds * FPS)):
        new = pcm[sent : (frame + 1) * _FRAME_BYTES + _AHEAD_BYTES]
        place, audio = ClipPosition("speaking_0", frame), frame * SAMPLES_PER_FRAME
        for name in names:  # one by one, as sessions whose ticks differ
            _ask(host, [bus.Render(name, 1, frame, place, frame % FPS == 0, audio, sent // 2, new)])
        sent += len(new)


def measure(size: FrameSize, sessions: int, seconds: float) -> tuple[float, float]:
    """(MiB of a host with one session, MiB of each further session)."""
    cv2.setNumThreads(1)
    host, _ = build_host(default_settings())
    _speak(host, ["first"], size, seconds)
    before = _resident()
    _speak(host, [f"session-{n}" for n in range(sessions)], size, seconds)
    return before / _MIB, (_resident() - before) / sessions / _MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=8, help="that are added to the first")
    parser.add_argument("--seconds", type=float, default=4.0, help="of speech, of each")
    parser.add_argument("--size", nargs="+", type=parse_size, default=_SIZES, help="WIDTHxHEIGHT")
    arguments = parser.parse_args()
    print("| size | host with one session, MiB | each further one, MiB |\n| --- | --- | --- |")
    for size in arguments.size:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            base, each = pool.apply(measure, (size, arguments.sessions, arguments.seconds))
        print(f"| {size} | {base:.0f} | {each:.1f} |", flush=True)


if __name__ == "__main__":
    main()
