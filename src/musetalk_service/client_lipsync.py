"""Do the lips of a received stream move with the sound? Measured from the pixels, for the default avatar.

The mouth's opening is how much darker its area is than with the lips shut: the inside of an open mouth is dark, and
the area is small enough that a moving head hardly changes it. The opening of each frame is compared with a track made
from the audio alone, at many shifts: the shift at which they correlate best is the lag.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.builtin.mouth_stream import MouthStream, load_network
from musetalk_service.models.media import FRAME_MS, SAMPLE_RATE, WIDTH

_STEP = 80
"""Samples between the points of a track: 5 ms."""
_LAGS_MS = np.arange(-200.0, 201.0, 5.0)
_QUIET_DBFS = -50.0
_ENVELOPE_MS = 40
_RESAMPLINGS = 2000
_LEFT_CORNER, _RIGHT_CORNER, _UPPER_EDGE, _LOWER_EDGE = 61, 291, 0, 17
"""Lip landmarks, MediaPipe Face Mesh convention."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """How far a mouth should be open, from the audio alone."""

    at_ms: Floats
    """(n,) ascending: audio positions as `audio_timestamp` counts them."""
    opening: Floats
    """(n,) in any unit."""


@dataclass(frozen=True)
class Utterance:
    """What a stream showed for one piece of speech."""

    at_ms: Floats
    """(frames,) `audio_timestamp` of each."""
    opening: Floats
    """(frames,)."""


@dataclass(frozen=True)
class Lag:
    """By how much the lips are behind the sound (negative: ahead of it)."""

    ms: float
    low_ms: float
    """Of the interval that holds 95 per cent of the lags when utterances are drawn anew."""
    high_ms: float
    correlation: float
    """At the lag; the mean over utterances."""
    utterances: int

    def within(self, limit_ms: float) -> bool:
        """Whether the whole interval is so near to nought."""
        return -limit_ms <= self.low_ms and self.high_ms <= limit_ms


def mouth_openings(access_units: Iterable[bytes]) -> Floats:
    """:func:`mouth_opening` of each picture of a stream, (n,).

    Takes the access units of a whole stream in order, from a key frame on. Raises ValueError when not each of them
    makes one picture.
    """
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    dark: list[float] = []
    count = 0
    for unit in access_units:
        count += 1
        dark += [mouth_opening(picture) for picture in decoder.decode(av.Packet(unit))]
    dark += [mouth_opening(picture) for picture in decoder.decode(None)]
    if len(dark) != count:
        raise ValueError(f"{count} access units make {len(dark)} pictures")
    return np.array(dark)


def engine_track(pcm: NDArray[np.int16]) -> Track:
    """The jaw that the built-in engine makes of (n,) 16 kHz samples, without any server."""
    stream = MouthStream(load_network())
    stream.push(pcm)
    positions = np.arange(0, len(pcm), _STEP)
    jaws = [stream.mouth_at(int(position)).jaw for position in positions]
    return Track(positions * 1000.0 / SAMPLE_RATE, np.array(jaws))


def loudness_track(pcm: NDArray[np.int16]) -> Track:
    """Level of (n,) 16 kHz samples in dBFS, as a frame sees it: around the middle of the 40 ms that it stays."""
    window = np.hanning(_ENVELOPE_MS * SAMPLE_RATE // 1000)
    power = np.convolve((pcm / 32768.0) ** 2, window / window.sum(), "same")[::_STEP]
    level = np.maximum(10.0 * np.log10(power + 1e-12), _QUIET_DBFS)
    at_ms = np.arange(len(level), dtype=np.float64) * (_STEP * 1000.0 / SAMPLE_RATE) - FRAME_MS / 2
    return Track(at_ms, np.asarray(level, np.float64))


def measure_lag(utterances: Sequence[Utterance], track: Track) -> Lag:
    """The lag, with a bootstrap interval (Efron, 1979) over the utterances.

    Raises ValueError when an utterance has no moving mouth, or none at all is given.
    """
    if not utterances:
        raise ValueError("no frame follows the audio")
    curves = np.stack([_correlations(utterance, track) for utterance in utterances])
    mean = curves.mean(axis=0)
    draws = np.random.default_rng(0).integers(0, len(curves), (_RESAMPLINGS, len(curves)))
    lags = [_peak(curves[draw].mean(axis=0)) for draw in draws]
    low, high = np.percentile(lags, [2.5, 97.5])
    return Lag(_peak(mean), float(low), float(high), float(mean.max()), len(curves))


def _correlations(utterance: Utterance, track: Track) -> Floats:
    """Pearson's correlation at each of the lags."""
    if len(utterance.opening) < 3 or np.ptp(utterance.opening) == 0.0:
        raise ValueError("the mouth does not move")
    found = np.zeros(len(_LAGS_MS))
    for index, lag in enumerate(_LAGS_MS):
        expected = np.interp(utterance.at_ms - lag, track.at_ms, track.opening)
        if np.ptp(expected) > 0.0:  # what is constant correlates with nothing
            found[index] = np.corrcoef(utterance.opening, expected)[0, 1]
    return found


def _peak(curve: Floats) -> float:
    """Where it is highest, in ms, between the lags by the parabola through the three points at the top."""
    top = int(np.argmax(curve))
    if not 0 < top < len(curve) - 1:
        return float(_LAGS_MS[top])
    before, here, after = curve[top - 1 : top + 2]
    bend = before - 2.0 * here + after
    shift = 0.0 if bend == 0.0 else 0.5 * (before - after) / bend
    return float(_LAGS_MS[top] + shift * (_LAGS_MS[1] - _LAGS_MS[0]))


def mouth_opening(picture: av.VideoFrame) -> float:
    """How dark the mouth area is, in grey levels below white: some 100 with the lips shut, more with them apart."""
    grey = picture.to_ndarray(format="gray")
    left, right, top, bottom = (_mouth_area() * grey.shape[0] / WIDTH).astype(int)
    return 255.0 - float(grey[top:bottom, left:right].mean())


@functools.cache
def _mouth_area() -> Floats:
    """Left, right, top and bottom of the mouth in the full-size picture."""
    points = load_default_avatar().landmarks.astype(np.float64)
    left, right = points[_LEFT_CORNER, 0], points[_RIGHT_CORNER, 0]
    width = right - left
    # An open mouth reaches down a third of its width below the shut lips.
    top, bottom = points[_UPPER_EDGE, 1] - 0.1 * width, points[_LOWER_EDGE, 1] + 0.35 * width
    return np.array([left - 0.05 * width, right + 0.05 * width, top, bottom])
