"""What a face is made to do: every mouth class in turn with the head still, then a sentence with the head in motion."""

import io
import wave
from dataclasses import dataclass
from importlib import resources
from typing import Final

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin.mouth_table import CLASSES, SILENCE, TABLE
from musetalk_service.engines.builtin.mouth_track import track_mouth
from musetalk_service.engines.face.motion import CLIP_FRAMES, make_clip
from musetalk_service.models.clips import DEFAULT_SPEAKING_CLIP
from musetalk_service.models.face import NEUTRAL, Mouth, Pose
from musetalk_service.models.media import SAMPLES_PER_FRAME

_SHARES: Final = (0.0, 0.35, 0.8, 1.0, 1.0, 1.0, 1.0, 0.8, 0.35)
"""How far a class is articulated, frame by frame."""
HELD: Final = 5
"""The frame of a class in which it is shown in full and has been for two frames."""


@dataclass(frozen=True)
class Track:
    """A mouth and a pose per frame at 25 fps, and the sound that belongs to them."""

    channels: NDArray[np.float64]
    """(n, 10), columns as in `Mouth`."""
    poses: list[Pose]
    """(n,), without smiles, which would change the mouth, too."""
    classes: dict[str, int]
    """The frame in which each mouth class is held."""
    sentence: range
    """The frames of the sentence."""
    pcm: NDArray[np.int16]
    """16 kHz, 640 samples per frame."""

    def mouth(self, frame: int) -> Mouth:
        """The mouth of one frame."""
        return Mouth(*self.channels[frame].tolist())

    def __len__(self) -> int:
        return len(self.poses)


def make_track() -> Track:
    """The track that every face is measured on; the sentence is the page's sample, spoken by a synthesiser."""
    spoken = [name for i, name in enumerate(CLASSES) if i != SILENCE]
    held = np.concatenate([np.outer(_SHARES, TABLE[CLASSES.index(name)]) for name in spoken])
    pcm = _sample()
    sentence = track_mouth(pcm).channels
    clip = make_clip(DEFAULT_SPEAKING_CLIP)
    moving = [Pose(*clip[i % CLIP_FRAMES[DEFAULT_SPEAKING_CLIP]].tolist()) for i in range(len(sentence))]
    silence = np.zeros(len(held) * SAMPLES_PER_FRAME, np.int16)
    rest_of_frame = np.zeros(-len(pcm) % SAMPLES_PER_FRAME, np.int16)
    return Track(
        channels=np.concatenate([held, sentence]),
        poses=[NEUTRAL] * len(held) + [pose._replace(smile=0.0) for pose in moving],
        classes={name: i * len(_SHARES) + HELD for i, name in enumerate(spoken)},
        sentence=range(len(held), len(held) + len(sentence)),
        pcm=np.concatenate([silence, pcm, rest_of_frame]),
    )


def _sample() -> NDArray[np.int16]:
    content = (resources.files("musetalk_service") / "web" / "sample.wav").read_bytes()
    with wave.open(io.BytesIO(content)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)
