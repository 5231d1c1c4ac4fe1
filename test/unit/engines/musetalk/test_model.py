import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from musetalk_service.engines.musetalk.model import FaceEncoder, MouthModel, prepare_face, to_pixels
from musetalk_service.engines.musetalk.weights import load_unet, load_vae
from support.musetalk_files import UNET_CONFIG

SCALE = 0.18215
FACE = np.random.default_rng(9).integers(0, 256, (256, 256, 3), np.uint8)


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.float() - theirs).norm() / theirs.norm())


@pytest.fixture(scope="module")
def their_unet(model_path):
    unet = UNet2DConditionModel(**UNET_CONFIG)
    unet.load_state_dict(torch.load(model_path / "musetalkV15" / "unet.pth", weights_only=True))
    return unet.eval()


@pytest.fixture(scope="module")
def their_vae(model_path):
    return AutoencoderKL.from_pretrained(model_path / "sd-vae", use_safetensors=False, local_files_only=True).eval()


@pytest.fixture(scope="module")
def model(model_path):
    return MouthModel(load_unet(model_path, "1.5"), load_vae(model_path))


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, 8, 32, 32, generator=generator), torch.randn(3, 50, 384, generator=generator)


def test_unet_without_its_timestep_is_the_published_one_at_0(model, their_unet, inputs):
    with torch.inference_mode():
        theirs = their_unet(inputs[0], torch.tensor([0]), encoder_hidden_states=inputs[1]).sample
        ours = model.predict(*inputs)
        alone = model.predict(inputs[0][1:2], inputs[1][1:2])
        other = model.predict(inputs[0], inputs[1].roll(1, 0))
    assert relative(ours, theirs) <= 1e-5
    assert relative(alone, ours[1:2]) <= 1e-6
    assert relative(other, theirs) > 1e-4  # it hears


def test_decoder_takes_scaled_latents(model, their_vae):
    latents = torch.randn(2, 4, 32, 32)
    with torch.inference_mode():
        theirs = their_vae.decode(latents / SCALE).sample
        assert relative(model.decode(latents), theirs) <= 1e-5


def test_patches_are_the_published_ones_within_one_level(model, their_unet, their_vae, inputs):
    with torch.inference_mode():
        latents = their_unet(inputs[0], torch.tensor([0]), encoder_hidden_states=inputs[1]).sample
        picture = (their_vae.decode(latents / SCALE).sample / 2 + 0.5).clamp(0, 1)
        theirs = (picture.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)[..., ::-1]
        ours = model(*inputs).numpy()
    assert ours.shape == (3, 256, 256, 3) and ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_pixels_are_limited_and_halves_go_to_even():
    levels = torch.tensor([-9.0, 0.5 / 255 * 2 - 1, 1.5 / 255 * 2 - 1, 9.0])
    expected = (levels / 2 + 0.5).clamp(0, 1) * 255
    pixels = to_pixels(levels.reshape(1, 1, 1, 4).expand(1, 3, 1, 4))
    assert pixels[0, 0, :, 0].tolist() == expected.numpy().round().astype(int).tolist()
    assert pixels[0, 0, :, 0].tolist()[::3] == [0, 255]


def test_lower_half_is_black_before_it_is_centred():
    masked, whole = prepare_face(FACE)
    assert bool((masked[:, 128:] == -1).all())
    assert torch.equal(masked[:, :128], whole[:, :128])
    np.testing.assert_array_equal(whole[0].numpy(), (FACE[..., 2].astype(np.float32) / 255 - 0.5) / 0.5)


def test_latents_are_the_posterior_mean(model_path, their_vae):
    encoder = FaceEncoder(load_vae(model_path), torch.device("cpu"), torch.float32)
    ours = encoder(FACE)
    with torch.inference_mode():
        theirs = their_vae.encode(prepare_face(FACE)).latent_dist.mean * SCALE
    assert ours.shape == (8, 32, 32)
    assert relative(torch.from_numpy(ours), theirs.reshape(8, 32, 32)) <= 1e-5
    np.testing.assert_array_equal(ours, encoder(FACE))


@pytest.mark.parametrize(
    ("dtype", "unet_limit", "pixels_limit"), [(torch.bfloat16, 3e-2, 1.5), (torch.float16, 4e-3, 0.5)]
)
def test_half_precisions_stay_near(model_path, model, inputs, dtype, unet_limit, pixels_limit):
    half = MouthModel(load_unet(model_path, "1.5"), load_vae(model_path)).to(dtype)
    with torch.inference_mode():
        exact, near = model.predict(*inputs), half.predict(inputs[0].to(dtype), inputs[1].to(dtype))
        assert relative(near, exact) <= unet_limit
        pixels, near_pixels = to_pixels(model.decode(exact)), to_pixels(half.decode(exact.to(dtype)))
    assert float((pixels.float() - near_pixels.float()).abs().mean()) <= pixels_limit


def test_channels_last_changes_nothing_to_speak_of(model_path, model, inputs):
    other = MouthModel(load_unet(model_path, "1.5"), load_vae(model_path)).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert relative(other.predict(*inputs), model.predict(*inputs)) <= 1e-5
