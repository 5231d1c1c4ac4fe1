"""The lower face decoded alone: what it shares with the whole, and what the cut costs."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.engines.musetalk.lower_decoder import TOP, LowerDecoder, lower_error
from musetalk_service.engines.musetalk.model import FullDecoder
from musetalk_service.engines.musetalk.weights import load_vae


@pytest.fixture(scope="module")
def lower(model_path: Path) -> LowerDecoder:
    return LowerDecoder(FullDecoder(load_vae(model_path))).eval()


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(4))


def test_with_its_own_statistics_it_is_the_whole_faces_lower_part(lower: LowerDecoder, latents: torch.Tensor) -> None:
    with torch.inference_mode():
        statistics = lower.statistics(latents)
        assert statistics.shape == (2, *lower.statistics_shape)
        found, whole = lower(latents, statistics), lower.full(latents)
    assert found.shape == whole.shape
    assert (found[:, :, :TOP] == -1).all()
    # The convolutions miss a little at the first rows, of which the mask takes nothing or almost nothing.
    for row, most in ((TOP, 0.03), (TOP + 4, 0.01), (TOP + 12, 0.002), (128, 1e-4)):
        assert float((found - whole)[:, :, row:].norm() / whole[:, :, row:].norm()) < most
    assert lower_error(lower, latents, statistics) < 1e-4


def test_with_another_pictures_statistics_it_stays_close(lower: LowerDecoder, latents: torch.Tensor) -> None:
    changed = latents.clone()
    changed[:, :, 20:28, 8:24] += 0.3 * torch.randn(2, 4, 8, 16, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        at_rest = lower.statistics(latents)
        before, after = lower.full(latents)[:, :, 128:], lower.full(changed)[:, :, 128:]
    assert float((after - before).norm() / before.norm()) > 0.15  # a mouth changes this much of it
    assert lower_error(lower, latents, at_rest) < lower_error(lower, changed, at_rest) < 0.03


def test_frames_do_not_mix(lower: LowerDecoder, latents: torch.Tensor) -> None:
    with torch.inference_mode():
        statistics = lower.statistics(latents)
        both = lower(latents, statistics)
        alone = lower(latents[1:], statistics[1:])
    assert torch.allclose(both[1:], alone, atol=1e-5)
