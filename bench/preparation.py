"""How long an avatar takes, from the upload to the first frame of a session that shows it, and what it takes in memory.

    FACE_LANDMARKER_PATH=... python bench/preparation.py [--videos]

The uploads are made of the default avatar: a photo, and with --videos a clip of ten seconds at 512x512 and one of two
minutes at 1920x1080. MediaPipe is needed (make avatars). Prints JSON.
"""

import argparse
import asyncio
import json
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from raw_client import RawClient
from server_process import Server

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.models.face import REST
from musetalk_service.models.media import BASE_SIZE, ClipPosition
from musetalk_service.utils.i420 import to_bgr

_FPS = 25
_POLL_S = 0.05
_GIVE_UP_S = 600.0


def make_clip(path: Path, seconds: int, width: int, height: int) -> None:
    """The default face, moving, in the middle of a picture of another shape."""
    avatar = load_default_avatar()
    renderer = avatar.renderer(BASE_SIZE)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=_FPS, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(seconds * _FPS):
            face = to_bgr(renderer.render(avatar.pose(ClipPosition("idle_0", index)), REST))
            large = cv2.resize(face, (height, height), interpolation=cv2.INTER_LINEAR)
            side = (width - height) // 2
            picture = cv2.copyMakeBorder(large, 0, 0, side, width - height - side, cv2.BORDER_REPLICATE)
            frame = av.VideoFrame.from_ndarray(np.asarray(picture, np.uint8), format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, _FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


class Memory:
    """The largest resident size of the preparation processes of a server while it is entered."""

    def __init__(self, server: Server) -> None:
        self._front = server.pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak_mb = 0.0

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_POLL_S):
            for status in self._children():
                self.peak_mb = max(self.peak_mb, status)

    def _children(self) -> Iterator[float]:
        for task in Path(f"/proc/{self._front}/task").glob("*/children"):
            for child in task.read_text().split():
                try:
                    words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                    lines = Path(f"/proc/{child}/status").read_text().splitlines()
                except OSError:  # it has just ended
                    continue
                if b"prepare" in words:
                    yield from (int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def upload(server: Server, user_id: str, path: Path) -> None:
    """POST /prepare_avatar, and wait till it is done. Raises ``RuntimeError`` for a refusal."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="upload"\r\n\r\n'
    body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    base = f"http://127.0.0.1:{server.port}"
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    urllib.request.urlopen(urllib.request.Request(f"{base}/prepare_avatar/{user_id}", body, kind), timeout=60)
    with urllib.request.urlopen(f"{base}/processing_status/{user_id}/events", timeout=_GIVE_UP_S) as events:
        last = [json.loads(line.removeprefix(b"data: ")) for line in events if line.startswith(b"data: ")][-1]
    if last["status"] != "completed":
        raise RuntimeError(f"{path.name}: {last['reason']}")


async def first_frame(server: Server, user_id: str) -> float:
    """When the first access unit of a session came."""
    came: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def take(_: bytes, now: float) -> None:
        if not came.done():
            came.set_result(now)

    client = await RawClient.open("127.0.0.1", server.port, user_id, take)
    arrived = await came
    await client.close()
    return arrived


def measure(*, videos: bool) -> list[dict[str, Any]]:
    """One row for each upload."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-preparation-") as name:
        folder = Path(name)
        photo = folder / "photo.png"
        photo.write_bytes((resources.files("musetalk_service") / "assets/default_avatar/portrait.png").read_bytes())
        uploads = [("photo", photo)]
        if videos:
            for label, seconds, width, height in (("clip10s", 10, 512, 512), ("clip120s", 120, 1920, 1080)):
                uploads.append((label, folder / f"{label}.mp4"))
                make_clip(uploads[-1][1], seconds, width, height)
        with Server(folder / "cache", {"AVATARS_DIR": str(folder / "avatars")}) as server:
            server.wait_until_quiet()
            for label, path in uploads:
                with Memory(server) as memory:
                    started = time.monotonic()
                    upload(server, label, path)
                    talks = asyncio.run(first_frame(server, label))
                rows.append({"upload": label, "first_frame_s": talks - started, "peak_mb": memory.peak_mb})
                server.wait_until_quiet()
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", action="store_true", help="also the two clips, which takes minutes")
    print(json.dumps(measure(videos=parser.parse_args().videos)))
