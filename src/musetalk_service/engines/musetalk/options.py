"""How MuseTalk is to run; imports nothing that MuseTalk needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Version = Literal["1.5", "1.0"]
Decoder = Literal["full", "lower", "taesd"]
MaskSource = Literal["landmarks", "parsing"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]
LATENT_SHAPE: Final = (8, 32, 32)
"""Of a face: four channels with the lower half masked, four without."""
PATCH: Final = 256
"""Width and height of a face for the networks."""
PARSED: Final = 512
"""Width and height of the picture that BiSeNet is shown, in which the published mask is made."""
FRAME_SAMPLES: Final = 640
LOOK_AHEAD_SAMPLES: Final = 2_120
"""132.5 ms: the last position that a frame takes begins 100 ms after it and reaches 32.5 ms further."""
POSITION_SAMPLES: Final = 320
"""Samples from one position of Whisper's encoder to the next: 50 a second."""
SAMPLE_RATE: Final = 16_000


@dataclass(frozen=True, slots=True)
class Listening:
    """How streams hear."""

    version: Version = "1.5"
    window_s: float = 30.0
    """Length of the window; Whisper was trained on 30 s, shorter is cheaper and untried."""
    hop_frames: int = 1
    """Frames that share one pass of Whisper; each more than one waits for 40 ms more of audio."""
    silence_dbfs: float = -60.0
    """A frame around which no 10 ms are louder needs no mouth."""

    @property
    def look_ahead_samples(self) -> int:
        """Audio after a frame's start that the first frame of a hop needs."""
        return LOOK_AHEAD_SAMPLES + (self.hop_frames - 1) * FRAME_SAMPLES

    @property
    def window_samples(self) -> int:
        """A whole number of positions."""
        return int(self.window_s * SAMPLE_RATE) // POSITION_SAMPLES * POSITION_SAMPLES


@dataclass(frozen=True)
class MuseTalkOptions:
    """How the engine is to run."""

    model_path: Path
    cache_dir: Path
    device: Literal["cuda", "cpu", "mps"] = "cuda"
    half: bool = True
    precision: Precision = "auto"
    """``auto``: float16 on a GPU where ``half`` is set, float32 elsewhere."""
    listening: Listening = Listening()
    largest_batch: int = 16
    face_bytes: int = 256 << 20
    """What masks and latents may take in the memory of each host."""
    latents_bytes: int = 256 << 20
    """What latents may take in the device's memory."""
    decoder: Decoder = "full"
    """What makes pixels of latents: the VAE's own decoder, the same for the lower face alone, or TAESD's small one."""
    least_psnr_db: float = 22.0
    """How alike the other decoders' pictures must be to the full decoder's; below, the full one is used."""
    mask: MaskSource = "landmarks"
    """What tells where a face is painted: its landmarks, or BiSeNet as in the published scripts."""
