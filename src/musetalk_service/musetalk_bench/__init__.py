"""``musetalk-service bench musetalk``: frames a second, latency and sessions of the MuseTalk engine on this machine."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_service.config import Settings
from musetalk_service.errors import CheckpointError, EngineError

if TYPE_CHECKING:
    from musetalk_service.musetalk_bench.measure import Result


def main(
    settings: Settings, *, random_weights: bool, small: bool, seconds: float, as_json: bool, plot: Path | None
) -> int:
    """Measure and print; returns the exit status.

    Args:
        settings: checkpoints, device, precision, largest batch, engine hosts.
        random_weights: measure without checkpoints: files of random ones are written to the temporary folder.
        small: random networks a tenth as wide, to try the command itself.
        seconds: for each row.
        as_json: print a JSON object.
        plot: write a picture there, too.
    """
    try:
        from musetalk_service.musetalk_bench.plot import write
        from musetalk_service.musetalk_bench.run import run
    except ImportError as error:
        print(f"{error}: pip install 'musetalk-service[musetalk]'", file=sys.stderr)
        return 1
    try:
        result = run(settings, random_weights=random_weights, small=small, seconds=seconds)
        if plot is not None:
            write(result, plot)
    except (CheckpointError, EngineError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result), indent=2) if as_json else to_text(result))
    return 0


def to_text(result: "Result") -> str:
    """Tables for people."""
    best = max(row.frames_per_s for row in result.batches)
    lines = [
        f"{result.device}, {result.precision}, {result.decoder} decoder: {result.gflop_per_frame:.1f} GFLOP a frame, "
        f"matrix products reach {result.ceiling_tflops:.3g} TFLOP/s",
        "",
        "batch  frames/s   p50 ms   p99 ms  of ceiling  memory MB",
    ]
    lines += [
        f"{row.batch:5}  {row.frames_per_s:8.1f}  {row.p50_ms:7.1f}  {row.p99_ms:7.1f}  {row.ceiling_share:9.1%}"
        f"  {f'{row.memory_mb:.0f}' if row.memory_mb else '-':>9}"
        for row in result.batches
    ]
    lines += [
        "",
        f"plain loop (batch 20, as published): {result.plain_frames_per_s:.1f} frames/s; "
        f"this engine: {best / result.plain_frames_per_s:.2f} times as many",
        *(
            []
            if result.cut_error is None
            else [f"the lower face decoded alone is {result.cut_error:.1%} off (says nothing with random weights)"]
        ),
        f"Whisper, 30 s: {result.whisper_ms:.1f} ms a pass",
        "",
        f"a painter and {result.hosts} engine hosts, {os.cpu_count()} cores; every session speaks without a pause:",
        "",
        "sessions  p99 late ms  first frame ms  not painted",
    ]
    lines += [
        f"{row.sessions:8}  {row.p99_late_ms:+11.1f}  {row.first_ms:14.0f}  {row.not_painted:11}"
        f"{'' if row.kept_up else '  does not keep up'}"
        for row in result.sessions
    ]
    return "\n".join(lines)
