"""I420 pictures: their planes, their size, and other sizes of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.models.media import FrameSize
from musetalk_service.utils.i420 import cut, from_bgr, planes_of, scaled, size_of, to_bgr


def _ramp(width: int, height: int) -> NDArray[np.uint8]:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size", [FrameSize(64, 64), FrameSize(34, 62), FrameSize(180, 322)])
def test_planes_are_views_of_the_converted_picture(size: FrameSize) -> None:
    pixels = _ramp(*size)
    picture = from_bgr(pixels)
    assert picture.shape == (size.height * 3 // 2, size.width)
    assert size_of(picture) == size
    y, u, v = planes_of(picture)
    assert y.shape == size[::-1] and u.shape == v.shape == (size.height // 2, size.width // 2)
    assert np.abs(y - (16 + (pixels @ [0.098, 0.504, 0.257]))).max() < 1.5
    assert np.abs(u - (128 + (pixels[::2, ::2] @ [0.439, -0.291, -0.148]))).max() < 1.5
    assert np.abs(v - (128 + (pixels[::2, ::2] @ [-0.071, -0.368, 0.439]))).max() < 1.5
    assert np.abs(to_bgr(picture).astype(int) - pixels).mean() < 4
    v[:] = 7
    assert (picture[-1] == 7).all()


@pytest.mark.parametrize("size", [FrameSize(256, 256), FrameSize(128, 228)])
def test_scaling_keeps_the_picture(size: FrameSize) -> None:
    small = scaled(from_bgr(_ramp(512, 512)), size)
    assert size_of(small) == size
    assert np.abs(to_bgr(small).astype(int) - _ramp(*size)).mean() < 4


@pytest.mark.parametrize("shape", [(512, 512, 3), (100, 64), (96, 63)])
def test_other_arrays_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="I420"):
        size_of(np.zeros(shape, np.uint8))


def test_part_is_what_lies_there() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 80), np.uint8)
    whole, part = planes_of(picture), planes_of(cut(picture, 10, 6, FrameSize(20, 30)))
    np.testing.assert_array_equal(part.y, whole.y[6:36, 10:30])
    np.testing.assert_array_equal(part.u, whole.u[3:18, 5:15])
    np.testing.assert_array_equal(part.v, whole.v[3:18, 5:15])
