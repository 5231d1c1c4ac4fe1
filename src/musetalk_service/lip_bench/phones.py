"""The mouth of phones that a speech recogniser heard: pocketsphinx's, through the built-in engine's table.

pocketsphinx (BSD-2-Clause) brings a model of US English in its wheel. Its phone loop hears the whole clip before it
decides, which no live stream can; that makes it a yardstick.
"""

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_stream import LEAD
from musetalk_service.engines.builtin.mouth_table import CLASSES, SILENCE, to_mouth
from musetalk_service.engines.builtin.mouth_track import MouthTrack
from musetalk_service.lip_bench.arpabet import arpabet_classes, shares
from musetalk_service.models.media import SAMPLE_RATE

_CENTRE = 1  # a frame of pocketsphinx is centred 8 ms after the one of the same number in mel.py
_SPREAD = 3.0  # frames of 10 ms: lips glide from one phone to the next
_REACH = 9


class Phone(NamedTuple):
    """One phone that was heard."""

    name: str
    """ARPAbet in lower case; ``sil`` also for noises."""
    start: int
    """First frame of 10 ms."""
    stop: int
    """The frame after the last one."""


def is_available() -> bool:
    """Whether pocketsphinx is installed."""
    try:
        import pocketsphinx  # noqa: F401
    except ImportError:
        return False
    return True


def hear_phones(pcm: NDArray[np.int16]) -> list[Phone]:
    """Phones of speech (n,) at 16 kHz, in order. Raises ImportError without pocketsphinx."""
    from pocketsphinx import Config, Decoder, get_model_path

    # A decoder adapts to what it hears, so that each clip needs its own.
    decoder = Decoder(
        Config(
            hmm=get_model_path("en-us/en-us"),
            allphone=get_model_path("en-us/en-us-phone.lm.bin"),
            lw=2.0,
            beam=1e-20,
            pbeam=1e-20,
            logfn=os.devnull,
            loglevel="FATAL",
        )
    )
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    return [
        Phone("sil" if not segment.word.isalpha() else segment.word.lower(), segment.start_frame, segment.end_frame + 1)
        for segment in decoder.seg()
    ]


def track_phones(pcm: NDArray[np.int16], phones: list[Phone], every: int) -> MouthTrack:
    """The mouth of `phones` at every `every` samples of the speech (n,) that they were heard in."""
    frames = pcm.size // mel.HOP + 1
    heard = _labels(phones, frames)
    smooth = _smoothed(heard)
    levels = _levels(pcm, frames)
    positions = range(0, pcm.size, every)
    last = frames - 1
    classes, channels = [], []
    for position in positions:
        # As in MouthStream: frame k is centred on sample 160 k + 80, and a video frame shows its middle.
        low = (position + LEAD - mel.HOP // 2) // mel.HOP
        around = np.clip(np.arange(low - 1, low + 3), 0, last)
        middle = around[1:3]
        posteriors = smooth[middle].mean(axis=0)
        classes.append(posteriors)
        channels.append(to_mouth(posteriors, heard[around], float(levels[middle].mean())))
    t = np.array(positions, np.float64) / SAMPLE_RATE
    return MouthTrack(t, np.array(classes, np.float64), np.array(channels, np.float64))


def _labels(phones: list[Phone], frames: int) -> NDArray[np.float32]:
    """One class in each frame of 10 ms, as probabilities (frames, classes)."""
    row: NDArray[np.intp] = np.full(frames, SILENCE, np.intp)
    for phone in phones:
        names = arpabet_classes(phone.name)
        begin = float(phone.start + _CENTRE)
        for name, share in zip(names, shares(names), strict=True):
            end = begin + share * (phone.stop - phone.start)
            row[round(begin) : round(end)] = CLASSES.index(name)
            begin = end
    return np.asarray(np.eye(len(CLASSES), dtype=np.float32)[row], np.float32)


def _smoothed(heard: NDArray[np.float32]) -> NDArray[np.float32]:
    kernel = np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / _SPREAD) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(heard, ((_REACH, _REACH), (0, 0)), mode="edge")
    smooth = [np.convolve(column, kernel, "valid") for column in padded.T]
    return np.stack(smooth, axis=1).astype(np.float32)


def _levels(pcm: NDArray[np.int16], frames: int) -> NDArray[np.float32]:
    """Loudness against the voice's own mean, as the built-in engine measures it, shape (frames,)."""
    _, spectrum = mel.log_mel(mel.initial_mel(), pcm.astype(np.float32) / np.float32(32768.0))
    _, normal = mel.normalise(mel.initial_level(), spectrum)
    levels = normal.mean(axis=1) if len(normal) else np.zeros(1, np.float32)
    return np.asarray(np.pad(levels, (0, max(0, frames - len(levels))), mode="edge"), np.float32)
