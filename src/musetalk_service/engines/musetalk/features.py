"""What the UNet hears of each frame: 10 positions of Whisper's 5 states, and their places.

Position p of the encoder is centred on sample 320 p; frame i at 25 fps takes [2 i - 4, 2 i + 6). What lies before
or after the audio is zero in version 1.5; version 1.0 repeats the first or last position there.
"""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musetalk_service.engines.musetalk.options import SAMPLE_RATE, Version
from musetalk_service.engines.musetalk.whisper import MEL_HOP, WhisperEncoder, log_mel

BEFORE, AFTER = 4, 6
"""Positions before a frame's own, and from it on."""
TOKENS = (BEFORE + AFTER) * 5
SEGMENT_SAMPLES = 30 * SAMPLE_RATE
_SEGMENT_MEL = SEGMENT_SAMPLES // MEL_HOP

Waveform = NDArray[np.float32]
"""(n,) 16 kHz in -1..1."""


def whisper_mel(waves: Tensor, version: Version, heard: Tensor) -> Tensor:
    """Log-mel of windows of which only the beginning is sound, padded as a version was trained.

    Args:
        waves: (batch, n) with zeros behind the sound.
        version: 1.5 hears the zeros; 1.0 has 0.0 instead in the spectrogram.
        heard: (batch,) samples of sound in each window.
    """
    mel = log_mel(waves)
    if version == "1.0":
        frames = torch.arange(mel.shape[-1], device=mel.device)
        mel = torch.where(frames < (heard // MEL_HOP)[:, None, None], mel, 0.0)
    return mel


def take_window(states: Tensor, centre: int, heard: int, version: Version) -> Tensor:
    """One frame's positions.

    Args:
        states: (T, 5, width) of a window of audio.
        centre: position of the frame's start in it; may lie outside.
        heard: positions that are sound; the rest is as if the audio ended there.
        version: what stands where there is no audio.

    Returns:
        (50, width), token = 5 * position + state.
    """
    places = torch.arange(centre - BEFORE, centre + AFTER, device=states.device)
    taken = states[places.clamp(0, max(min(heard, len(states)) - 1, 0))]
    if version == "1.5":
        taken = taken * ((places >= 0) & (places < heard))[:, None, None]
    return taken.flatten(0, 1)


@functools.cache
def positional_encoding(width: int) -> Tensor:
    """(1, 50, width): sine in even and cosine in odd columns, base 10000 (Vaswani et al. 2017)."""
    place = torch.arange(TOKENS, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-np.log(10000.0) / width))
    table = torch.zeros(1, TOKENS, width)
    table[0, :, 0::2] = torch.sin(place * rate)
    table[0, :, 1::2] = torch.cos(place * rate)
    return table


def whole_file_states(encoder: WhisperEncoder, wave: Waveform, version: Version) -> Tensor:
    """All positions of a recording as the published scripts make them: 30 s segments without overlap.

    Returns:
        (T, 5, width) float32, T = 50 a second.
    """
    sound = torch.from_numpy(np.ascontiguousarray(wave, np.float32))
    with torch.inference_mode():
        if version == "1.0":
            return _whole_file_states_v1(encoder, sound)
        parts = []
        for segment in sound.split(SEGMENT_SAMPLES):
            padded = torch.nn.functional.pad(segment, (0, SEGMENT_SAMPLES - len(segment)))
            parts.append(encoder(log_mel(padded[None]), normalise_last=True)[0])
        return torch.cat(parts)[: len(sound) * 50 // SAMPLE_RATE]


def _whole_file_states_v1(encoder: WhisperEncoder, sound: Tensor) -> Tensor:
    """One spectrogram of the whole file, its segments filled up with 0.0."""
    parts = []
    for segment in log_mel(sound[None]).split(_SEGMENT_MEL, dim=-1):
        length = segment.shape[-1]
        padded = torch.nn.functional.pad(segment, (0, _SEGMENT_MEL - length))
        parts.append(encoder(padded, normalise_last=False)[0, : length // 2])
    return torch.cat(parts)


def whole_file_frames(states: Tensor, samples: int, version: Version, fps: int = 25) -> Tensor:
    """(frames, 50, width) of a recording, without positional encoding, as the published scripts cut them.

    Args:
        states: of :func:`whole_file_states`.
        samples: length of the recording.
        version: 1.5 gives the frames that begin in the recording; 1.0 goes on until one begins behind its end.
        fps: frames a second.
    """
    if version == "1.5":
        starts = [frame * 50 // fps for frame in range(samples * fps // SAMPLE_RATE)]
    else:
        starts = [0]
        while starts[-1] <= len(states):
            starts.append(len(starts) * 50 // fps)
    return torch.stack([take_window(states, start, len(states), version) for start in starts])
