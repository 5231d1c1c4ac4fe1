"""The committed weights: the mouth rests where nobody speaks, and hears the same at other levels and in noise."""

import wave
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEADS
from musetalk_service.engines.builtin.mouth_table import BILABIAL
from musetalk_service.engines.builtin.mouth_track import track_mouth

RATE = 16_000
SIZE = 3 * RATE
TIME = np.arange(SIZE) / RATE
AT_REST = 0.06
"""Inter-ocular distances; clear speech reaches 0.18."""


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Six seconds of synthesised speech in -1..1."""
    with wave.open(str(Path(__file__).parents[4] / "fixtures" / "speech_6s.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768.0
    return 0.08 * pcm / np.sqrt(np.mean(pcm**2))


def aperture(sound: np.ndarray, look_ahead_ms: int = LOOK_AHEADS[-1]) -> np.ndarray:
    pcm = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
    return track_mouth(pcm, look_ahead_ms=look_ahead_ms).aperture


def coloured(slope: float, seed: int, size: int = SIZE) -> np.ndarray:
    """Noise at RMS 1 of which the power falls with frequency to the power `slope`."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(size))
    noise = np.fft.irfft(spectrum * np.maximum(np.fft.rfftfreq(size, 1 / RATE), 30.0) ** (-slope / 2), size)
    return noise / np.std(noise)


def _notes(root: float, *steps: int) -> np.ndarray:
    return sum(np.sin(2 * np.pi * root * 2 ** (step / 12) * k * TIME) / k for step in steps for k in (1, 2, 3))


def _beat() -> np.ndarray:
    """A kick, a noise burst between two kicks, twice a second."""
    after = TIME % 0.5
    kick = np.sin(2 * np.pi * 60 * after) * np.exp(-after * 15)
    return kick + 0.3 * coloured(0, 5) * np.exp(-((TIME + 0.25) % 0.5) * 40)


def _clicks() -> np.ndarray:
    sound = np.zeros(SIZE)
    sound[:: RATE // 3] = 0.5
    return sound


SOUNDS = {
    "silence": np.zeros(SIZE),
    "white, very soft": 0.003 * coloured(0, 1),
    "white": 0.06 * coloured(0, 2),
    "pink": 0.03 * coloured(1, 3),
    "pink, swelling at 4 Hz": 0.03 * coloured(1, 3) * (1 + np.sin(8 * np.pi * TIME)),
    "white, swelling at 4 Hz": 0.03 * coloured(0, 4) * (1 + np.sin(8 * np.pi * TIME)),
    "hum": 0.05 * sum(np.sin(2 * np.pi * 50 * k * TIME) / k for k in range(1, 12)),
    "50 Hz": 0.1 * np.sin(2 * np.pi * 50 * TIME),
    "tone": 0.1 * np.sin(2 * np.pi * 440 * TIME),
    "beeps": 0.1 * np.sin(2 * np.pi * 1000 * TIME) * (np.sin(4 * np.pi * TIME) > 0),
    "chord": 0.05 * _notes(220.0, 0, 4, 7),
    "music": 0.03 * _notes(196.0, 0, 3, 7) * (0.3 + np.exp(-(TIME % 0.5) * 4)) + 0.1 * _beat(),
    "clicks": _clicks(),
}


@pytest.mark.parametrize("look_ahead_ms", [0, 80])
@pytest.mark.parametrize("name", SOUNDS)
def test_the_mouth_rests_where_nobody_speaks(name: str, look_ahead_ms: int) -> None:
    assert aperture(SOUNDS[name], look_ahead_ms).mean() < AT_REST / 4


@pytest.mark.parametrize("name", SOUNDS)
def test_the_mouth_rests_after_the_speaker(speech: np.ndarray, name: str) -> None:
    after = aperture(np.concatenate((speech[: 3 * RATE], SOUNDS[name])))[3 * 25 + 5 :]
    assert after.mean() < AT_REST / 2


def test_others_talking_far_behind_do_not_move_the_mouth(speech: np.ndarray) -> None:
    crowd = sum(np.roll(speech, shift) for shift in range(0, speech.size, 7_919))[:SIZE]
    crowd *= 0.1 * np.sqrt(np.mean(speech**2)) / np.std(crowd)
    after = aperture(np.concatenate((speech[: 3 * RATE], crowd)))[3 * 25 + 5 :]
    assert after.mean() < AT_REST


@pytest.mark.parametrize("level", [0.001, 0.01, 0.1])
def test_noise_out_of_silence_does_not_part_the_lips(level: float) -> None:
    sound = np.concatenate((np.zeros(RATE), level * coloured(0, 9, RATE)))
    assert aperture(sound).max() < AT_REST


@pytest.mark.parametrize("decibels", [-30, -15, 6])
def test_the_level_does_not_matter(speech: np.ndarray, decibels: int) -> None:
    assert np.corrcoef(aperture(speech), aperture(speech * 10 ** (decibels / 20)))[0, 1] > 0.95


@pytest.mark.parametrize("slope", [0.0, 1.0], ids=["white", "pink"])
def test_noise_20_db_below_the_voice_changes_little(speech: np.ndarray, slope: float) -> None:
    noise = 0.1 * np.sqrt(np.mean(speech**2)) * coloured(slope, 12, speech.size)
    assert np.corrcoef(aperture(speech), aperture(speech + noise))[0, 1] > 0.93


@pytest.mark.parametrize("look_ahead_ms", LOOK_AHEADS)
def test_lips_are_seen_closed_at_bilabials(speech: np.ndarray, look_ahead_ms: int) -> None:
    pcm = (speech * 32767).astype(np.int16)
    sure = track_mouth(pcm).classes[:, BILABIAL] > 0.4
    begins = np.flatnonzero(np.diff(sure.astype(int)) == 1)
    closed = aperture(speech, look_ahead_ms) < 0.05
    assert len(begins) >= 9
    assert np.mean([closed[max(0, begin - 1) : begin + 4].any() for begin in begins]) > 0.9
