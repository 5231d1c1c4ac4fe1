"""What the published MuseTalk scripts have computed of a video: for each frame its latents, its mask and its place."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.musetalk.options import LATENT_SHAPE, PATCH
from musetalk_service.models.avatar_manifest import LATENTS_FILE, MASKS_FILE, PLACES_FILE, Official
from musetalk_service.models.media import HEIGHT, WIDTH


@dataclass(frozen=True)
class PaintedVideo:
    """Mapped from files: only what is painted is in memory."""

    latents: NDArray[np.float16 | np.float32]
    """(n, 8, 32, 32)."""
    masks: NDArray[np.uint8]
    """(n, height, width) of a part of the 512x512 frames, how much of each pixel is painted."""
    left: int
    top: int
    """Where in the frames that part begins."""
    places: NDArray[np.float64]
    """(n, 2, 3) from pixels of each frame to those of the 256x256 patch that is painted."""

    def __len__(self) -> int:
        return len(self.places)

    def corners(self, frame: int) -> NDArray[np.float64]:
        """(4, 2) where the patch's corners are in a frame, pixels."""
        matrix = self.places[frame]
        ends = np.array([[0, 0], [PATCH - 1, 0], [0, PATCH - 1], [PATCH - 1, PATCH - 1]], np.float64)
        corners: NDArray[np.float64] = np.linalg.solve(matrix[:, :2], (ends - matrix[:, 2]).T).T
        return corners


def read_painted_video(folder: Path, official: Official, frames: int) -> PaintedVideo:
    """From three NumPy files. Raises ``ValueError`` for what does not fit together, ``OSError``."""
    latents = np.load(folder / LATENTS_FILE, mmap_mode="r", allow_pickle=False)
    masks = np.load(folder / MASKS_FILE, mmap_mode="r", allow_pickle=False)
    places = np.load(folder / PLACES_FILE, allow_pickle=False)
    if latents.shape != (frames, *LATENT_SHAPE) or latents.dtype not in (np.float16, np.float32):
        raise ValueError(f"latents of {frames} frames are {latents.shape} {latents.dtype}")
    if masks.ndim != 3 or len(masks) != frames or masks.dtype != np.uint8 or 0 in masks.shape:
        raise ValueError(f"masks of {frames} frames are {masks.shape} {masks.dtype}")
    if official.mask_left + masks.shape[2] > WIDTH or official.mask_top + masks.shape[1] > HEIGHT:
        raise ValueError(f"masks of {masks.shape[1:]} do not lie in the frames")
    if places.shape != (frames, 2, 3) or not np.isfinite(places).all():
        raise ValueError(f"{frames} frames need as many places, not {places.shape}")
    if np.abs(np.linalg.det(places[:, :, :2].astype(np.float64))).min() < 1e-6:
        raise ValueError("a place has no extent")
    return PaintedVideo(latents, masks, official.mask_left, official.mask_top, places.astype(np.float64))
