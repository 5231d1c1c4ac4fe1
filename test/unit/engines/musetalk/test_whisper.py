import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")
import torch

from musetalk_service.engines.musetalk.whisper import WhisperEncoder, log_mel, mel_filters
from support.musetalk_files import LAYERS, WIDTH, random_encoder
from support.openai_whisper import import_whisper

RNG = np.random.default_rng(5)
SOUND = (0.1 * RNG.standard_normal(16_000 * 3)).astype(np.float32)


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(3)
    return random_encoder(mlp_width=4 * WIDTH)  # openai's class has no other


@pytest.fixture(scope="module")
def theirs(state):
    whisper = import_whisper()
    encoder = whisper.model.AudioEncoder(80, 1500, WIDTH, 6, LAYERS)
    encoder.load_state_dict(state)
    return encoder.eval()


def test_filters_are_openais():
    whisper = import_whisper()
    np.testing.assert_allclose(mel_filters(), whisper.audio.mel_filters("cpu", 80).numpy(), atol=1e-7)


@pytest.mark.parametrize("samples", [16_000, 16_077, 48_000])
def test_mel_is_openais(samples):
    whisper = import_whisper()
    sound = torch.from_numpy(SOUND[:samples])
    theirs = whisper.audio.log_mel_spectrogram(sound)
    ours = log_mel(sound[None])[0]
    assert ours.shape == theirs.shape == (80, samples // 160)
    assert float((ours - theirs).abs().max()) <= 1e-6


def test_gain_moves_the_mel_by_a_constant():
    loud, quiet = log_mel(torch.from_numpy(SOUND)[None]), log_mel(torch.from_numpy(SOUND)[None] / 10)
    torch.testing.assert_close(loud - quiet, torch.full_like(loud, 0.5), atol=1e-4, rtol=0)


def test_states_are_those_of_openais_layers(state, theirs):
    mel = torch.randn(2, 80, 3000)
    seen = []
    hooks = [block.register_forward_hook(lambda _m, _i, out: seen.append(out)) for block in theirs.blocks]
    hooks.append(theirs.blocks[0].register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0])))
    with torch.inference_mode():
        last = theirs(mel)
        ours = WhisperEncoder.from_state(state)(mel, normalise_last=True)
        raw = WhisperEncoder.from_state(state)(mel, normalise_last=False)
    for hook in hooks:
        hook.remove()
    assert ours.shape == (2, 1500, 5, WIDTH)
    for layer in range(4):
        assert relative(ours[:, :, layer], seen[layer]) <= 1e-5
        assert torch.equal(ours[:, :, layer], raw[:, :, layer])
    assert relative(ours[:, :, 4], last) <= 1e-5
    assert relative(raw[:, :, 4], seen[4]) <= 1e-5
    assert relative(raw[:, :, 4], last) > 0.1


def test_short_windows_have_the_first_positions(state):
    encoder = WhisperEncoder.from_state(state)
    mel = torch.randn(1, 80, 200)
    with torch.inference_mode():
        short = encoder(mel, normalise_last=True)
        long = encoder(torch.nn.functional.pad(mel, (0, 2800)), normalise_last=True)
    assert short.shape == (1, 100, 5, WIDTH)
    torch.testing.assert_close(short[:, :-1, 0], long[:, :99, 0], atol=1e-5, rtol=1e-5)
