"""Avatars as the published MuseTalk scripts, or LiveTalking, leave them on disk."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.face_crop import crop_box

NOWHERE = (0.0, 0.0, 0.0, 0.0)
Picture = NDArray[np.uint8]


def write_official(
    folder: Path,
    count: int = 3,
    *,
    doubled: bool = True,
    faceless: Sequence[int] = (),
    masks_for_all: bool = False,
    version: str | None = "v15",
    picture: Callable[[int], Picture] | None = None,
    face: Callable[[int], tuple[int, int, int, int]] | None = None,
) -> Path:
    """As the published scripts write it (`doubled`) or LiveTalking does; colours and latents tell frames apart."""
    for name in ("full_imgs", "mask"):
        (folder / name).mkdir(parents=True)
    order = [*range(count), *reversed(range(count))] if doubled else [*range(count)]
    boxes = {i: face(i) if face else (20 + i % 30, 30, 60 + i % 30, 84) for i in range(count)}
    faces = [NOWHERE if i in faceless else [np.int64(boxes[i][0]), *boxes[i][1:]] for i in order]
    crops = []
    for index, i in enumerate(order):
        drawn = picture(i) if picture else np.full((128, 96, 3), 40 * i, np.uint8)
        cv2.imwrite(str(folder / "full_imgs" / f"{index:08d}.png"), drawn)
        if i in faceless and not masks_for_all:
            continue
        crop = [0, 0, 40, 40] if i in faceless else list(crop_box(Box(*boxes[i])))
        mask = np.full((crop[3] - crop[1], crop[2] - crop[0]), 60 + i, np.uint8)
        cv2.imwrite(str(folder / "mask" / f"{len(crops):08d}.png"), cv2.merge([mask] * 3))
        crops.append(crop)
    (folder / "coords.pkl").write_bytes(pickle.dumps(faces))
    (folder / "mask_coords.pkl").write_bytes(pickle.dumps(crops))
    latents = {i: np.full((1, 8, 32, 32), i, np.float16) for i in range(count)}
    write_tensors(folder / "latents.pt", [latents[i] for i in order if i not in faceless])
    if version:
        info = {"avatar_id": folder.name, "video_path": "a.mp4", "bbox_shift": 0, "version": version}
        (folder / "avator_info.json").write_text(json.dumps(info))
    return folder


def write_tensors(path: Path, arrays: Sequence[NDArray[np.generic]], table: bytes | None = None) -> None:
    """What ``torch.save`` writes for a list of tensors of the CUDA device, arrays that occur again stored once."""
    kinds = {"float16": "HalfStorage", "float32": "FloatStorage", "float64": "DoubleStorage"}
    storages: dict[int, NDArray[np.generic]] = {}
    body = io.BytesIO()
    body.write(b"\x80\x02]q\x00(")
    for array in arrays:
        key = str(list(storages).index(id(array)) if id(array) in storages else len(storages))
        storages[id(array)] = array
        stride = tuple(step // array.itemsize for step in array.strides)
        body.write(b"ctorch._utils\n_rebuild_tensor_v2\n((" + _text("storage"))
        body.write(f"ctorch\n{kinds[array.dtype.name]}\n".encode() + _text(key) + _text("cuda:0"))
        body.write(_number(array.size) + b"tQ" + _number(0) + _numbers(array.shape) + _numbers(stride))
        body.write(b"\x89ccollections\nOrderedDict\n)RtR")
    body.write(b"e.")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("latents/data.pkl", body.getvalue() if table is None else table)
        archive.writestr("latents/byteorder", "little")
        for key, array in enumerate(storages.values()):
            archive.writestr(f"latents/data/{key}", array.tobytes())


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _number(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _numbers(numbers: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(_number, numbers)) + b"t"
