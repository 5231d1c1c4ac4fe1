"""Measure the mouth: against real lips, on held-out synthesised speech, at other levels, in noise, without speech.

    python training/evaluate.py [FOLDER]

FOLDER is one for `musetalk-service bench lips`. Everything runs through `MouthStream`, once for each look-ahead;
apertures are in inter-ocular distances.
"""

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sounds
from numpy.typing import NDArray
from synthesise import Speaker
from tqdm import tqdm
from train import WEIGHTS

from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEADS, MouthNetwork
from musetalk_service.engines.builtin.mouth_table import BILABIAL, CLASSES, LABIODENTAL
from musetalk_service.engines.builtin.mouth_track import MouthTrack, track_mouth
from musetalk_service.lip_bench import main as compare_with_lips
from musetalk_service.models.face import Mouth
from musetalk_service.utils.audio_file import read_audio_file

_FRAME = 640
_PRESS, _TUCK = Mouth._fields.index("press"), Mouth._fields.index("tuck")
_VOWELS = CLASSES.index("aa"), CLASSES.index("oe")
_CLOSED = 0.05
"""Lips are seen closed below this aperture."""


class Listener(NamedTuple):
    """A network and one of its heads."""

    network: MouthNetwork
    look_ahead_ms: int

    def track(self, wave: NDArray[np.floating]) -> MouthTrack:
        """The mouth of a wave (n,) in -1..1, one for each video frame."""
        pcm = (np.clip(wave, -1, 1) * 32767).astype(np.int16)
        return track_mouth(pcm, _FRAME, self.network, self.look_ahead_ms)


class Spoken(NamedTuple):
    """A clip of synthesised speech."""

    wave: sounds.Wave
    label: NDArray[np.uint8]
    """Class of each 10 ms."""


def held_out_clips(clips: int, seed: int) -> list[Spoken]:
    """Speech of voices and texts that are not trained on, a third of it by each synthesiser."""
    speaker = Speaker(seed, 0.5, held_out=True, festival_share=0.33)
    return [Spoken(*speaker.speech()) for _ in tqdm(range(clips), desc="held-out speech", unit="clip", leave=False)]


def real_clips(folder: Path) -> list[Spoken]:
    """The voices of a folder for `bench lips`; what they say when is not known."""
    waves = [read_audio_file(path).astype(np.float32) / 32768 for path in sorted(folder.glob("*.wav"))]
    return [Spoken(wave, np.zeros(0, np.uint8)) for wave in waves]


def _runs(label: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    edges = np.flatnonzero(np.diff(label)) + 1
    bounds = [0, *edges.tolist(), len(label)]
    return [(int(label[a]), a, b) for a, b in itertools.pairwise(bounds)]


def held_out_speech(listener: Listener, clips: list[Spoken]) -> None:
    """Print how often lips close where they should."""
    closed, pressed, tucked, shut_vowels, apertures, changes = [], [], [], [], [], []
    for speech, label in clips:
        mouths = listener.track(speech)
        channels, aperture = mouths.channels, mouths.aperture
        changes.append(np.abs(np.diff(aperture)).mean())
        for name, start, stop in _runs(label):
            if stop - start < 3:
                continue
            frames = slice(start // 4, (stop - 1) // 4 + 1)  # video frames of 40 ms that share time with it
            middle = min(len(aperture) - 1, (start + stop) // 8)
            if name == BILABIAL:
                closed.append((aperture[frames] < _CLOSED).any())
                pressed.append((channels[frames, _PRESS] > 0.8).any())
            elif name == LABIODENTAL:
                tucked.append((channels[frames, _TUCK] > 0.8).any())
            elif _VOWELS[0] <= name <= _VOWELS[1] and stop - start > 6:
                shut_vowels.append(channels[middle, _PRESS] > 0.8)
                apertures.append(aperture[middle])
    print(f"  p, b, m closed / pressed for a frame  {np.mean(closed):.1%} / {np.mean(pressed):.1%} of {len(closed)}")
    print(f"  f, v with lip on teeth for a frame    {np.mean(tucked):.1%} of {len(tucked)}")
    print(f"  vowels pressed shut in their middle   {np.mean(shut_vowels):.1%} of {len(shut_vowels)}")
    print(f"  mean aperture of vowels {np.mean(apertures):.3f}, change per frame {np.mean(changes):.4f}")


def same_lips(listener: Listener, clips: list[Spoken]) -> None:
    """Print how alike the aperture stays at other levels and in noise, over all clips together."""
    rng = np.random.default_rng(11)
    waves = [0.1 * clip.wave / np.sqrt(np.mean(clip.wave**2)) for clip in clips]
    as_is = np.concatenate([listener.track(wave).aperture for wave in waves])

    def alike(change: Callable[[NDArray[np.floating]], NDArray[np.floating]]) -> float:
        changed = np.concatenate([listener.track(change(wave)).aperture for wave in waves])
        return float(np.corrcoef(as_is, changed)[0, 1])

    levels = ", ".join(f"{gain:+d} dB {alike(lambda w, g=gain: w * 10 ** (g / 20)):.3f}" for gain in (6, -10, -20, -30))
    print(f"  r to itself at another level  {levels}")
    for name, slope in (("white", 0.0), ("pink", 1.0)):

        def noisy(wave: NDArray[np.floating], snr: int, slope: float = slope) -> NDArray[np.floating]:
            noise = sounds.coloured(rng, len(wave), slope)
            return wave + 0.1 * 10 ** (-snr / 20) * noise / np.std(noise)

        ratios = ", ".join(f"{snr} dB {alike(lambda w, s=snr: noisy(w, s)):.3f}" for snr in (30, 20, 10))
        print(f"  r to itself in {name} noise     {ratios}")


def other_sounds(babble: list[Spoken]) -> dict[str, NDArray[np.floating]]:
    """Six seconds of each sound at which the mouth must rest; the last is for after a speaker at 0.1 RMS."""
    rng = np.random.default_rng(7)
    size = 6 * sounds.RATE
    time = np.arange(size) / sounds.RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 12))
    pink = sounds.coloured(rng, size, 1)
    pink /= np.std(pink)
    clicks = np.zeros(size)
    clicks[:: sounds.RATE // 3] = 0.5
    chords = sum(
        np.sin(2 * np.pi * pitch * 2 ** ((step * (time // 1.0) % 12) / 12) * time)
        for pitch, step in ((261.6, 5), (329.6, 5), (392.0, 5))
    )
    mixture = [sounds.non_speech(np.random.default_rng(seed), "music", size) for seed in (100, 101, 102)]
    crowd = np.zeros(size)
    for clip in babble:
        voice = np.resize(clip.wave, size)
        crowd += voice / np.sqrt(np.mean(voice**2))
    return {
        "silence": np.zeros(size),
        "white -60 dBFS": 1e-3 * sounds.coloured(rng, size, 0),
        "white -30 dBFS": 0.0316 * sounds.coloured(rng, size, 0),
        "white -15 dBFS": 0.178 * sounds.coloured(rng, size, 0),
        "pink -30 dBFS": 0.03 * pink,
        "pink, 4 Hz swell": 0.03 * pink * (1 + np.sin(8 * np.pi * time)),
        "white, 4 Hz swell": 0.03 * rng.standard_normal(size) * (1 + np.sin(8 * np.pi * time)),
        "hum 50 Hz": 0.05 * hum,
        "tone 440 Hz": 0.1 * np.sin(2 * np.pi * 440 * time),
        "beeps 1 kHz": 0.1 * np.sin(2 * np.pi * 1000 * time) * (np.sin(4 * np.pi * time) > 0),
        "chords": 0.05 * chords,
        **{f"music {index + 1}": 0.1 * music / np.std(music) for index, music in enumerate(mixture)},
        "clicks": clicks,
        "babble -20 dB": 0.01 * crowd / np.std(crowd),
    }


def quiet_sounds(listener: Listener, clips: list[Spoken]) -> None:
    """Print the mean and the largest aperture on sounds that are not speech, alone and after speech."""
    speech = 0.1 * clips[0].wave / np.sqrt(np.mean(clips[0].wave ** 2))
    for name, wave in other_sounds(clips[1:7]).items():
        after = listener.track(np.concatenate((speech, wave))).aperture[-len(wave) // _FRAME + 5 :]
        alone = listener.track(wave).aperture
        first = f"mean {alone.mean():.3f} max {alone.max():.2f}" if "babble" not in name else " " * 19
        print(f"  {name:18} {first}   after speech {after.mean():.3f} {after.max():.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="clips with measured lips")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--clips", type=int, default=90, help="clips of held-out synthesised speech")
    parser.add_argument("--look-ahead", type=int, choices=LOOK_AHEADS, nargs="*", default=LOOK_AHEADS[::-1])
    parser.add_argument("--seed", type=int, default=424242)
    options = parser.parse_args()
    with np.load(options.weights, allow_pickle=False) as weights:
        network = MouthNetwork(weights)
    if options.folder is not None:
        compare_with_lips(options.folder, as_json=False, network=network)
    real = [] if options.folder is None else real_clips(options.folder)
    clips = held_out_clips(options.clips, options.seed)
    for look_ahead_ms in options.look_ahead:
        print(f"\nLook-ahead {look_ahead_ms} ms")
        listener = Listener(network, look_ahead_ms)
        held_out_speech(listener, clips)
        same_lips(listener, clips[:12])
        if real:
            print("  the voices of FOLDER")
            same_lips(listener, real)
        quiet_sounds(listener, clips)


if __name__ == "__main__":
    main()
