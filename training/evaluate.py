"""Measure the mouth: against real lips, on held-out synthesised speech, and on sounds that are not speech.

    python training/evaluate.py [FOLDER]

FOLDER holds NAME.wav (16 kHz mono) and NAME.npz with arrays t (s), aperture and width; names that start with
"grid_" are studio recordings, the others come from the web. Everything runs through `MouthStream`.
"""

import argparse
import itertools
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sounds
from numpy.typing import NDArray
from synthesise import Speaker
from tqdm import tqdm
from train import WEIGHTS

from musetalk_service.engines.builtin.mouth_stream import MouthNetwork, MouthStream
from musetalk_service.engines.builtin.mouth_measures import APERTURE, WIDTH
from musetalk_service.engines.builtin.mouth_table import BILABIAL, CLASSES, LABIODENTAL
from musetalk_service.models.face import Mouth

Array = NDArray[np.float64]
_LAGS = range(-6, 7)  # of 20 ms
_FRAME = 640
_PRESS, _TUCK = Mouth._fields.index("press"), Mouth._fields.index("tuck")
_VOWELS = CLASSES.index("aa"), CLASSES.index("oe")


def mouths(network: MouthNetwork, pcm: NDArray[np.int16], every: int) -> Array:
    """Channels (n, 10) at every `every` samples."""
    stream = MouthStream(network)
    stream.push(pcm)
    return np.array([stream.mouth_at(position) for position in range(0, pcm.size, every)], np.float64)


def aperture(channels: Array) -> Array:
    """Inner-lip opening in jaw units, as the portrait renderer draws it."""
    return np.asarray((channels @ APERTURE) * (1 - channels[:, _PRESS]) * (1 - channels[:, _TUCK]))


def _correlation(ours: Array, real: Array) -> float:
    return float(np.corrcoef(ours, real)[0, 1]) if np.std(ours) > 1e-9 else 0.0


class Score(NamedTuple):
    """Agreement of one measure in one clip."""

    zero: float
    best: float
    lag: int
    """Milliseconds by which ours is late at its best."""


def score(ours: Array, times: Array, real: Array) -> Score:
    """Compare a 50 Hz track with one measured at `times`."""
    grid = np.arange(len(ours)) * 0.02
    values = [_correlation(np.interp(times + 0.02 * lag, grid, ours), real) for lag in _LAGS]
    best = int(np.argmax(values))
    return Score(values[len(_LAGS) // 2], values[best], 20 * _LAGS[best])


def real_lips(network: MouthNetwork, folder: Path) -> None:
    """Print the agreement with measured lips, per clip and weighted by duration."""
    rows: dict[str, list[tuple[float, Score, Score, Score]]] = {"studio": [], "web": []}
    columns = f"{'clip':16}{'aperture r':>11}{'best':>6}{'lag':>5}  {'width r':>8}{'best':>6}{'lag':>5}"
    print(f"{columns}  {'loudness':>8}{'best':>6}")
    for path in sorted(folder.glob("*.wav")):
        with wave.open(str(path)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        lips = np.load(path.with_suffix(".npz"), allow_pickle=False)
        inside = lips["t"] < pcm.size / sounds.RATE
        times = lips["t"][inside]
        channels = mouths(network, pcm, 320)
        power = np.convolve((pcm / 32768.0) ** 2, np.ones(640) / 640, "same")[::320]
        measured = (
            score(aperture(channels), times, lips["aperture"][inside]),
            score(channels @ WIDTH, times, lips["width"][inside]),
            score(10 * np.log10(power + 1e-6), times, lips["aperture"][inside]),
        )
        rows["studio" if path.stem.startswith("grid_") else "web"].append((float(times[-1]), *measured))
        _print_row(path.stem, measured)
    for name, clips in rows.items():
        if clips:
            weights = np.array([clip[0] for clip in clips])
            means = []
            for column in (1, 2, 3):
                values = np.array([clip[column] for clip in clips], np.float64)
                mean = weights @ values / weights.sum()
                means.append(Score(mean[0], mean[1], round(float(np.median(values[:, 2])))))
            _print_row(f"= {name}", tuple(means))


def _print_row(name: str, scores: tuple[Score, ...]) -> None:
    ours, width, loudness = scores
    print(
        f"{name:16}{ours.zero:11.2f}{ours.best:6.2f}{ours.lag:5d}  {width.zero:8.2f}{width.best:6.2f}{width.lag:5d}"
        f"  {loudness.zero:8.2f}{loudness.best:6.2f}"
    )


def _runs(label: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    edges = np.flatnonzero(np.diff(label)) + 1
    bounds = [0, *edges.tolist(), len(label)]
    return [(int(label[a]), a, b) for a, b in itertools.pairwise(bounds)]


def held_out_speech(network: MouthNetwork, clips: int, seed: int) -> None:
    """Print how often lips close where they should in synthesised speech of voices and texts never trained on."""
    speaker = Speaker(seed, 0.35, held_out=True)
    closed, tucked, shut_vowels, openings, changes = [], [], [], [], []
    for _ in tqdm(range(clips), desc="held-out speech", unit="clip", leave=False):
        speech, label = speaker.speech()
        channels = mouths(network, (np.clip(speech, -1, 1) * 32767).astype(np.int16), _FRAME)
        opening = aperture(channels)
        shut = (channels[:, _PRESS] > 0.8) & (opening < 0.05)
        changes.append(np.abs(np.diff(opening)).mean())
        for name, start, stop in _runs(label):
            if stop - start < 3:
                continue
            frames = slice(start // 4, (stop - 1) // 4 + 1)  # video frames of 40 ms that share time with it
            middle = min(len(opening) - 1, (start + stop) // 8)
            if name == BILABIAL:
                closed.append(shut[frames].any())
            elif name == LABIODENTAL:
                tucked.append((channels[frames, _TUCK] > 0.8).any())
            elif _VOWELS[0] <= name <= _VOWELS[1] and stop - start > 6:
                shut_vowels.append(shut[middle])
                openings.append(opening[middle])
    print(f"p, b, m closed for a frame   {np.mean(closed):.1%} of {len(closed)}")
    print(f"f, v with lip on teeth       {np.mean(tucked):.1%} of {len(tucked)}")
    print(f"vowels wrongly closed        {np.mean(shut_vowels):.1%} of {len(shut_vowels)}")
    print(f"mean aperture of vowels      {np.mean(openings):.2f}, change per frame {np.mean(changes):.3f}")


def quiet_sounds(network: MouthNetwork) -> None:
    """Print the mean and the largest aperture on sounds that are not speech, alone and after speech."""
    rng = np.random.default_rng(7)
    size = 6 * sounds.RATE
    time = np.arange(size) / sounds.RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 12))
    waves = {
        "silence": np.zeros(size),
        "white -60 dBFS": 1e-3 * sounds.coloured(rng, size, 0),
        "white -30 dBFS": 0.0316 * sounds.coloured(rng, size, 0),
        "white -15 dBFS": 0.178 * sounds.coloured(rng, size, 0),
        "pink -30 dBFS": 0.03 * (pink := sounds.coloured(rng, size, 1)) / np.std(pink),
        "pink, 4 Hz swell": 0.03 * pink / np.std(pink) * (1 + np.sin(8 * np.pi * time)),
        "hum 50 Hz": 0.05 * hum,
        "tone 440 Hz": 0.1 * np.sin(2 * np.pi * 440 * time),
        "beeps 1 kHz": 0.1 * np.sin(2 * np.pi * 1000 * time) * (np.sin(4 * np.pi * time) > 0),
    }
    speech = Speaker(5, 1.0, held_out=True).speech()[0]
    for name, wave_ in waves.items():
        alone = aperture(mouths(network, (np.clip(wave_, -1, 1) * 32767).astype(np.int16), _FRAME))
        joined = np.clip(np.concatenate((speech, wave_)), -1, 1)
        after = aperture(mouths(network, (joined * 32767).astype(np.int16), _FRAME))[-len(alone) + 5 :]
        figures = f"mean {alone.mean():.3f} max {alone.max():.2f}"
        print(f"{name:18} {figures}   after speech {after.mean():.3f} {after.max():.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="clips with measured lips")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--clips", type=int, default=60, help="clips of held-out synthesised speech")
    parser.add_argument("--seed", type=int, default=424242)
    options = parser.parse_args()
    with np.load(options.weights, allow_pickle=False) as weights:
        network = MouthNetwork(weights)
    if options.folder is not None:
        real_lips(network, options.folder)
    held_out_speech(network, options.clips, options.seed)
    quiet_sounds(network)


if __name__ == "__main__":
    main()
