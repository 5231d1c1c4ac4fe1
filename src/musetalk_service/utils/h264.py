"""H.264 byte streams (ITU-T H.264, Annex B): NAL units and SEI messages. Pure functions on bytes."""

import re
import uuid
from collections.abc import Iterator

START_CODE = b"\x00\x00\x00\x01"
NAL_SLICE, NAL_IDR, NAL_SEI, NAL_SPS, NAL_PPS = 1, 5, 6, 7, 8
"""nal_unit_type, table 7-1."""
_SEI_USER_DATA_UNREGISTERED = 5
"""payloadType, D.1.1."""

SYNTHETIC_UUID = uuid.UUID("6d757365-7461-4c6b-b053-796e74686574")
"""uuid_iso_iec_11578 of our user data (D.2.7): it spells "museta", "lk" and "Synthet" where UUID v4 allows."""

_NAL = re.compile(rb"\x00\x00\x01")


def nal_units(access_unit: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex-B access unit, start codes removed."""
    starts = [match.end() for match in _NAL.finditer(access_unit)]
    for start, following in zip(starts, [*starts[1:], None], strict=False):
        end = len(access_unit) if following is None else following - 3
        yield access_unit[start:end].rstrip(b"\x00") if following is not None else access_unit[start:end]


def nal_type(nal: bytes) -> int:
    """nal_unit_type of a NAL unit without start code (7.3.1)."""
    return nal[0] & 0x1F


def is_idr(access_unit: bytes) -> bool:
    """Whether the access unit has an IDR slice, as all its slices then are: the first one tells."""
    types = (access_unit[found.end()] & 0x1F for found in _NAL.finditer(access_unit) if found.end() < len(access_unit))
    return next((kind == NAL_IDR for kind in types if kind in (NAL_SLICE, NAL_IDR)), False)


def escape(rbsp: bytes) -> bytes:
    """Insert emulation_prevention_three_byte (7.4.1)."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def unescape(nal: bytes) -> bytes:
    """Undo :func:`escape`."""
    return nal.replace(b"\x00\x00\x03", b"\x00\x00")


def user_data_sei(identifier: uuid.UUID, text: str) -> bytes:
    """A SEI NAL unit with start code: user_data_unregistered (D.1.7), UTF-8 text."""
    payload = identifier.bytes + text.encode("utf-8")
    size = len(payload)
    header = bytes([_SEI_USER_DATA_UNREGISTERED]) + b"\xff" * (size // 255) + bytes([size % 255])
    trailing = b"\x80"  # rbsp_trailing_bits
    return START_CODE + bytes([NAL_SEI]) + escape(header + payload + trailing)


def read_user_data(access_unit: bytes, identifier: uuid.UUID) -> str | None:
    """The text of the first user_data_unregistered SEI with this identifier, or None."""
    for nal in nal_units(access_unit):
        if not nal or nal_type(nal) != NAL_SEI:
            continue
        data = unescape(nal[1:])
        if not data or data[0] != _SEI_USER_DATA_UNREGISTERED:
            continue
        index, size = 1, 0
        while index < len(data) and data[index] == 255:
            size += 255
            index += 1
        if index >= len(data):
            continue
        size += data[index]
        payload = data[index + 1 : index + 1 + size]
        if payload[:16] == identifier.bytes:
            return payload[16:].decode("utf-8", "replace")
    return None


def insert_before_slices(access_unit: bytes, nal_with_start_code: bytes) -> bytes:
    """The access unit with a NAL unit put after SPS and PPS and before the first slice (7.4.1.2.3)."""
    for match in _NAL.finditer(access_unit):
        if match.end() < len(access_unit) and access_unit[match.end()] & 0x1F in (NAL_SLICE, NAL_IDR):
            at = match.start()
            if at and access_unit[at - 1] == 0:  # a four-byte start code
                at -= 1
            return access_unit[:at] + nal_with_start_code + access_unit[at:]
    return access_unit


def codec_string(access_unit: bytes) -> str:
    """``avc1.PPCCLL`` from the SPS (RFC 6381, section 3.3). Raises ``ValueError`` without an SPS."""
    for nal in nal_units(access_unit):
        if len(nal) >= 4 and nal_type(nal) == NAL_SPS:
            return f"avc1.{nal[1]:02X}{nal[2]:02X}{nal[3]:02X}"
    raise ValueError("the access unit has no SPS")
