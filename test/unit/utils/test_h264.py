"""H.264 byte streams: SEI, emulation prevention, and streams cut at every byte."""

import contextlib
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musetalk_service.models.media import make_renditions
from musetalk_service.utils import h264
from musetalk_service.utils.video_codec import H264Encoder

BEST = make_renditions(23, 1500)[0]
_ID = uuid.UUID("12345678-1234-4234-8234-123456789abc")


@pytest.fixture(scope="module")
def access_unit() -> bytes:
    """An IDR with SPS, PPS and our SEI."""
    return H264Encoder("a label", BEST).encode(np.full((768, 512), 128, np.uint8), force_idr=True).access_unit


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255])).map(bytes))
def test_escaping_is_undone_and_hides_start_codes(rbsp: bytes) -> None:
    escaped = h264.escape(rbsp)
    assert h264.unescape(escaped) == rbsp
    assert not any(code in escaped for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))


@pytest.mark.parametrize(
    ("rbsp", "escaped"),
    [
        (b"\0\0\0", b"\0\0\3\0"),
        (b"\0\0\1", b"\0\0\3\1"),
        (b"\0\0\3", b"\0\0\3\3"),
        (b"\0\0\4", b"\0\0\4"),
        (b"\0\0\0\0\0\1", b"\0\0\3\0\0\3\0\1"),
    ],
)
def test_escaping_as_in_clause_7_4_1(rbsp: bytes, escaped: bytes) -> None:
    assert h264.escape(rbsp) == escaped


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=600))
def test_user_data_comes_back(text: str) -> None:
    sei = h264.user_data_sei(_ID, text)
    assert h264.read_user_data(sei, _ID) == text
    assert h264.read_user_data(sei, uuid.uuid4()) is None


def test_user_data_of_an_encoder(access_unit: bytes) -> None:
    assert h264.read_user_data(access_unit, h264.SYNTHETIC_UUID) == "a label"


def test_nal_units_of_an_idr(access_unit: bytes) -> None:
    types = [h264.nal_type(nal) for nal in h264.nal_units(access_unit)]
    assert types[0] == h264.NAL_SPS and types[1] == h264.NAL_PPS
    assert types[-1] == h264.NAL_IDR
    # x264 may add a SEI of its own; ours stands before the slices (7.4.1.2.3).
    assert h264.NAL_SEI in types[2:-1]
    assert h264.is_idr(access_unit)


def test_the_first_slice_tells_whether_it_is_an_idr() -> None:
    parameters = b"\0\0\0\1\x67\x42" + b"\0\0\0\1\x68\xce"
    assert h264.is_idr(parameters + b"\0\0\1\x65\x88")
    assert not h264.is_idr(parameters + b"\0\0\1\x41\x9a")
    assert not h264.is_idr(parameters) and not h264.is_idr(parameters + b"\0\0\1")


def test_start_codes_of_three_bytes_are_understood(access_unit: bytes) -> None:
    short = access_unit.replace(b"\0\0\0\1", b"\0\0\1")
    assert list(h264.nal_units(short)) == list(h264.nal_units(access_unit))
    sei = h264.user_data_sei(_ID, "more")
    assert h264.read_user_data(h264.insert_before_slices(short, sei), _ID) == "more"


def test_insertion_keeps_every_other_nal_unit(access_unit: bytes) -> None:
    inserted = h264.insert_before_slices(access_unit, h264.user_data_sei(_ID, "more"))
    before, after = list(h264.nal_units(access_unit)), list(h264.nal_units(inserted))
    assert [nal for nal in after if nal in before] == before
    assert len(after) == len(before) + 1


def test_without_a_slice_nothing_is_inserted() -> None:
    sps = b"\0\0\0\1\x67\x42\xc0\x1f"
    assert h264.insert_before_slices(sps, h264.user_data_sei(_ID, "x")) == sps


def test_codec_string_as_in_rfc_6381(access_unit: bytes) -> None:
    assert h264.codec_string(access_unit) == "avc1.42C01F"


def test_codec_string_needs_an_sps() -> None:
    for data in (b"", b"\0\0\0\1\x65\x88", b"\0\0\0\1\x67", b"\0\0\0\1\x67\x42\xc0"):
        with pytest.raises(ValueError):
            h264.codec_string(data)


def test_streams_cut_at_every_byte_are_no_surprise(access_unit: bytes) -> None:
    for end in range(min(len(access_unit), 400)):
        cut = access_unit[:end]
        assert b"".join(h264.nal_units(cut)).count(b"\0\0\1") == 0
        h264.is_idr(cut)
        h264.read_user_data(cut, h264.SYNTHETIC_UUID)
        h264.insert_before_slices(cut, b"\0\0\0\1\6")
        with contextlib.suppress(ValueError):
            h264.codec_string(cut)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_surprise(data: bytes) -> None:
    h264.is_idr(data)
    h264.read_user_data(data, h264.SYNTHETIC_UUID)
    with contextlib.suppress(ValueError):
        h264.codec_string(data)
