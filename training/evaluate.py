"""Measure the mouth: against real lips, on held-out synthesised speech, and on sounds that are not speech.

    python training/evaluate.py [FOLDER]

FOLDER is one for `musetalk-service bench lips`. Everything runs through `MouthStream`; openings are in jaw units.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import sounds
from numpy.typing import NDArray
from synthesise import Speaker
from tqdm import tqdm
from train import WEIGHTS

from musetalk_service.engines.builtin.mouth_stream import MouthNetwork
from musetalk_service.engines.builtin.mouth_table import BILABIAL, CLASSES, LABIODENTAL
from musetalk_service.engines.builtin.mouth_track import MouthTrack, track_mouth
from musetalk_service.lip_bench import main as compare_with_lips
from musetalk_service.models.face import Mouth

_FRAME = 640
_PRESS, _TUCK = Mouth._fields.index("press"), Mouth._fields.index("tuck")
_VOWELS = CLASSES.index("aa"), CLASSES.index("oe")


def track(network: MouthNetwork, wave: NDArray[np.floating]) -> MouthTrack:
    """The mouth of a wave (n,) in -1..1, one for each video frame."""
    return track_mouth((np.clip(wave, -1, 1) * 32767).astype(np.int16), _FRAME, network)


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
        mouths = track(network, speech)
        channels, opening = mouths.channels, mouths.opening
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
    print(f"mean opening of vowels       {np.mean(openings):.2f}, change per frame {np.mean(changes):.3f}")


def quiet_sounds(network: MouthNetwork) -> None:
    """Print the mean and the largest opening on sounds that are not speech, alone and after speech."""
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
        alone = track(network, wave_).opening
        after = track(network, np.concatenate((speech, wave_))).opening[-len(alone) + 5 :]
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
        compare_with_lips(options.folder, as_json=False, network=network)
    held_out_speech(network, options.clips, options.seed)
    quiet_sounds(network)


if __name__ == "__main__":
    main()
