"""The encoder's streams: profile, key frames, colour tags, and a decoder that is content with them."""

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.models.media import FrameSize, Rendition, make_renditions
from musetalk_service.utils import h264
from musetalk_service.utils.i420 import from_bgr
from musetalk_service.utils.video_codec import H264Encoder, synthetic_label
from support.video import decode

Picture = NDArray[np.uint8]
BEST = make_renditions(23, 1500)[0]


def _pictures(count: int) -> list[Picture]:
    """A bright square that wanders over a coloured ramp, with a cut in the middle; BGR."""
    y, x = np.mgrid[0:512, 0:512]
    ramp = np.stack([x // 2, y // 2, (x + y) // 4], axis=-1).astype(np.uint8)
    pictures = []
    for n in range(count):
        picture = ramp.copy() if n < count // 2 else 255 - ramp
        picture[100 + n : 164 + n, 100 + 4 * n : 164 + 4 * n] = 255
        pictures.append(picture)
    return pictures


def test_idrs_come_where_asked_and_nowhere_else() -> None:
    encoder = H264Encoder("x", BEST)
    asked = {7, 8, 30}
    frames = [encoder.encode(from_bgr(picture), force_idr=n in asked) for n, picture in enumerate(_pictures(60))]
    assert [frame.pts for frame in frames if frame.is_idr] == [0, 7, 8, 30]
    assert [frame.pts for frame in frames] == list(range(60))
    assert [h264.is_idr(frame.access_unit) for frame in frames] == [frame.is_idr for frame in frames]


def test_one_access_unit_out_for_each_picture_in() -> None:
    encoder = H264Encoder("x", BEST)
    for picture in _pictures(10):
        unit = encoder.encode(from_bgr(picture), force_idr=False).access_unit
        slices = [nal for nal in h264.nal_units(unit) if h264.nal_type(nal) in (h264.NAL_SLICE, h264.NAL_IDR)]
        # first_mb_in_slice is 0, so the slice's first bit is 1: each unit begins one picture (7.3.3).
        assert slices and slices[0][1] & 0x80
        assert sum(nal[1] >> 7 for nal in slices) == 1


def test_decoded_pictures_are_those_that_went_in() -> None:
    pictures = _pictures(20)
    encoder = H264Encoder("x", make_renditions(12, 20_000)[0])
    decoded = decode([encoder.encode(from_bgr(picture), force_idr=False).access_unit for picture in pictures])
    assert len(decoded) == len(pictures)
    for luma, picture in zip(decoded, pictures, strict=True):
        weights = np.array([0.114, 0.587, 0.299]) * 219 / 255
        assert np.abs(luma - (picture @ weights + 16)).mean() < 2.5


def test_decoding_can_begin_at_any_idr() -> None:
    encoder = H264Encoder("x", BEST)
    units = [
        encoder.encode(from_bgr(picture), force_idr=n % 5 == 0).access_unit for n, picture in enumerate(_pictures(20))
    ]
    for start in (5, 15):
        assert len(decode(units[start:])) == 20 - start


def test_profile_level_and_colour_are_as_announced() -> None:
    encoder = H264Encoder("x", BEST)
    unit = encoder.encode(from_bgr(_pictures(1)[0]), force_idr=True).access_unit
    sps = next(nal for nal in h264.nal_units(unit) if h264.nal_type(nal) == h264.NAL_SPS)
    assert sps[1] == 66  # baseline
    assert sps[2] & 0xC0 == 0xC0  # constraint_set0 and 1: constrained baseline, so no B frames
    assert sps[3] == 31
    context = av.CodecContext.create("h264", "r")
    frame = [*context.decode(av.Packet(unit)), *context.decode(None)][0]
    assert (frame.width, frame.height, frame.format.name) == (512, 512, "yuv420p")
    assert frame.colorspace == frame.color_primaries == frame.color_trc == 6  # SMPTE 170M, tables E-3 to E-5
    assert frame.color_range == 1  # limited


@pytest.mark.parametrize("kbps", [300, 1500])
def test_peak_rate_is_kept(kbps: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (16, 512, 512, 3), dtype=np.uint8)
    encoder = H264Encoder("x", make_renditions(23, kbps)[0])
    sizes = [len(encoder.encode(from_bgr(noise[n % 16]), force_idr=n % 25 == 0).access_unit) for n in range(75)]
    second = sum(sizes[25:50]) * 8 / 1000
    assert second < 2.5 * kbps  # white noise is the worst there is


def test_label_changes_with_the_next_idr() -> None:
    encoder = H264Encoder("one", BEST)
    picture = from_bgr(_pictures(1)[0])
    first = encoder.encode(picture, force_idr=True)
    encoder.set_label("two")
    between, second = (
        encoder.encode(picture, force_idr=False),
        encoder.encode(picture, force_idr=True),
    )
    read = [h264.read_user_data(frame.access_unit, h264.SYNTHETIC_UUID) for frame in (first, between, second)]
    assert read == ["one", None, "two"]


def test_synthetic_label_says_what_and_by_whom() -> None:
    label = synthetic_label("builtin", "1.2")
    assert "synthetic" in label and "engine=builtin" in label and "version=1.2" in label


SIZES = [FrameSize(512, 512), FrameSize(256, 256), FrameSize(720, 720), FrameSize(1024, 1024), FrameSize(720, 1280)]


@pytest.mark.parametrize("rendition", make_renditions(23, 1500, SIZES), ids=lambda rendition: rendition.name)
def test_each_rendition_has_its_size_level_and_rate(rendition: Rendition) -> None:
    encoder = H264Encoder("x", rendition)
    units = [encoder.encode(from_bgr(picture), force_idr=n == 0).access_unit for n, picture in enumerate(_pictures(25))]
    assert {luma.shape for luma in decode(units)} == {(rendition.size.height, rendition.size.width)}
    sps = next(nal for nal in h264.nal_units(units[0]) if h264.nal_type(nal) == h264.NAL_SPS)
    assert sps[3] == rendition.level
