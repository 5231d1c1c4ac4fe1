"""``musetalk-service mouth``: the mouth of a recording, as numbers and as a picture."""

import sys
from pathlib import Path

from musetalk_service.engines.builtin.mouth_track import MouthTrack, track_mouth
from musetalk_service.errors import MediaFileError
from musetalk_service.models.face import Mouth
from musetalk_service.mouth.export import FORMATS, write_track
from musetalk_service.utils.audio_file import read_audio_file

_SHUT = 0.8
"""Press from which lips count as closed."""


def main(file: Path, *, out: Path | None, plot: Path | None, arkit: bool) -> int:
    """Track, write what is asked for, print a summary; returns the exit status."""
    if out is not None and out.suffix.lower() not in FORMATS:
        return _fail(f"--out {out}: the name must end in {', '.join(FORMATS)}")
    if plot is not None and plot.suffix.lower() != ".png":
        return _fail(f"--plot {plot}: the name must end in .png")
    try:
        pcm = read_audio_file(file)
        track = track_mouth(pcm)
        if out is not None:
            write_track(out, track, arkit=arkit)
        if plot is not None:
            from musetalk_service.mouth.plot import draw, write_png

            write_png(plot, draw(pcm, track, title=file.name))
    except (MediaFileError, OSError) as error:
        return _fail(str(error))
    print(_summary(track))
    for path in (out, plot):
        if path is not None:
            print(f"written: {path}")
    return 0


def _fail(message: str) -> int:
    print(f"musetalk-service mouth: {message}", file=sys.stderr)
    return 1


def _summary(track: MouthTrack) -> str:
    press = track.channels[:, Mouth._fields.index("press")] > _SHUT
    closures = int(press[0]) + int((press[1:] & ~press[:-1]).sum())
    moving = float((track.channels.max(axis=1) > 0).mean())
    return (
        f"{len(track.t)} frames at 25 fps, {len(track.t) / 25:.2f} s; "
        f"the mouth moves in {moving:.0%} of them, lips closed for p, b, m {closures} times; "
        f"aperture to {track.aperture.max():.3f}, width {track.width.min():.3f} to {track.width.max():.3f} "
        "inter-ocular distances"
    )
