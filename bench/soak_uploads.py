"""Damaged pictures and videos against a live server: each ends in an avatar or a reason, and nothing is left behind."""

import io
import json
import random
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from server_process import Server
from soak_state import Finding, Progress, watched

from musetalk_service.engines.avatar import load_default_avatar

UPLOADERS = 2
DEADLINE_S = 60.0
"""Longer than a preparation that is asked for here may take on a slow machine."""
_CLIP_FRAMES = 30
_CLIP_SIDE = 256


def seeds() -> list[bytes]:
    """Whole files of the kinds that people upload: PNG, JPEG, WebP and MP4, of a drawn face."""
    face = load_default_avatar().portrait
    small = np.asarray(cv2.resize(face, (_CLIP_SIDE, _CLIP_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    return [*(cv2.imencode(kind, face)[1].tobytes() for kind in (".png", ".jpg", ".webp")), _clip(small)]


def _clip(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width = stream.height = _CLIP_SIDE
        stream.pix_fmt = "yuv420p"
        for index in range(_CLIP_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return target.getvalue()


def damage(rng: random.Random, whole: bytes) -> bytes:
    """Cut short, bytes changed, a piece doubled, lost or overwritten; sizes in headers too, since they are bytes."""
    data = bytearray(whole)
    kind = rng.randrange(6)
    if kind == 0:
        return bytes(data[: rng.randrange(len(data))])
    if kind == 1:  # the beginning, where sizes are
        for _ in range(rng.randrange(1, 8)):
            data[rng.randrange(min(len(data), 200))] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind == 2:
        for _ in range(rng.randrange(1, 200)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    else:
        start = rng.randrange(len(data))
        end = min(len(data), start + rng.randrange(1, 5000))
        piece = bytes(data[start:end])
        data[start:end] = piece * 2 if kind == 3 else b"" if kind == 4 else rng.randbytes(len(piece))
    return bytes(data)


def prepare(port: int, user_id: str, content: bytes) -> dict[str, Any]:
    """Upload, and wait for the end; the avatar is deleted. Returns the last status. Raises for anything else."""
    base = f"http://127.0.0.1:{port}"
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    urllib.request.urlopen(urllib.request.Request(f"{base}/prepare_avatar/{user_id}", body, kind), timeout=30).close()
    with urllib.request.urlopen(f"{base}/processing_status/{user_id}/events", timeout=DEADLINE_S) as events:
        lines = [line for line in events if line.startswith(b"data: ")]
    status: dict[str, Any] = json.loads(lines[-1].removeprefix(b"data: "))
    if status["status"] == "completed":
        request = urllib.request.Request(f"{base}/avatars/{user_id}", method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()
    return status


def uploads(server: Server, seed: int, count: int, folders: Sequence[Path]) -> Finding:
    """``count`` damaged files; ``folders`` are those in which nothing may be left."""
    finding = Finding(f"{count} damaged uploads")
    rng = random.Random(seed)
    originals = seeds()
    files = [damage(rng, rng.choice(originals)) for _ in range(count)]
    outcomes: Counter[str] = Counter()
    problems: list[str] = []
    bar = Progress("uploads", count)
    lock = threading.Lock()
    slowest = 0.0

    def work(name: str) -> None:
        nonlocal slowest
        while True:
            with lock:
                if not files:
                    return
                content = files.pop()
            started = time.monotonic()
            try:
                status = prepare(server.port, name, content)
                outcome = "an avatar" if status["status"] == "completed" else str(status["reason"]["code"])
            except (OSError, ValueError, IndexError) as error:
                outcome = "no end"
                problems.append(f"{len(content)} bytes: {error!r}")
            with lock:
                slowest = max(slowest, time.monotonic() - started)
                outcomes[outcome] += 1
                bar.add()

    with watched(server.port, finding):
        threads = [threading.Thread(target=work, args=(f"upload-{index}",)) for index in range(UPLOADERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    left = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    finding.figures |= {"outcomes": dict(outcomes), "slowest": f"{slowest:.1f} s"}
    finding.problems += problems[:5]
    finding.check(not left, f"left behind: {[path.name for path in left[:5]]}")
    finding.check(not outcomes["failed"], f"{outcomes['failed']} failed without a reason of their own")
    return finding
