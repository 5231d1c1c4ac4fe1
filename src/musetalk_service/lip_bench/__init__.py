"""``musetalk-service bench lips``: how well the mouth follows lips that were measured."""

import sys
from pathlib import Path

from musetalk_service.engines.builtin.mouth_stream import MouthNetwork
from musetalk_service.errors import MediaFileError
from musetalk_service.lip_bench.clips import load_clips
from musetalk_service.lip_bench.measure import group_means, measure, methods
from musetalk_service.lip_bench.report import to_json, to_table

_NO_RECOGNISER = "pocketsphinx is not installed and left out: pip install 'musetalk-service[bench]'"


def main(folder: Path, *, as_json: bool, network: MouthNetwork | None = None) -> int:
    """Measure and print; returns the exit status. `network` replaces that of the package."""
    try:
        clips = load_clips(folder)
    except MediaFileError as error:
        print(f"musetalk-service bench lips: {error}", file=sys.stderr)
        return 1
    chosen = methods(network)
    if "pocketsphinx" not in chosen:
        print(_NO_RECOGNISER, file=sys.stderr)
    results = [measure(clip, chosen) for clip in clips]
    write = to_json if as_json else to_table
    print(write(results, group_means(results)))
    return 0
