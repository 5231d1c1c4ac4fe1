"""Static: the clips with the mouth untouched. The last link of every chain; it needs no audio."""

from collections.abc import Sequence

from musetalk_service import __version__
from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import AvatarStream, EngineInfo, EngineStream, FrameRequest, Picture
from musetalk_service.models.face import REST
from musetalk_service.models.media import FrameSize


class StaticEngine:
    """Renders poses only."""

    info = EngineInfo("static", __version__, "cpu", look_ahead_samples=0)

    def open(self, avatar: Avatar, size: FrameSize) -> EngineStream:
        return AvatarStream(avatar, size)

    def render(self, batch: Sequence[FrameRequest]) -> list[Picture]:
        return [self._stream(request).draw(request, REST) for request in batch]

    @staticmethod
    def _stream(request: FrameRequest) -> AvatarStream:
        assert isinstance(request.stream, AvatarStream)
        return request.stream
