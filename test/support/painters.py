"""MuseTalk's networks in the test's own process, as an engine asks for them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.musetalk.networks import NetworkPainter
from musetalk_service.engines.musetalk.painter import Classes, Latents, PainterInfo, PaintJob, Patch


class Painted:
    """A patch that is there."""

    def __init__(self, patch: Patch) -> None:
        self._patch = patch

    def is_done(self) -> bool:
        return True

    def patch(self) -> Patch:
        return self._patch


class InProcessPainter:
    """Paints what is ordered at once."""

    def __init__(self, networks: NetworkPainter) -> None:
        self._networks = networks

    @property
    def info(self) -> PainterInfo:
        return self._networks.info

    def fileno(self) -> int | None:
        return None

    def encode_face(self, face: Patch) -> Latents:
        return self._networks.encode_face(face)

    def parse_face(self, picture: NDArray[np.uint8]) -> Classes:
        return self._networks.parse_face(picture)

    def order(self, jobs: Sequence[PaintJob]) -> list[Painted]:
        return [Painted(patch) for patch in self._networks.paint(jobs)]
