"""Picture files are recognised by what they hold, sized before they are decoded, and turned upright."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from musetalk_service.preparation.errors import NotMediaError, TooLargeError
from musetalk_service.preparation.picture_file import is_picture, read_picture

PIXELS = 1_000_000
PICTURE = np.full((40, 60, 3), (10, 20, 200), np.uint8)
PICTURE[:20] = (200, 100, 20)


def _write(path: Path, picture: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), picture)
    return path


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".bmp"])
def test_pictures_of_every_kind_are_read(tmp_path: Path, ending: str) -> None:
    path = _write(tmp_path / f"picture{ending}", PICTURE).rename(tmp_path / "no-ending")
    assert is_picture(path)
    read = read_picture(path, max_pixels=PIXELS)
    assert read.shape == (40, 60, 3)
    assert np.abs(read[5, 5].astype(int) - PICTURE[5, 5]).max() < 12


def test_exif_orientation_is_followed(tmp_path: Path) -> None:
    encoded = cv2.imencode(".jpg", PICTURE)[1].tobytes()
    orientation_6 = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(orientation_6) + 2).to_bytes(2, "big") + orientation_6
    path = tmp_path / "turned.jpg"
    path.write_bytes(encoded[:2] + segment + encoded[2:])
    assert read_picture(path, max_pixels=PIXELS).shape == (60, 40, 3)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_transparent_becomes_grey(tmp_path: Path, kind: type) -> None:
    factor = 257 if kind is np.uint16 else 1
    cover = np.zeros((40, 60, 1), np.uint8)
    cover[:, 30:] = 255
    path = _write(tmp_path / "cut-out.png", np.dstack([PICTURE, cover]).astype(kind) * kind(factor))
    read = read_picture(path, max_pixels=PIXELS)
    assert (read[:, :30] == 215).all()
    np.testing.assert_array_equal(read[:, 30:], PICTURE[:, 30:])


def test_grey_and_deep_pictures_become_three_bytes_a_pixel(tmp_path: Path) -> None:
    assert read_picture(_write(tmp_path / "grey.png", PICTURE[..., 0]), max_pixels=PIXELS).shape == (40, 60, 3)
    deep = read_picture(_write(tmp_path / "deep.png", PICTURE.astype(np.uint16) * 257), max_pixels=PIXELS)
    np.testing.assert_array_equal(deep, PICTURE)


def test_size_is_limited(tmp_path: Path) -> None:
    path = _write(tmp_path / "picture.png", PICTURE)
    with pytest.raises(TooLargeError, match="60x40 pixels, at most 2399 are allowed"):
        read_picture(path, max_pixels=2399)
    read_picture(path, max_pixels=2400)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 no jpeg"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(NotMediaError):
        read_picture(path, max_pixels=PIXELS)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_truncated_pictures_are_refused_or_read_in_part(tmp_path: Path, ending: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    whole = _write(tmp_path / f"picture{ending}", noise).read_bytes()
    for share in (0.02, 0.3, 0.9):
        path = tmp_path / f"cut{ending}"
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            assert read_picture(path, max_pixels=PIXELS).shape == (64, 64, 3)
        except NotMediaError as error:
            assert error.code == "not_media"
