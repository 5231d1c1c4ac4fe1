"""Batches for training: crops of the corpus, made to sound like other voices, rooms and microphones."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sounds import KINDS, STEADY

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_table import SILENCE

Array = NDArray[np.float32]
Labels = NDArray[np.uint8]
_FLOOR = np.float32(mel.LOWEST)
_DB = float(np.log(10.0) / 10.0)  # nepers of power to a decibel


class Corpus(NamedTuple):
    """Frames of many clips, one after another."""

    mel: NDArray[np.float16]
    label: Labels
    start: NDArray[np.int64]
    """Where each clip begins, and the end of the last one, shape (clips + 1,)."""

    @classmethod
    def load(cls, paths: list[Path]) -> "Corpus":
        """Read shards; ValueError without any."""
        if not paths:
            raise ValueError("no corpus: run synthesise.py first")
        shards = [np.load(path, allow_pickle=False) for path in paths]
        offsets = np.cumsum([0, *(len(shard["label"]) for shard in shards)])
        starts = [shard["start"][:-1] + offset for shard, offset in zip(shards, offsets, strict=False)]
        return cls(
            np.concatenate([shard["mel"] for shard in shards]),
            np.concatenate([shard["label"] for shard in shards]),
            np.concatenate([*starts, offsets[-1:]]),
        )


class Augmenter:
    """Makes one stretch after another from `speech` and `sounds`, whose clips take turns in `KINDS`."""

    def __init__(self, speech: Corpus, sounds: Corpus, seed: int, clean_share: float) -> None:
        self._speech, self._sounds, self._clean_share = speech, sounds, clean_share
        self._rng = np.random.default_rng(seed)
        clips = np.arange(len(sounds.start) - 1)
        self._steady = clips[np.isin(clips % len(KINDS), [KINDS.index(kind) for kind in STEADY])]
        self._white = clips[clips % len(KINDS) == KINDS.index("white")]
        self._any = clips

    def _talk(self, frames: int, rate: float = 1.0) -> tuple[Array, Labels]:
        """Speech, spoken faster by `rate`."""
        span = int(frames * rate) + 2
        start = int(self._rng.integers(len(self._speech.label) - span))
        x = self._speech.mel[start : start + span].astype(np.float32)
        label = self._speech.label[start : start + span]
        if rate == 1.0:
            return x[:frames], label[:frames].copy()
        at = np.arange(frames) * rate
        low = at.astype(int)
        part = (at - low).astype(np.float32)[:, None]
        return x[low] * (1 - part) + x[low + 1] * part, label[np.rint(at).astype(int)].copy()

    def _sound(self, frames: int, clips: NDArray[np.int64]) -> Array:
        clip = int(self._rng.choice(clips))
        first, last = self._sounds.start[clip : clip + 2]
        start = int(self._rng.integers(first, last - frames + 1))
        return self._sounds.mel[start : start + frames].astype(np.float32)

    def _babble(self, frames: int) -> Array:
        """Several people talking, some of them nearer."""
        total = np.full((frames, mel.BANDS), _FLOOR, np.float32)
        for _ in range(int(self._rng.integers(3, 9))):
            voice, _label = self._talk(frames)
            total = np.logaddexp(total, voice + np.float32(self._rng.uniform(-8, 0) * _DB))
        return total

    def _background(self, frames: int, level: float) -> Array:
        """Other sounds with their loudest frames at `level` (mean log power)."""
        kind = self._rng.random()
        if kind < 0.2:
            noise = self._sound(frames, self._white)  # hides more of what tells sounds apart than any other
        elif kind < 0.6:
            noise = self._sound(frames, self._steady)
        elif kind < 0.8:
            noise = self._sound(frames, self._any)
        else:
            noise = self._babble(frames)
            level -= 10.0 * _DB
        return noise + np.float32(level - np.quantile(noise.mean(axis=1), 0.95))

    def _voice(self, frames: Array) -> Array:
        """Another vocal tract (a warp of +-12 %), another microphone (tilt and a smooth curve)."""
        rng = self._rng
        bands = np.clip(np.arange(mel.BANDS) * rng.uniform(0.88, 1.12) + rng.uniform(-0.5, 0.5), 0, mel.BANDS - 1)
        low = np.minimum(bands.astype(int), mel.BANDS - 2)
        part = (bands - low).astype(np.float32)
        warped = frames[:, low] * (1 - part) + frames[:, low + 1] * part
        curve = np.interp(np.arange(mel.BANDS), np.linspace(0, mel.BANDS - 1, 5), rng.uniform(-6, 6, 5))
        curve += np.linspace(-1, 1, mel.BANDS) * rng.uniform(-8, 8)
        return np.asarray(warped + curve * _DB, np.float32)

    def _band_limit(self, x: Array) -> None:
        """What a codec or a telephone cuts off."""
        rng = self._rng
        x[:, int(rng.integers(25, 39)) :] = _FLOOR
        if rng.random() < 0.5:
            x[:, : int(rng.integers(1, 6))] = _FLOOR

    def _masks(self, frames: Array) -> None:
        """SpecAugment (Park et al., 2019): hide a few bands and moments."""
        rng = self._rng
        lowest = np.float32(frames.min())
        for _ in range(rng.integers(0, 3)):
            width, start = int(rng.integers(1, 6)), int(rng.integers(len(frames) - 8))
            frames[start : start + width] = lowest
        for _ in range(rng.integers(0, 3)):
            width, start = int(rng.integers(1, 7)), int(rng.integers(mel.BANDS - 7))
            frames[:, start : start + width] = lowest

    def _speech_views(self, frames: int) -> tuple[Array, Array, Labels]:
        rng = self._rng
        rate = 1.0 if rng.random() < 0.35 else float(np.exp(rng.uniform(np.log(0.8), np.log(1.4))))
        x, label = self._talk(frames, rate)
        peak = float(np.quantile(x.mean(axis=1), 0.95))
        if rng.random() >= self._clean_share:
            x = self._voice(x)
        if rng.random() < 0.12:  # the speaker ends, and something else goes on
            start = int(rng.integers(frames // 4, frames))
            if rng.random() < 0.4:  # other people, some 20 dB below the speaker
                other = self._babble(frames)
                other += np.float32(peak + rng.uniform(-34, -15) * _DB - np.quantile(other.mean(axis=1), 0.95))
            else:
                other = self._background(frames, peak + float(rng.uniform(-30, 6)) * _DB)
            label[start:] = SILENCE
            x[start:] = _FLOOR
            from_then = start if rng.random() < 0.5 else 0
            x[from_then:] = np.logaddexp(x[from_then:], other[from_then:])
        if rng.random() < 0.25:  # no recording is without noise
            x = np.logaddexp(x, self._background(frames, peak - float(rng.uniform(22, 45)) * _DB))
        noisy = x.copy()
        if rng.random() < 0.8:
            noisy = np.logaddexp(noisy, self._background(frames, peak - float(rng.uniform(0, 38)) * _DB))
        if rng.random() < 0.2:
            self._band_limit(noisy)
        if rng.random() < 0.7:
            self._masks(noisy)
        return x, noisy, label

    def views(self, frames: int) -> tuple[Array, Array, Labels]:
        """One stretch twice: log-mel (frames, 40) as it is, and through another microphone; the class of each frame.

        Neither is normalised. The mouth of both is the same.
        """
        rng = self._rng
        if rng.random() < 0.14:
            x, label = self._sound(frames, self._any), np.full(frames, SILENCE, np.uint8)
            noisy = x.copy()
        else:
            x, noisy, label = self._speech_views(frames)
        if rng.random() < 0.5:
            x = x + np.float32(rng.uniform(-20, 9) * _DB)
        if rng.random() < 0.7:
            noisy = noisy + np.float32(rng.uniform(-40, 9) * _DB)
        if rng.random() < 0.2:  # a stream's first sound, out of digital silence
            start = int(rng.integers(10, frames // 3))
            x[:start], noisy[:start], label[:start] = _FLOOR, _FLOOR, SILENCE
        return np.logaddexp(x, _FLOOR).astype(np.float32), np.logaddexp(noisy, _FLOOR).astype(np.float32), label


def normalise(batch: Array) -> Array:
    """`mel.normalise` from its initial state for log-mel (batch, time, 40), all stretches at once."""
    state = mel.initial_level()
    mean = np.tile(state.mean, (len(batch), 1))
    span, peak = np.full(len(batch), state.span), np.full(len(batch), state.peak)
    first_guess = state.mean - np.float32(mel.QUIETEST_PEAK)
    result = np.empty_like(batch)
    levels = batch.mean(axis=2)
    for index in range(batch.shape[1]):
        frame, level = batch[:, index], levels[:, index].astype(np.float64)
        peak = np.maximum(peak - mel.PEAK_DECAY, mel.QUIETEST_PEAK)
        active = level > np.maximum(peak - mel.ACTIVE_RANGE, mel.QUIETEST_PEAK)
        if active.any():
            fresh = active & ((span == 0.0) | (level > peak + mel.JUMP))
            mean[fresh], span[fresh] = first_guess + levels[fresh, index, None], 0.0
            span[active] = np.clip(span[active] + 1.0, mel.FAST, mel.SLOW)
            step = np.where(active, 1.0 / np.maximum(span, 1.0), 0.0).astype(np.float32)
            mean += (frame - mean) * step[:, None]
            peak = np.where(active, np.maximum(peak, level), peak)
        result[:, index] = frame - mean
    return np.asarray(np.clip(result / np.float32(mel.SCALE), mel.LEAST, mel.MOST), np.float32)


def check_normalise(sample: Array) -> None:
    """RuntimeError unless `normalise` gives what the package's streaming normalisation gives for (time, 40)."""
    difference = np.abs(normalise(sample[None])[0] - mel.normalise(mel.initial_level(), sample)[1]).max()
    if difference > 1e-3:
        raise RuntimeError(f"the two normalisations differ by {difference:.1e}")


class Batches(torch.utils.data.IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless batches: normalised frames (2 pairs, time, 40) float32 and classes (2 pairs, time) int64.

    The second half has the other views of the first.
    """

    def __init__(self, augmenter: Augmenter, pairs: int, frames: int) -> None:
        self._augmenter, self._pairs, self._frames = augmenter, pairs, frames

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        check_normalise(self._augmenter.views(self._frames)[1])
        while True:
            clean, noisy, labels = zip(*(self._augmenter.views(self._frames) for _ in range(self._pairs)), strict=True)
            frames = normalise(np.stack((*clean, *noisy)))
            classes = np.stack((*labels, *labels)).astype(np.int64)
            yield torch.from_numpy(frames), torch.from_numpy(classes)
