"""TAESD in the place of the full decoder, where its pictures are good enough."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch
from diffusers import AutoencoderTiny

from musetalk_service.engines.musetalk.decoders import choose_decoder, face_latents, frozen, psnr
from musetalk_service.engines.musetalk.lower_decoder import LowerDecoder
from musetalk_service.engines.musetalk.model import FullDecoder, MouthModel, to_pixels
from musetalk_service.engines.musetalk.options import MuseTalkOptions
from musetalk_service.engines.musetalk.weights import load_unet, load_vae, missing_files
from musetalk_service.errors import CheckpointError
from support.musetalk_files import write_taesd


@pytest.fixture(scope="module")
def with_taesd(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("models") / "all"
    shutil.copytree(model_path, copy)
    return write_taesd(copy)


@pytest.fixture
def options(with_taesd: Path, tmp_path: Path) -> MuseTalkOptions:
    return MuseTalkOptions(with_taesd, tmp_path, device="cpu", decoder="taesd", least_psnr_db=0.0)


def test_taesd_is_read_and_decodes_scaled_latents_as_diffusers_does(options: MuseTalkOptions) -> None:
    vae = load_vae(options.model_path)
    model = MouthModel(load_unet(options.model_path, "1.5"), vae, choose_decoder(options, vae))
    theirs = AutoencoderTiny.from_pretrained(options.model_path / "taesd", local_files_only=True).eval()
    latents = torch.randn(2, 4, 32, 32)
    with torch.inference_mode():
        expected = theirs.decode(latents).sample
        assert float((model.decode(latents) - expected).norm() / expected.norm()) <= 1e-6
        clean = model.predict(torch.zeros(1, 8, 32, 32), torch.zeros(1, 50, 384))
        patches = model(torch.zeros(1, 8, 32, 32), torch.zeros(1, 50, 384))
        assert torch.equal(patches, to_pixels(theirs.decode(clean).sample))


def test_a_picture_that_is_too_different_is_not_taken(
    options: MuseTalkOptions, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = choose_decoder(replace(options, least_psnr_db=60.0), load_vae(options.model_path))
    assert isinstance(chosen, FullDecoder)
    assert "60.0 are asked for (MUSETALK_LEAST_PSNR_DB)" in caplog.text


def test_the_lower_decoder_is_judged_by_another_face_than_that_of_its_statistics(
    options: MuseTalkOptions, caplog: pytest.LogCaptureFixture
) -> None:
    vae = load_vae(options.model_path)
    decoder = LowerDecoder(FullDecoder(load_vae(options.model_path)))
    at_rest, altered = face_latents(vae), face_latents(vae, altered=True)
    decode = frozen(decoder, at_rest)
    found = psnr(decode, decoder.full, altered)
    assert found < psnr(decode, decoder.full, at_rest)
    lower = replace(options, decoder="lower")
    for least, kind in ((found - 0.5, LowerDecoder), (found + 0.5, FullDecoder)):
        chosen = choose_decoder(replace(lower, least_psnr_db=least), load_vae(options.model_path))
        assert isinstance(chosen, kind)
    assert "the decoder lower is left out" in caplog.text


def test_the_ratio_is_that_of_the_lower_half() -> None:
    class Flat(torch.nn.Module):
        def __init__(self, above: float, below: float) -> None:
            super().__init__()
            self.picture = torch.full((1, 3, 256, 256), above)
            self.picture[:, :, 128:] = below

        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return self.picture

    nothing = torch.zeros(1, 4, 32, 32)
    assert psnr(Flat(0.9, 0.0), Flat(-0.9, 0.0), nothing) == float("inf")
    off = psnr(Flat(0.0, -1.0), Flat(0.0, 2 * 51 / 255 - 1.0), nothing)  # by 51 levels, a fifth of the whole
    assert off == pytest.approx(20 * np.log10(5), abs=0.1)


def test_the_face_is_the_default_avatars(with_taesd: Path) -> None:
    latents = face_latents(load_vae(with_taesd))
    assert latents.shape == (1, 4, 32, 32) and torch.isfinite(latents).all()
    assert torch.equal(latents, face_latents(load_vae(with_taesd)))


def test_a_missing_file_is_named(model_path: Path, tmp_path: Path) -> None:
    options = MuseTalkOptions(model_path, model_path)
    assert missing_files(options) == []
    assert "taesd" in missing_files(replace(options, decoder="taesd"))[0]
    with pytest.raises(CheckpointError, match="models download taesd"):
        choose_decoder(MuseTalkOptions(model_path, tmp_path, device="cpu", decoder="taesd"), load_vae(model_path))
