"""Every method on every clip, and the means of groups of clips."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEADS, MouthNetwork
from musetalk_service.engines.builtin.mouth_track import track_mouth
from musetalk_service.lip_bench.agreement import (
    STEP,
    Agreement,
    Best,
    Closures,
    at,
    closures,
    correlate,
    speech,
)
from musetalk_service.lip_bench.clips import Clip
from musetalk_service.lip_bench.phones import hear_phones, is_available, track_phones
from musetalk_service.models.media import SAMPLE_RATE, SAMPLES_PER_FRAME

Array = NDArray[np.float64]

_EVERY = round(STEP * SAMPLE_RATE)
_POWER_FLOOR = 1e-6


class Curves(NamedTuple):
    """What a method predicts of a clip, one value every `STEP` seconds."""

    aperture: Array
    width: Array | None


class Score(NamedTuple):
    """Agreement of one method with one clip, or the mean of clips."""

    method: str
    aperture: Agreement
    width: Agreement | None
    closures: Closures
    """As the stream shows them."""
    closures_within_120: Closures
    """At the lag within 120 ms that suits the aperture best."""


@dataclass(frozen=True)
class Result:
    """The scores of one clip or group."""

    name: str
    group: str
    seconds: float
    scores: list[Score]


Method = Callable[[NDArray[np.int16]], Curves]


def loudness(pcm: NDArray[np.int16]) -> Array:
    """Power in 40 ms around every 20 ms of speech (n,), in dBFS."""
    power = np.convolve((pcm / 32768.0) ** 2, np.ones(SAMPLES_PER_FRAME) / SAMPLES_PER_FRAME, "same")[: pcm.size]
    return np.asarray(10.0 * np.log10(power[::_EVERY] + _POWER_FLOOR), np.float64)


def methods(network: MouthNetwork | None = None) -> dict[str, Method]:
    """The methods that can be compared here: ``builtin`` at its longest look-ahead, and at the shorter ones as
    ``builtin-40`` and ``builtin-0``; ``loudness``; and ``pocketsphinx`` where it is installed."""

    def builtin(look_ahead_ms: int) -> Method:
        def hear(pcm: NDArray[np.int16]) -> Curves:
            track = track_mouth(pcm, _EVERY, network, look_ahead_ms)
            return Curves(track.aperture, track.width)

        return hear

    def by_phones(pcm: NDArray[np.int16]) -> Curves:
        track = track_phones(pcm, hear_phones(pcm), _EVERY)
        return Curves(track.aperture, track.width)

    *shorter, longest = LOOK_AHEADS
    chosen = {"builtin": builtin(longest)} | {f"builtin-{ms}": builtin(ms) for ms in reversed(shorter)}
    chosen["loudness"] = lambda pcm: Curves(loudness(pcm), None)
    if is_available():
        chosen["pocketsphinx"] = by_phones
    return chosen


def measure(clip: Clip, chosen: dict[str, Method]) -> Result:
    """Run the methods on one clip."""
    in_speech = speech(at(loudness(clip.pcm), clip.times), float(np.median(np.diff(clip.times))))
    scores = []
    for name, method in chosen.items():
        curves = method(clip.pcm)
        aperture = correlate(curves.aperture, clip.times, clip.aperture)
        zero, shifted = (
            closures(at(curves.aperture, clip.times, lag), clip.aperture, in_speech)
            for lag in (0.0, aperture.within_120.lag_ms / 1000)
        )
        width = None if curves.width is None else correlate(curves.width, clip.times, clip.width)
        scores.append(Score(name, aperture, width, zero, shifted))
    return Result(clip.name, clip.group, clip.seconds, scores)


def group_means(results: Sequence[Result]) -> list[Result]:
    """Means weighted by duration, median lags: one result for each group."""
    means = []
    for group in sorted({result.group for result in results}):
        members = [result for result in results if result.group == group]
        weights = np.array([member.seconds for member in members])
        columns = zip(*(member.scores for member in members), strict=True)
        means.append(Result(group, group, float(weights.sum()), [_mean(column, weights) for column in columns]))
    return means


def _mean(scores: Sequence[Score], weights: Array) -> Score:
    widths = [score.width for score in scores if score.width is not None]
    return Score(
        scores[0].method,
        _mean_agreement([score.aperture for score in scores], weights),
        _mean_agreement(widths, weights) if widths else None,
        _mean_closures([score.closures for score in scores], weights),
        _mean_closures([score.closures_within_120 for score in scores], weights),
    )


def _mean_agreement(parts: Sequence[Agreement], weights: Array) -> Agreement:
    def best(bests: Iterable[Best]) -> Best:
        rs, lags = np.array(list(bests)).T
        return Best(float(np.average(rs, weights=weights)), float(np.median(lags)))

    return Agreement(
        float(np.average([part.zero for part in parts], weights=weights)),
        best(part.within_120 for part in parts),
        best(part.within_200 for part in parts),
    )


def _mean_closures(parts: Sequence[Closures], weights: Array) -> Closures:
    """Of the clips in which lips close at all."""
    values = np.array(parts)
    known = ~np.isnan(values[:, 0])
    if not known.any():
        return Closures(np.nan, np.nan, np.nan)
    return Closures(*np.average(values[known], axis=0, weights=weights[known]).tolist())
