"""Access units into a file that players open, without decoding anything."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av

from musetalk_service.models.media import FPS
from musetalk_service.utils import h264


def packets_to_mp4(access_units: Sequence[bytes], width: int, height: int) -> bytes:
    """An MP4 file, fragmented so that it plays while it loads, of H.264 access units (Annex B), one per frame."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as file:
        stream = file.add_mux_stream("h264", rate=FPS, width=width, height=height)
        for index, unit in enumerate(access_units):
            packet = av.Packet(unit)
            packet.stream = stream
            packet.time_base = Fraction(1, FPS)
            packet.pts = packet.dts = index
            packet.duration = 1
            packet.is_keyframe = h264.is_idr(unit)
            file.mux(packet)
    return target.getvalue()
