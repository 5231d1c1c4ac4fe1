import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.engines.musetalk import batching
from musetalk_service.engines.musetalk.batching import SIZES, PatchRunner, split
from musetalk_service.engines.musetalk.lower_decoder import TOP, LowerDecoder
from musetalk_service.engines.musetalk.model import FullDecoder, MouthModel
from musetalk_service.engines.musetalk.weights import load_unet, load_vae
from musetalk_service.errors import EngineError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("count", "batches"),
    [(0, []), (1, [1]), (3, [4]), (5, [4, 1]), (6, [8]), (9, [8, 1]), (12, [16]), (11, [8, 4]), (35, [16, 16, 4])],
)
def test_frames_are_split_into_the_sizes_there_are(count, batches):
    assert split(count, SIZES) == batches
    assert sum(batches) >= count


def test_only_the_sizes_that_fit_are_used():
    assert split(9, (1, 2, 4)) == [4, 4, 1]
    assert split(3, (1,)) == [1, 1, 1]


class _Sum(torch.nn.Module):
    """Pixels that say what came in; refuses batches that are too large."""

    def __init__(self, largest: int = 99) -> None:
        super().__init__()
        self.largest, self.seen = largest, []

    def forward(self, latents, audio):
        self.seen.append(len(latents))
        if len(latents) > self.largest:
            raise torch.OutOfMemoryError("too large")
        level = latents[:, 0, 0, 0] + audio[:, 0, 0]
        return level.to(torch.uint8)[:, None, None, None].expand(-1, 256, 256, 3)


def frames(count):
    return [torch.full((8, 32, 32), float(i)) for i in range(count)], [torch.full((50, 4), 100.0)] * count


@pytest.mark.parametrize("count", [0, 1, 5, 19])
def test_patches_come_in_order(count):
    runner = PatchRunner(_Sum(), CPU, torch.float32, 4)
    runner.warm_up()
    patches = runner.run(*frames(count))
    assert patches.shape == (count, 256, 256, 3)
    assert patches[:, 0, 0, 0].tolist() == [100 + i for i in range(count)]


def test_out_of_memory_makes_batches_smaller_and_then_refuses():
    model = _Sum(largest=2)
    runner = PatchRunner(model, CPU, torch.float32, 4)
    assert runner.run(*frames(7))[:, 0, 0, 0].tolist() == [100 + i for i in range(7)]
    assert runner.sizes == [1, 2]
    model.largest = 0
    with pytest.raises(EngineError, match="too small"):
        runner.run(*frames(1))


def test_batches_are_the_model_alone(model_path):
    model = MouthModel(load_unet(model_path, "1.5"), load_vae(model_path))
    runner = PatchRunner(model, CPU, torch.float32, 384)
    runner.warm_up()
    latents, audio = list(torch.randn(3, 8, 32, 32)), list(torch.randn(3, 50, 384))
    together = runner.run(latents, audio)
    with torch.inference_mode():
        for patch, face, heard in zip(together, latents, audio, strict=True):
            alone = model(face[None], heard[None])[0].numpy()
            assert np.abs(patch.astype(int) - alone).max() <= 1


def test_the_lower_face_alone_is_painted_with_the_statistics_of_each_face(model_path):
    vae = load_vae(model_path)
    lower = LowerDecoder(FullDecoder(vae))
    model = MouthModel(load_unet(model_path, "1.5"), vae, lower)
    runner = PatchRunner(model, CPU, torch.float32, 384, largest=2)
    runner.warm_up()
    latents, audio = list(torch.randn(3, 8, 32, 32)), list(torch.randn(3, 50, 384))
    statistics = [runner.statistics(face) for face in latents]
    patches = runner.run(latents, audio, statistics)
    np.testing.assert_array_equal(runner.run(latents, audio), patches)
    with torch.inference_mode():
        for patch, face, heard in zip(patches, latents, audio, strict=True):
            at_rest = lower.statistics(face[None, 4:])
            alone = model(face[None], heard[None], at_rest)[0].numpy()
            assert np.abs(patch.astype(int) - alone).max() <= 1
    assert not patches[:, :TOP].any() and patches[:, TOP:].any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_graphs_give_what_the_model_gives(model_path):
    model = MouthModel(load_unet(model_path, "1.5"), load_vae(model_path))
    device = torch.device("cuda")
    runner = PatchRunner(model, device, torch.float32, 384)
    runner.warm_up()
    latents, audio = list(torch.randn(23, 8, 32, 32)), list(torch.randn(23, 50, 384))
    first = runner.run([t.to(device) for t in latents], audio)
    with torch.inference_mode():
        plain = model(torch.stack(latents).to(device), torch.stack(audio).to(device)).cpu().numpy()
    assert np.abs(first.astype(int) - plain).mean() < 0.1
    np.testing.assert_array_equal(runner.run([t.to(device) for t in latents], audio), first)
    assert set(runner._graphs) == set(batching.SIZES)
