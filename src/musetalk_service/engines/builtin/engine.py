"""The built-in engine: audio to mouth by a small network, drawn on the avatar's portrait."""

from collections.abc import Sequence

import numpy as np

from musetalk_service import __version__
from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import EngineInfo, EngineStream, FrameRequest, Pcm, Picture
from musetalk_service.engines.builtin.mouth_stream import MouthStream, load_network
from musetalk_service.engines.builtin.network import MouthNetwork
from musetalk_service.models.face import REST, Mouth

_SHUT_FIRST_STEP = 0.35
"""Share of an open mouth that is left in the first of the two frames in which it shuts."""


class BuiltinStream:
    """One session: the network's state, and the mouth that was shown last."""

    def __init__(self, avatar: Avatar, network: MouthNetwork) -> None:
        self.avatar = avatar
        self._mouths = MouthStream(network)
        self._shown = REST
        self._shutting = False

    def push(self, pcm: Pcm, position: int) -> None:
        if position != self._mouths.pushed:
            self._mouths.reset(position)
        self._mouths.push(pcm)

    def mouth(self, position: int | None) -> Mouth:
        """The mouth at an audio position; without one it is shut within two frames."""
        if position is not None:
            self._shown = self._mouths.mouth_at(position)
            self._shutting = False
        elif self._shutting:
            self._shown = REST
        else:
            self._shown = Mouth(*(np.asarray(self._shown) * _SHUT_FIRST_STEP).tolist())
            self._shutting = True
        return self._shown


class BuiltinEngine:
    """Needs no download and no GPU. One network, shared by all streams."""

    info = EngineInfo("builtin", __version__, "cpu", look_ahead_samples=MouthStream.LOOK_AHEAD_SAMPLES)

    def __init__(self) -> None:
        self._network = load_network()

    def open(self, avatar: Avatar) -> EngineStream:
        return BuiltinStream(avatar, self._network)

    def render(self, batch: Sequence[FrameRequest]) -> list[Picture]:
        pictures = []
        for request in batch:
            stream = request.stream
            assert isinstance(stream, BuiltinStream)
            pictures.append(stream.avatar.renderer.render(request.pose, stream.mouth(request.position)))
        return pictures
