"""The H.264 encoder: one access unit out for each picture in, decodable by anything."""

from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from musetalk_service.models.media import FPS, EncodedFrame, Rendition
from musetalk_service.utils import h264, i420

_VBV_SECONDS = 0.27
"""VBV buffer over peak rate: caps an IDR at about 26 kB without visible pulsing."""
# Tagged as what OpenCV's conversion makes (BT.601, limited range); browsers take untagged video for BT.709.
_COLOUR = "colorprim=smpte170m:transfer=smpte170m:colormatrix=smpte170m:range=tv"
# No scene cut and no interval of its own: IDRs come where the caller asks, and nowhere else.
_GOP = "keyint=infinite:scenecut=0:repeat-headers=1:bframes=0"


class H264Encoder:
    """Constrained baseline, zero delay, one thread, SPS and PPS with each IDR.

    ``label`` is put into each IDR as a user-data SEI message. Raises ``av.FFmpegError`` when x264 does.
    """

    def __init__(self, label: str, rendition: Rendition) -> None:
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = self._size = rendition.size
        context.pix_fmt = "yuv420p"
        context.framerate = Fraction(FPS)
        context.time_base = Fraction(1, FPS)
        context.thread_count = 1
        context.profile = "Baseline"
        vbv = f"vbv-maxrate={rendition.max_kbps}:vbv-bufsize={int(rendition.max_kbps * _VBV_SECONDS)}"
        context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "crf": str(rendition.crf),
            "level": str(rendition.level),
            "x264-params": f"{_GOP}:{_COLOUR}:{vbv}",
        }
        self._context = context
        # One frame for all pictures: x264 takes its copy before `encode` returns.
        self._frame = av.VideoFrame(*rendition.size, "yuv420p")
        self._planes = [
            np.frombuffer(cast(bytearray, plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            for plane in self._frame.planes
        ]
        self._label = label
        self._sei = h264.user_data_sei(h264.SYNTHETIC_UUID, label)
        self._pts = 0

    def set_label(self, label: str) -> None:
        """What the SEI of the following IDRs says."""
        if label != self._label:
            self._label = label
            self._sei = h264.user_data_sei(h264.SYNTHETIC_UUID, label)

    def encode(self, picture: NDArray[np.uint8], *, force_idr: bool) -> EncodedFrame:
        """One I420 picture, scaled to the rendition, to one access unit; the first is an IDR anyway."""
        if i420.size_of(picture) != self._size:
            picture = i420.scaled(picture, self._size)
        for plane, source in zip(self._planes, i420.planes_of(picture), strict=True):
            plane[:] = source
        frame = self._frame
        frame.pts = self._pts
        frame.pict_type = PictureType.I if force_idr else PictureType.NONE
        data = b"".join(bytes(packet) for packet in self._context.encode(frame))
        idr = h264.is_idr(data)
        encoded = EncodedFrame(self._pts, h264.insert_before_slices(data, self._sei) if idr else data, idr)
        self._pts += 1
        return encoded


def synthetic_label(engine: str, version: str) -> str:
    """The text that marks a picture as synthetic, and by what."""
    return f"synthetic; generator=musetalk-service; engine={engine}; version={version}"
