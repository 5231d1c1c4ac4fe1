"""Make the corpus: synthesised speech and other sounds, as log-mel frames with the mouth class of each.

    python training/synthesise.py

writes training/data/: speech_*.npz (mel (n, 40) float16, label (n,) uint8, start (clips + 1,) int64) and
sounds.npz (the same, of sounds at which the mouth rests). The same seed gives the same corpus.
"""

import argparse
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import festival
import numpy as np
import sounds
from numpy.typing import NDArray
from texts import LANGUAGES, Texts
from tqdm import tqdm
from voices import Espeak, Spoken, Utterance, flite

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_table import CLASSES, SILENCE

Frames = NDArray[np.float16]
Labels = NDArray[np.uint8]
DATA = Path(__file__).parent / "data"
_ENGLISH = ("en-us", "en-us", "en-us", "en", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd",
            "en-029", "en-us-nyc")  # fmt: skip
_VARIANTS = tuple(
    [
        "f1",
        "f2",
        "f3",
        "f4",
        "f5",
        "m1",
        "m2",
        "m3",
        "m4",
        "m5",
        "m6",
        "m7",
        "m8",
        "Alex",
        "Alicia",
        "Andrea",
        "Andy",
        "Annie",
        "Denis",
        "Diogo",
        "Gene",
        "Gene2",
        "Henrique",
        "Hugo",
        "Jacky",
        "Lee",
        "Marco",
        "Mario",
        "Michael",
        "Mike",
        "Nguyen",
        "Storm",
        "adam",
        "anika",
        "antonio",
        "aunty",
        "belinda",
        "benjamin",
        "boris",
        "caleb",
        "david",
        "ed",
        "edward",
        "edward2",
        "gustave",
        "iven",
        "iven2",
        "iven3",
        "iven4",
        "john",
        "kaukovalta",
        "klatt",
        "klatt2",
        "klatt4",
        "linda",
        "marcelo",
        "max",
        "michel",
        "miguel",
        "norbert",
        "pablo",
        "paul",
        "pedro",
        "quincy",
        "rob",
        "robert",
        "sandro",
        "shelby",
        "steph",
        "steph2",
        "steph3",
        "travis",
        "victor",
        "zac",
    ]
)
_HELD_OUT = ("f3", "m2", "Annie", "klatt4", "paul", "linda")
_FLITE = (("slt", 175.0), ("rms", 100.0), ("awb", 125.0))
_FLITE_HELD_OUT = (("kal16", 110.0),)
_FESTIVAL_BATCH = 16
_CLIP_SECONDS = 7.0
_FLOOR = float(np.log(8e-7))  # a quiet room: silence between words is never digital


def _silence(seconds: float) -> Utterance:
    return Utterance(np.zeros(int(seconds * mel.SAMPLE_RATE), np.float32), [])


class Speaker:
    """Makes clips: one voice saying a few sentences, with pauses, in a room."""

    def __init__(self, seed: int, flite_share: float, held_out: bool, festival_share: float = 0.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._texts = Texts(seed)
        self._espeak = Espeak()
        self._flite_share, self._festival_share = flite_share, festival_share
        self._festival = (festival.HELD_OUT,) if held_out else festival.VOICES
        self._flite = _FLITE_HELD_OUT if held_out else _FLITE
        self._spoken: list[Spoken] = []
        self._variants = _HELD_OUT if held_out else tuple(v for v in _VARIANTS if v not in _HELD_OUT)

    def _utterances(self) -> Iterator[Utterance]:
        rng = self._rng
        speed = float(np.exp(rng.uniform(np.log(0.82), np.log(1.22))))
        if self._festival_share and rng.random() < self._festival_share:
            if len(self._spoken) < 4:  # one start of Festival serves several clips
                self._spoken = self._festival_batch()
            while True:
                yield (self._spoken or self._festival_batch()).pop().at_speed(speed)
        if rng.random() < self._flite_share:
            voice, pitch = self._flite[rng.integers(len(self._flite))]
            stretch, pitch = rng.uniform(0.8, 1.3), pitch * rng.uniform(0.75, 1.35)
            while True:
                yield flite(self._texts.english(), voice, stretch, pitch, speed)
        english = rng.random() < 0.65
        language = str(rng.choice(_ENGLISH if english else list(LANGUAGES)))
        voice = f"{language}+{rng.choice(self._variants)}"
        rate, tone, spread = int(rng.integers(115, 220)), int(rng.integers(15, 86)), int(rng.integers(20, 90))
        while True:
            text = self._texts.english() if english else self._texts.foreign(language)
            yield self._espeak.say(text, voice, rate, tone, spread, speed)

    def _festival_batch(self) -> list[Spoken]:
        voice = self._festival[self._rng.integers(len(self._festival))]
        texts = [
            self._texts.english() if voice.language == "en" else self._texts.foreign(voice.language)
            for _ in range(_FESTIVAL_BATCH)
        ]
        return festival.say(texts, voice, float(self._rng.uniform(0.6, 1.1)))

    def speech(self) -> tuple[sounds.Wave, Labels]:
        """Return a clip at 16 kHz in -1..1, and the class of each of its 10 ms frames."""
        rng = self._rng
        pieces = [_silence(rng.uniform(0.0, 0.8))]
        for utterance in self._utterances():
            pieces += [utterance, _silence(rng.uniform(0.0, 0.9))]
            if sum(piece.wave.size for piece in pieces) > _CLIP_SECONDS * mel.SAMPLE_RATE:
                break
        wave = np.concatenate([piece.wave for piece in pieces])
        frames = wave.size // mel.HOP
        label = np.full(frames, SILENCE, np.uint8)
        centres = (np.arange(frames) * mel.HOP + mel.HOP / 2) / mel.SAMPLE_RATE
        offset = 0.0
        for piece in pieces:
            begin = offset
            for name, end in piece.segments:
                label[np.searchsorted(centres, begin) : np.searchsorted(centres, offset + end)] = CLASSES.index(name)
                begin = offset + end
            offset += piece.wave.size / mel.SAMPLE_RATE
        loud = float(np.sqrt(np.mean(wave**2))) + 1e-9
        return sounds.room(rng, wave * np.float32(10 ** (rng.uniform(-30, -16) / 20) / loud)), label

    def clip(self) -> tuple[Frames, Labels]:
        """Return log-mel frames (n, 40) and the class of each (n,)."""
        wave, label = self.speech()
        return _frames(wave, len(label)), label


def _frames(wave: sounds.Wave, count: int) -> Frames:
    padded = np.concatenate((np.clip(wave, -1, 1), np.zeros(mel.WINDOW, np.float32)))
    frames = mel.log_mel(mel.initial_mel(), padded)[1][:count]
    return np.logaddexp(frames, np.float32(_FLOOR)).astype(np.float16)


def _save(path: Path, mels: list[Frames], labels: list[Labels]) -> None:
    start = np.cumsum([0, *(len(label) for label in labels)])
    np.savez(path, mel=np.concatenate(mels), label=np.concatenate(labels), start=start)


class Job(NamedTuple):
    """One shard of speech to make."""

    path: Path
    seed: int
    hours: float
    flite_share: float
    festival_share: float


def speech_shard(job: Job) -> int:
    """Write one shard; return its frames."""
    path, seed, hours, flite_share, festival_share = job
    os.nice(5)
    speaker = Speaker(seed, flite_share, False, festival_share)
    mels: list[Frames] = []
    labels: list[Labels] = []
    total = 0
    while total < hours * 360_000:
        frames, label = speaker.clip()
        mels.append(frames)
        labels.append(label)
        total += len(label)
    _save(path, mels, labels)
    return total


def sounds_shard(path: Path, seed: int, clips: int) -> None:
    """Write `clips` stretches of 6 s that are not speech."""
    rng = np.random.default_rng(seed)
    mels, labels = [], []
    for index in range(clips):
        wave = sounds.non_speech(rng, sounds.KINDS[index % len(sounds.KINDS)], 6 * sounds.RATE)
        mels.append(_frames(wave, 600))
        labels.append(np.full(600, SILENCE, np.uint8))
    _save(path, mels, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hours", type=float, default=16.0, help="speech of espeak-ng and flite")
    parser.add_argument("--flite-share", type=float, default=0.4, help="share of its clips said by flite")
    parser.add_argument("--festival-hours", type=float, default=6.0, help="speech of Festival")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=DATA)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("*.npz"):
        old.unlink()
    jobs = []
    for name, seed, hours, festival_share in (
        ("speech", 0, options.hours, 0.0),
        ("speech_festival", 500, options.festival_hours, 1.0),
    ):
        shards = max(2, round(hours / 0.25))
        jobs += [
            Job(
                options.out / f"{name}_{n:03}.npz",
                options.seed * 1000 + seed + n,
                hours / shards,
                share,
                festival_share,
            )
            for n, share in enumerate([options.flite_share] * shards)
        ]
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.processes, maxtasksperchild=1) as pool:
        total = sum(tqdm(pool.imap_unordered(speech_shard, jobs), total=len(jobs), desc="speech", unit="shard"))
    sounds_shard(options.out / "sounds.npz", options.seed * 1000 + 998, 700)
    print(f"{total / 360_000:.2f} h of speech in {options.out}")


if __name__ == "__main__":
    main()
