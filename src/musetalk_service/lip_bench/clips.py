"""Clips of speech whose speakers' lips were measured."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from musetalk_service.errors import MediaFileError, MediaFileMissingError, UndecodableMediaError
from musetalk_service.models.media import SAMPLE_RATE
from musetalk_service.utils.audio_file import read_audio_file

Array = NDArray[np.float64]

_STUDIO_PREFIX = "grid_"
_ARRAYS = ("t", "aperture", "width")
_FEWEST = 10


@dataclass(frozen=True)
class Clip:
    """One clip."""

    name: str
    pcm: NDArray[np.int16]
    """16 kHz mono, shape (n,)."""
    times: Array
    """Seconds, shape (m,); all within the sound. Frames in which a measure is not finite are left out."""
    aperture: Array
    """Inner-lip opening in inter-ocular distances, shape (m,)."""
    width: Array
    """Distance of the mouth's corners in inter-ocular distances, shape (m,)."""

    @property
    def group(self) -> str:
        """``studio`` or ``web``."""
        return "studio" if self.name.startswith(_STUDIO_PREFIX) else "web"

    @property
    def seconds(self) -> float:
        """For weights."""
        return float(self.times[-1])


def load_clips(folder: Path) -> list[Clip]:
    """Every NAME.wav of a folder that has a NAME.npz, by name.

    Raises:
        MediaFileError: no such folder, no clip in it, or a clip that cannot be used.
    """
    if not folder.is_dir():
        raise MediaFileMissingError(f"{folder}: there is no such folder")
    clips = [_load(path) for path in sorted(folder.glob("*.wav")) if path.with_suffix(".npz").exists()]
    if not clips:
        raise MediaFileMissingError(f"{folder}: holds no NAME.wav with a NAME.npz")
    return clips


def _load(path: Path) -> Clip:
    pcm = read_audio_file(path)
    lips = path.with_suffix(".npz")
    try:
        with lips.open("rb") as file, NpzFile(file, allow_pickle=False) as arrays:
            times, aperture, width = (np.asarray(arrays[name], np.float64) for name in _ARRAYS)
    except KeyError as error:
        raise UndecodableMediaError(f"{lips}: needs the arrays {', '.join(_ARRAYS)}") from error
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise UndecodableMediaError(f"{lips}: cannot be read ({error})") from error
    if times.ndim != 1 or aperture.shape != times.shape or width.shape != times.shape:
        raise UndecodableMediaError(f"{lips}: {', '.join(_ARRAYS)} must be of one length")
    seen = np.isfinite(times) & np.isfinite(aperture) & np.isfinite(width)
    inside = seen & (times < pcm.size / SAMPLE_RATE)
    if inside.sum() < _FEWEST or not (np.diff(times[inside]) > 0).all():
        raise MediaFileError(f"{lips}: needs rising times, at least {_FEWEST} of them within the sound")
    return Clip(path.stem, pcm, times[inside], aperture[inside], width[inside])
