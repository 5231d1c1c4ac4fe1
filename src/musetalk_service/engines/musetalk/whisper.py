"""Whisper's audio encoder (Radford et al. 2022) and its log-mel input, giving every layer's state.

Written for this use: the published classes return the last state only, refuse windows shorter than 30 s, and
bring a JIT compiler along. Names of parameters are OpenAI's.
"""

import functools
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from musetalk_service.engines.musetalk.options import SAMPLE_RATE

MEL_HOP: Final = 160
BANDS: Final = 80
REACH_SAMPLES: Final = 520
"""A position's own samples end so far after its centre; attention hears everything."""
STATES: Final = 5
_FFT: Final = 400
_HEAD_WIDTH: Final = 64
_DYNAMIC_RANGE: Final = 8.0


class WhisperEncoder(nn.Module):
    """Two convolutions and a few transformer blocks: 50 positions a second."""

    def __init__(self, width: int, positions: int, layers: int, mlp_width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.zeros(positions, width))
        self.blocks = nn.ModuleList([_Block(width, mlp_width) for _ in range(layers)])
        self.ln_post = nn.LayerNorm(width)

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "WhisperEncoder":
        """Of the form that the tensors have. Raises ``KeyError``, ``ValueError`` or ``RuntimeError``."""
        positions, width = state["positional_embedding"].shape
        layers = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
        if layers != STATES - 1 or width % _HEAD_WIDTH:
            raise ValueError(f"{layers} layers, {width} wide, where whisper-tiny has 4, 384 wide")
        with torch.device("meta"):
            encoder = cls(width, positions, layers, state["blocks.0.mlp.0.weight"].shape[0])
        encoder.load_state_dict(state, strict=True, assign=True)
        return encoder

    def forward(self, mel: Tensor, *, normalise_last: bool) -> Tensor:
        """All states.

        Args:
            mel: (batch, 80, 2 T), T at most 1500: a shorter window has the first T positions.
            normalise_last: give the last state behind `ln_post`, as version 1.5 has it; else raw, as version 1.0.

        Returns:
            (batch, T, 5, width): the convolutions' output with positions, and what each block gives.
        """
        x = functional.gelu(self.conv1(mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        x = x + self.positional_embedding[: x.shape[1]].to(x.dtype)
        states = [x]
        for block in self.blocks:
            x = block(x)
            states.append(x)
        if normalise_last:
            states[-1] = self.ln_post(x)
        return torch.stack(states, dim=2)


class _Block(nn.Module):
    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.attn = _Attention(width)
        self.attn_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.attn_ln(x))
        return x + self.mlp(self.mlp_ln(x))


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (-1, _HEAD_WIDTH)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


@functools.cache
def mel_filters() -> NDArray[np.float32]:
    """(80, 201) triangles on Slaney's mel scale, each of area 1 (Slaney 1998)."""
    break_hz, hz_per_mel = 1000.0, 200.0 / 3.0
    log_step = np.log(6.4) / 27.0
    break_mel = break_hz / hz_per_mel
    top = break_mel + np.log(SAMPLE_RATE / 2 / break_hz) / log_step
    mels = np.linspace(0.0, top, BANDS + 2)
    edges = np.where(
        mels < break_mel, mels * hz_per_mel, break_hz * np.exp(log_step * np.maximum(mels - break_mel, 0.0))
    )
    bins = np.linspace(0.0, SAMPLE_RATE / 2, _FFT // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None], np.float32)


@functools.cache
def _filters_on(device: torch.device) -> Tensor:
    """Copied once: a copy from ordinary memory waits for all that the device has to do."""
    return torch.from_numpy(mel_filters()).to(device)


def log_mel(waveform: Tensor) -> Tensor:
    """Log-mel spectrogram as Whisper takes it; the floor is 8 decades under the loudest of each row of the batch.

    Args:
        waveform: (batch, n) float32 in -1..1, n over 200.

    Returns:
        (batch, 80, n // 160).
    """
    window = torch.hann_window(_FFT, device=waveform.device)
    spectrum = torch.stft(waveform, _FFT, MEL_HOP, window=window, return_complex=True)
    power = spectrum[..., :-1].abs().square()
    decades = (_filters_on(waveform.device) @ power).clamp(min=1e-10).log10()
    floor = decades.amax(dim=(-2, -1), keepdim=True) - _DYNAMIC_RANGE
    return (torch.maximum(decades, floor) + 4.0) / 4.0
