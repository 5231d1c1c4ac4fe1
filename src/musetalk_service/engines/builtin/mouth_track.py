"""A whole recording's mouth, frame by frame: what a live stream of it shows, as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin import mouth_measures
from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEADS, MouthNetwork, MouthStream, load_network
from musetalk_service.engines.builtin.mouth_table import CLASSES, SILENCE, to_mouth
from musetalk_service.models.face import REST, Mouth
from musetalk_service.models.media import SAMPLE_RATE, SAMPLES_PER_FRAME

Array = NDArray[np.float64]

_SILENT = np.eye(len(CLASSES), dtype=np.float32)[SILENCE]


@dataclass(frozen=True)
class MouthTrack:
    """The mouth at every instant asked for. Row i of each array belongs to `t[i]`."""

    t: Array
    """Seconds since the recording's start at which a video frame with this mouth is shown, shape (n,).

    The frame stays for 40 ms, so its mouth is that of the instant 20 ms later.
    """
    classes: Array
    """Probability of each class of `mouth_table.CLASSES` in the frame's own 40 ms, shape (n, 27)."""
    channels: Array
    """The channels of `Mouth`, 0 to 1, shape (n, 10)."""

    @property
    def aperture(self) -> Array:
        """Inner-lip opening in inter-ocular distances, shape (n,)."""
        return mouth_measures.aperture(self.channels)

    @property
    def width(self) -> Array:
        """Distance of the mouth's corners in inter-ocular distances, shape (n,)."""
        return mouth_measures.width(self.channels)

    @property
    def opening(self) -> Array:
        """Inner-lip opening in jaw units, shape (n,)."""
        return mouth_measures.opening(self.channels)


def track_mouth(
    pcm: NDArray[np.int16],
    every: int = SAMPLES_PER_FRAME,
    network: MouthNetwork | None = None,
    look_ahead_ms: int = LOOK_AHEADS[-1],
) -> MouthTrack:
    """Run a recording through `MouthStream`.

    Args:
        pcm: 16 kHz mono, shape (n,).
        every: samples between instants; the default is one instant per video frame, 25 a second.
        network: another one than that of the package.
        look_ahead_ms: which of the network's heads judges.

    Raises:
        ValueError: not a one-dimensional array of int16, or no such look-ahead.
    """
    stream = MouthStream(network or load_network(), look_ahead_ms)
    stream.push(pcm)
    positions = range(0, pcm.size, every)
    classes = np.empty((len(positions), len(CLASSES)))
    channels = np.empty((len(positions), len(Mouth._fields)))
    for row, position in enumerate(positions):
        sounds = stream.sounds_at(position)
        classes[row] = _SILENT if sounds is None else sounds.nearby.mean(axis=0)
        channels[row] = REST if sounds is None else to_mouth(*sounds)
    return MouthTrack(np.array(positions, np.float64) / SAMPLE_RATE, classes, channels)
