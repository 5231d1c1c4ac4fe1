"""Sounds that are not speech, at which the mouth stays shut; and what a room does to a voice."""

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
Wave = NDArray[np.float32]
KINDS = ("white", "coloured", "hum", "modulated", "tone", "chord", "music", "clicks", "sweep", "silence")
STEADY = ("white", "coloured", "hum")
"""The kinds that a microphone and a room add to everything."""


def _level(wave: NDArray[np.float64], dbfs: float) -> Wave:
    rms = float(np.sqrt(np.mean(wave**2))) + 1e-12
    return np.asarray(wave * (10.0 ** (dbfs / 20.0) / rms), dtype=np.float32)


def coloured(rng: np.random.Generator, size: int, slope: float) -> NDArray[np.float64]:
    """Noise of which the power falls with frequency to the power `slope`: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequency = np.maximum(np.fft.rfftfreq(size, 1.0 / RATE), 30.0)
    return np.asarray(np.fft.irfft(spectrum * (frequency / 1000.0) ** (-slope / 2.0), size))


def _tones(rng: np.random.Generator, size: int, pitches: NDArray[np.float64], partials: int) -> NDArray[np.float64]:
    time = np.arange(size) / RATE
    total = np.zeros(size)
    for pitch in pitches:
        for partial in range(1, partials + 1):
            if pitch * partial < 7500:
                total += np.sin(2 * np.pi * (pitch * partial * time + rng.random())) * rng.uniform(0.2, 1) / partial
    return total


def _chord(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Notes and chords with an attack and a decay, as an organ, a piano or a jingle plays them."""
    total = np.zeros(size)
    start = 0
    while start < size:
        length = min(size - start, int(RATE * rng.uniform(0.15, 1.5)))
        pitches = 110.0 * 2.0 ** (rng.choice(37, size=rng.integers(1, 5), replace=False) / 12.0)
        time = np.arange(length) / RATE
        envelope = np.minimum(time / 0.01, 1.0) * np.exp(-time * rng.uniform(0.3, 6.0))
        total[start : start + length] += envelope * _tones(rng, length, pitches, int(rng.integers(1, 9)))
        start += int(length * rng.uniform(0.5, 1.0)) + 1
    return total


def _modulated(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Noise or hum that swells and fades as syllables do: wind, traffic, breathing, machines."""
    time = np.arange(size) / RATE
    base = coloured(rng, size, rng.uniform(0, 2))
    if rng.random() < 0.4:
        low, high = sorted(rng.uniform(100, 6000, 2))
        spectrum = np.fft.rfft(base)
        frequency = np.fft.rfftfreq(size, 1 / RATE)
        base = np.fft.irfft(spectrum * ((frequency > low) & (frequency < high * 1.3)), size)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(1.0, 9.0) * time + rng.random()))
    if rng.random() < 0.5:
        swell = np.abs(coloured(rng, size, 0.0))
        width = int(RATE * rng.uniform(0.03, 0.25))
        swell = np.convolve(swell, np.hanning(width), "same")
        swell = np.maximum(0.0, swell - np.quantile(swell, rng.uniform(0, 0.5)))
    return base * swell ** rng.uniform(0.5, 3.0)


def _music(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Chords over a bass and drums in time with each other, as background music has them."""
    beat = int(RATE * 60.0 / rng.uniform(70, 170) / rng.integers(1, 3))
    time = np.arange(size) / RATE
    total = np.zeros(size)
    root = float(rng.uniform(80, 220))
    for start in range(0, size, beat):
        index = start // beat
        length = min(size - start, int(beat * rng.uniform(0.6, 1.6)))
        after = time[:length]
        if index % 4 == 0:
            root *= float(2.0 ** (rng.choice([-5, -2, 0, 0, 2, 5]) / 12.0))
            root = min(max(root, 80.0), 260.0)
        thirds = np.array([0, rng.choice([3, 4]), 7, rng.choice([10, 11, 12])])
        pitches = root * 2.0 ** (thirds[: rng.integers(1, 5)] / 12.0) * rng.choice([1, 2, 4])
        chord = _tones(rng, length, pitches, int(rng.integers(2, 12))) * np.minimum(after / 0.008, 1.0)
        total[start : start + length] += chord * np.exp(-after * rng.uniform(0.5, 8.0)) * rng.uniform(0.3, 1.0)
        bass = np.sin(2 * np.pi * root / 2 * after) * np.exp(-after * 5.0) * rng.uniform(0, 2)
        kick = np.sin(2 * np.pi * 60 * after + 8 * np.exp(-after * 30)) * np.exp(-after * 18) * (index % 2 == 0) * 3
        hat = rng.standard_normal(length) * np.exp(-after * rng.uniform(25, 120)) * rng.uniform(0, 1.5)
        total[start : start + length] += bass + kick + (np.diff(hat, prepend=0.0) if index % 2 else hat)
    return total


def non_speech(rng: np.random.Generator, kind: str, size: int) -> Wave:
    """A stretch of `kind`, shape (size,), between -60 and -10 dBFS."""
    time = np.arange(size) / RATE
    dbfs = float(rng.uniform(-60, -10))
    if kind == "silence":
        return np.zeros(size, np.float32)
    if kind == "white":
        wave = coloured(rng, size, 0.0)
    elif kind == "coloured":
        wave = coloured(rng, size, rng.uniform(0.3, 2.5))
    elif kind == "hum":
        mains = float(rng.choice([50.0, 60.0, 100.0, 120.0])) * rng.uniform(0.99, 1.01)
        wave = _tones(rng, size, np.array([mains]), int(rng.integers(1, 30)))
        wave = wave / np.std(wave) + coloured(rng, size, 1.0) * 10 ** rng.uniform(-3, 0)
    elif kind == "modulated":
        wave = _modulated(rng, size)
    elif kind == "tone":
        wave = _tones(rng, size, rng.uniform(80, 3000, int(rng.integers(1, 3))), int(rng.integers(1, 4)))
        if rng.random() < 0.4:
            wave = wave * (np.sin(2 * np.pi * rng.uniform(0.5, 4) * time) > 0)
    elif kind == "chord":
        wave = _chord(rng, size)
    elif kind == "music":
        wave = _music(rng, size)
    elif kind == "clicks":
        wave = coloured(rng, size, 1.0) * 1e-4 * (rng.random() < 0.5)
        for start in rng.integers(0, size, int(rng.integers(2, 40))):
            length = min(size - start, int(rng.uniform(8, 600)))
            wave[start : start + length] += rng.standard_normal(length) * np.exp(-np.arange(length) / (length / 5 + 1))
    else:
        rise = rng.uniform(100, 1500) + rng.uniform(0, 2000) * np.abs(np.sin(2 * np.pi * rng.uniform(0.1, 1.5) * time))
        wave = np.sin(2 * np.pi * np.cumsum(rise) / RATE)
    return _level(wave, dbfs)


def room(rng: np.random.Generator, wave: Wave) -> Wave:
    """Add reverberation (exponentially decaying noise), a drift of the level, soft clipping; each sometimes."""
    result = wave.astype(np.float64)
    if rng.random() < 0.4:
        decay = rng.uniform(0.08, 0.5)
        length = int(RATE * decay)
        tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        tail[: int(RATE * rng.uniform(0.001, 0.01))] = 0.0
        tail *= rng.uniform(0.1, 0.6) / np.sqrt(np.sum(tail**2))
        tail[0] = 1.0
        span = 1 << int(np.ceil(np.log2(result.size + length)))
        result = np.fft.irfft(np.fft.rfft(result, span) * np.fft.rfft(tail, span), span)[: result.size]
    if rng.random() < 0.5:
        points = rng.uniform(-7, 3, max(2, result.size // RATE + 1))
        drift = np.interp(np.arange(result.size), np.linspace(0, result.size, points.size), points)
        result = result * 10 ** (drift / 20)
    peak = float(np.abs(result).max()) + 1e-9
    if rng.random() < 0.2:
        drive = rng.uniform(1.0, 4.0)
        result = np.tanh(result / peak * drive) * peak / drive
    return np.asarray(result, dtype=np.float32)
