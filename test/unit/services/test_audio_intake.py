"""From a client's chunks of any rate to 16 kHz samples."""

import base64

import numpy as np
import pytest
import soxr

from musetalk_service.errors import InvalidMessageError
from musetalk_service.models.messages import AudioChunk
from musetalk_service.services.audio_service import AudioIntake
from support.in_process import audio_chunk


def _chunk(data: bytes, rate: int = 16_000) -> AudioChunk:
    return AudioChunk(sample_rate=rate, data=base64.b64encode(data).decode())


@pytest.mark.parametrize("size", [2, 640, 1280, 2048, 32_000])
def test_any_size_up_to_a_second_is_taken_as_it_is(size: int) -> None:
    data = np.random.default_rng(1).bytes(size)
    intake = AudioIntake(1000)
    samples = intake.resample(intake.decode(_chunk(data)), 16_000)
    assert samples.tobytes() == data


@pytest.mark.parametrize(
    ("data", "rate", "words"),
    [
        (b"", 16_000, "empty"),
        (b"x", 16_000, "even"),
        (bytes(1281), 16_000, "even"),
        (bytes(32_002), 16_000, "1000 ms"),
        (bytes(16_002), 8_000, "1000 ms"),
        (bytes(96_002), 48_000, "1000 ms"),
    ],
)
def test_what_is_no_chunk_is_refused(data: bytes, rate: int, words: str) -> None:
    with pytest.raises(InvalidMessageError, match=words) as refusal:
        AudioIntake(1000).decode(_chunk(data, rate))
    assert refusal.value.details["field"] == "data.audio_chunk.data"


@pytest.mark.parametrize("text", ["!!!!", "AAA", "AA=A", "A A=", "ÄÄÄÄ"])
def test_bad_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessageError, match="base64"):
        AudioIntake(1000).decode(AudioChunk(data=text))


def _chirp(rate: int) -> np.ndarray:
    """One second, 100 Hz to 3 kHz: all within what 8 kHz can carry."""
    t = np.arange(rate) / rate
    return (12_000 * np.sin(2 * np.pi * (100 * t + 1450 * t**2))).astype(np.int16)


@pytest.mark.parametrize("rate", [8_000, 11_025, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("chunk_ms", [7, 40, 250])
def test_chunks_resample_as_the_whole_does(rate: int, chunk_ms: int) -> None:
    whole = _chirp(rate)
    intake = AudioIntake(1000)
    size = rate * chunk_ms // 1000
    parts = [
        intake.resample(intake.decode(AudioChunk(**audio_chunk(whole[start : start + size], rate))), rate)
        for start in range(0, len(whole), size)
    ]
    joined = np.concatenate([*parts, intake.flush()])
    expected = soxr.resample(whole, rate, 16_000)
    assert joined.dtype == np.int16
    assert abs(len(joined) - 16_000) <= 1
    n = min(len(joined), len(expected))
    assert np.abs(joined[:n].astype(int) - expected[:n].astype(int)).max() <= 2


def test_flushing_begins_anew() -> None:
    intake = AudioIntake(1000)
    assert len(intake.flush()) == 0
    first = np.concatenate([intake.resample(_chirp(48_000), 48_000), intake.flush()])
    second = np.concatenate([intake.resample(_chirp(48_000), 48_000), intake.flush()])
    assert np.array_equal(first, second)


def test_change_of_rate_loses_nothing_and_keeps_the_order() -> None:
    intake = AudioIntake(1000)
    loud, quiet = np.full(48_000, 10_000, np.int16), np.full(16_000, 10, np.int16)
    samples = np.concatenate(
        [intake.resample(loud, 48_000), intake.resample(quiet, 16_000), intake.resample(loud, 48_000), intake.flush()]
    )
    assert len(samples) == 48_000
    middle = samples[16_050:31_950]
    assert set(middle.tolist()) == {10}
    assert np.abs(samples[100:15_900].astype(int) - 10_000).max() < 50
