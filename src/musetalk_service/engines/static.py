"""Static: the clips with the mouth untouched. The last link of every chain; it needs no audio."""

from collections.abc import Sequence
from dataclasses import dataclass

from musetalk_service import __version__
from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import EngineInfo, EngineStream, FrameRequest, Pcm, Picture
from musetalk_service.models.face import REST


@dataclass(frozen=True)
class StaticStream:
    """Knows its avatar and forgets all audio."""

    avatar: Avatar

    def push(self, pcm: Pcm, position: int) -> None:
        """Nothing follows the audio here."""


class StaticEngine:
    """Renders poses only."""

    info = EngineInfo("static", __version__, "cpu", look_ahead_samples=0)

    def open(self, avatar: Avatar) -> EngineStream:
        return StaticStream(avatar)

    def render(self, batch: Sequence[FrameRequest]) -> list[Picture]:
        return [self._avatar(request).renderer.render(request.pose, REST) for request in batch]

    @staticmethod
    def _avatar(request: FrameRequest) -> Avatar:
        assert isinstance(request.stream, StaticStream)
        return request.stream.avatar
