"""``musetalk-service bench face``: what a face shows of what it is told, measured and as pictures."""

import sys
from collections.abc import Sequence
from pathlib import Path

import av
import cv2

from musetalk_service.face_bench.film import write_film
from musetalk_service.face_bench.measure import Measures, run
from musetalk_service.face_bench.report import to_json, to_table
from musetalk_service.face_bench.sheet import contact_sheet
from musetalk_service.face_bench.subject import load_subject
from musetalk_service.face_bench.track import make_track
from musetalk_service.models.preparation import PreparationModels
from musetalk_service.preparation.errors import PreparationError, SegmenterError
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.model_file import FACE_LANDMARKER, find_model
from musetalk_service.preparation.segmenter import PersonSegmenter, load_segmenter


def main(
    sources: Sequence[str],
    *,
    out: Path | None,
    as_json: bool,
    models: PreparationModels,
) -> int:
    """Measure each source, write its sheet and film where asked, print; returns the exit status."""
    cv2.setNumThreads(1)
    track = make_track()
    results: list[Measures] = []
    failed = False
    try:
        found = find_model(FACE_LANDMARKER, models.landmarker, models.folder, models.cache_dir)
        segmenter = _segmenter(models)
        with FaceLandmarker(found) as landmarker:
            for source in sources:
                try:
                    subject = load_subject(source, landmarker, segmenter)
                    done = run(subject, track, landmarker, _Bar(Path(source).name))
                    results.append(done.measures)
                    if out is not None:
                        out.mkdir(parents=True, exist_ok=True)
                        name = Path(source).stem
                        cv2.imwrite(str(out / f"{name}.png"), contact_sheet(done, track))
                        write_film(out / f"{name}.mp4", done.pictures, track.pcm)
                except (PreparationError, OSError, av.FFmpegError) as error:
                    failed = True
                    _complain(f"{source}: {error}")
    except PreparationError as error:
        _complain(str(error))
        return 1
    if results:
        print(to_json(results) if as_json else to_table(results))
    return 1 if failed else 0


def _segmenter(models: PreparationModels) -> PersonSegmenter | None:
    """Without one faces are drawn without layers."""
    if not models.layers:
        return None
    try:
        return load_segmenter(models)
    except SegmenterError as error:
        _complain(f"without layers: {error.message}")
        return None


def _complain(message: str) -> None:
    print(f"musetalk-service bench face: {message}", file=sys.stderr)


class _Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = -1

    def __call__(self, share: float) -> None:
        percent = int(100 * share)
        if percent != self._shown and sys.stderr.isatty():
            self._shown = percent
            print(f"\r{self._name[:30]:30} {percent:3d} %", end="\n" if percent == 100 else "", file=sys.stderr)
