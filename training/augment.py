"""Batches for training: crops of the corpus, made to sound like other voices, rooms and microphones."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_table import SILENCE

Array = NDArray[np.float32]
_FLOOR = np.float32(mel.LOWEST)
_DB = float(np.log(10.0) / 10.0)  # nepers of power to a decibel


class Corpus(NamedTuple):
    """Frames of many clips, one after another."""

    mel: NDArray[np.float16]
    label: NDArray[np.uint8]

    @classmethod
    def load(cls, paths: list[Path]) -> "Corpus":
        """Read shards; ValueError without any."""
        if not paths:
            raise ValueError("no corpus: run synthesise.py first")
        shards = [np.load(path, allow_pickle=False) for path in paths]
        return cls(np.concatenate([s["mel"] for s in shards]), np.concatenate([s["label"] for s in shards]))


class Augmenter:
    """Makes one sample after another from `speech` and `sounds`."""

    def __init__(self, speech: Corpus, sounds: Corpus, seed: int, clean_share: float) -> None:
        self._speech, self._sounds, self._clean_share = speech, sounds, clean_share
        self._rng = np.random.default_rng(seed)

    def _crop(self, corpus: Corpus, frames: int) -> tuple[Array, NDArray[np.uint8]]:
        start = int(self._rng.integers(len(corpus.label) - frames))
        return corpus.mel[start : start + frames].astype(np.float32), corpus.label[start : start + frames].copy()

    def _noise(self, frames: int, level: float) -> Array:
        """Other sounds with their loudest frames at `level` (mean log power)."""
        noise, _ = self._crop(self._sounds, frames)
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

    def _masks(self, frames: Array) -> None:
        """SpecAugment (Park et al., 2019): hide a few bands and moments."""
        rng = self._rng
        lowest = np.float32(frames.min())
        for _ in range(rng.integers(0, 3)):
            width, start = int(rng.integers(1, 8)), int(rng.integers(len(frames) - 8))
            frames[start : start + width] = lowest
        for _ in range(rng.integers(0, 3)):
            width, start = int(rng.integers(1, 7)), int(rng.integers(mel.BANDS - 7))
            frames[:, start : start + width] = lowest

    def sample(self, frames: int) -> tuple[Array, NDArray[np.uint8]]:
        """One stretch: log-mel (frames, 40), not normalised, and the class of each frame."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.12:
            x, label = self._crop(self._sounds, frames)
        else:
            x, label = self._crop(self._speech, frames)
            peak = float(np.quantile(x.mean(axis=1), 0.95))
            if kind > 0.85:  # a stream's first words: digital silence before
                start = int(rng.integers(frames // 8, frames // 3))
                x[:start] = _FLOOR
                label[:start] = SILENCE
            if kind < 0.22:  # speech, then another sound about as loud
                start = int(rng.integers(frames // 4, frames))
                x[start:] = self._noise(frames, peak + float(rng.uniform(-30, 6)) * _DB)[start:]
                label[start:] = SILENCE
            if rng.random() >= self._clean_share:
                x = self._voice(x)
                if rng.random() < 0.55:
                    x = np.logaddexp(x, self._noise(frames, peak - float(rng.uniform(11, 45)) * _DB))
                if rng.random() < 0.12:
                    other, _ = self._crop(self._speech, frames)
                    behind = peak - float(rng.uniform(16, 35)) * _DB
                    x = np.logaddexp(x, other + np.float32(behind - np.quantile(other.mean(axis=1), 0.95)))
                if rng.random() < 0.15:
                    x[:, int(rng.integers(28, 38)) :] = _FLOOR
                self._masks(x)
        x = x + np.float32(rng.uniform(-35, 9)) * _DB if rng.random() < 0.6 else x
        return np.logaddexp(x, _FLOOR).astype(np.float32), label


class Batches(torch.utils.data.IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless batches: normalised frames (batch, time, 40) float32 and classes (batch, time) int64."""

    def __init__(self, augmenter: Augmenter, batch: int, frames: int) -> None:
        self._augmenter, self._batch, self._frames = augmenter, batch, frames

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            samples = [self._augmenter.sample(self._frames) for _ in range(self._batch)]
            frames = [mel.normalise(mel.initial_level(), sample[0])[1] for sample in samples]
            labels = np.stack([sample[1] for sample in samples]).astype(np.int64)
            yield torch.from_numpy(np.stack(frames)), torch.from_numpy(labels)
