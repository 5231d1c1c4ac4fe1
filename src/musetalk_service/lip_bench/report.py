"""Results as a table for the terminal and as JSON."""

import json
import math
from collections.abc import Sequence
from typing import Any

from musetalk_service.lip_bench.agreement import CLOSED, Agreement, Closures
from musetalk_service.lip_bench.measure import Result, Score

_NAME, _METHOD = 16, 13
_HEAD = (
    f"{'':{_NAME + 6 + _METHOD + 1}}|{'aperture r':^29}|{'width r':^29}|{'closures':^12}|{'at <120':^12}|",
    f"{'clip':{_NAME}}{'s':>5} {'method':<{_METHOD}} "
    + 2 * f"|{'0':>6}{'<120':>6}{'lag':>5}{'<200':>6}{'lag':>5} "
    + 2 * f"|{'prec':>6}{'rec':>5} "
    + f"|{'chance':>7}",
)
_NOTE = f"""\
r: Pearson correlation with measured lips, at lag 0 and at the best lag within 120 and 200 ms; lag: ms by which the
prediction is late there. closures: frames with an aperture below {CLOSED} inter-ocular distances, in speech, +-1 frame,
as many predicted as real; chance: the precision of frames picked at random. Means are weighted by duration, lags are
medians."""


def to_table(results: Sequence[Result], means: Sequence[Result]) -> str:
    """Lines for the terminal: clips, then the means of groups."""
    lines = list(_HEAD)
    for result in results:
        lines += _rows(result.name, result)
    for mean in means:
        clips = sum(result.group == mean.group for result in results)
        lines += ["-" * len(_HEAD[1]), *_rows(f"{mean.name}, {clips} clip{'s' * (clips != 1)}", mean)]
    return "\n".join([*lines, "", _NOTE])


def to_json(results: Sequence[Result], means: Sequence[Result]) -> str:
    """An object with ``methods``, ``clips`` and ``groups``; NaN becomes null."""
    content = {
        "methods": [score.method for score in results[0].scores],
        "clips": [_plain(result) for result in results],
        "groups": [_plain(mean) for mean in means],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _rows(name: str, result: Result) -> list[str]:
    heads = [f"{name[:_NAME]:{_NAME}}{result.seconds:5.0f} "] + [" " * (_NAME + 6)] * (len(result.scores) - 1)
    return [head + _row(score) for head, score in zip(heads, result.scores, strict=True)]


def _row(score: Score) -> str:
    def pair(value: Closures) -> str:
        return f"|{_number(value.precision, 6)}{_number(value.recall, 5)} "

    return (
        f"{score.method:<{_METHOD}} {_agreement(score.aperture)}{_agreement(score.width)}"
        f"{pair(score.closures)}{pair(score.closures_within_120)}|{_number(score.closures.chance, 7)}"
    )


def _agreement(value: Agreement | None) -> str:
    if value is None:
        return f"|{'-':>6}{'-':>6}{'-':>5}{'-':>6}{'-':>5} "
    near, far = value.within_120, value.within_200
    return f"|{value.zero:6.2f}{near.r:6.2f}{near.lag_ms:5.0f}{far.r:6.2f}{far.lag_ms:5.0f} "


def _number(value: float, width: int) -> str:
    return f"{'-':>{width}}" if math.isnan(value) else f"{value:{width}.2f}"


def _plain(result: Result) -> dict[str, Any]:
    def rounded(value: float) -> float | None:
        return None if math.isnan(value) else round(value, 4)

    def agreement(value: Agreement) -> dict[str, Any]:
        return {
            "r": rounded(value.zero),
            **{
                f"best_within_{ms}_ms": {"r": rounded(best.r), "lag_ms": round(best.lag_ms)}
                for ms, best in ((120, value.within_120), (200, value.within_200))
            },
        }

    def shut(value: Closures) -> dict[str, Any]:
        return {name: rounded(part) for name, part in value._asdict().items()}

    scores = {
        score.method: {
            "aperture": agreement(score.aperture),
            "width": None if score.width is None else agreement(score.width),
            "closures": shut(score.closures),
            "closures_at_best_within_120_ms": shut(score.closures_within_120),
        }
        for score in result.scores
    }
    return {"name": result.name, "group": result.group, "seconds": round(result.seconds, 2), "methods": scores}
