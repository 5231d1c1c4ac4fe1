"""The built-in engine: the mouth that a small network hears, drawn on the avatar's portrait."""

from collections.abc import Sequence

from musetalk_service import __version__
from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import AvatarStream, EngineInfo, EngineStream, FrameRequest, Picture
from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEADS, look_ahead_samples
from musetalk_service.errors import EngineError
from musetalk_service.models.media import FrameSize


class BuiltinEngine:
    """Needs no download and no GPU. What it draws of the speech comes with each request."""

    def __init__(self, look_ahead_ms: int = LOOK_AHEADS[-1]) -> None:
        """ValueError for a look-ahead that the network does not have."""
        self.info = EngineInfo("builtin", __version__, "cpu", look_ahead_samples=look_ahead_samples(look_ahead_ms))

    def open(self, avatar: Avatar, size: FrameSize) -> EngineStream:
        if not avatar.has_face:
            raise EngineError(f"avatar {avatar.name!r} has no landmarks: its mouth cannot be drawn")
        return AvatarStream(avatar, size)

    def render(self, batch: Sequence[FrameRequest]) -> list[Picture]:
        return [self._draw(request) for request in batch]

    @staticmethod
    def _draw(request: FrameRequest) -> Picture:
        assert isinstance(request.stream, AvatarStream)
        return request.stream.draw(request, request.mouth)
