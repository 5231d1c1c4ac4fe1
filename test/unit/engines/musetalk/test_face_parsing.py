"""BiSeNet against its layers called one by one with the tensors of the file."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch
from torch import Tensor
from torch.nn import functional

from musetalk_service.engines.musetalk.weights import load_parser
from musetalk_service.errors import CheckpointError
from support.musetalk_files import write_parser


@pytest.fixture(scope="module")
def parser_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parser(tmp_path_factory.mktemp("parser"))


def plainly(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The published network's scores, layer by layer."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, None, stride, weight.shape[2] // 2)

    def norm(name: str, x: Tensor) -> Tensor:
        scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-5).sqrt()
        shift = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def both(name: str, x: Tensor) -> Tensor:
        return norm(f"{name}.bn", conv(f"{name}.conv", x)).clamp(min=0)

    def whole(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, x.shape[2:])

    def attend(name: str, x: Tensor) -> Tensor:
        x = both(f"{name}.conv", x)
        return x * norm(f"{name}.bn_atten", conv(f"{name}.conv_atten", whole(x))).sigmoid()

    def twice(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean[:, None, None]) / spread[:, None, None]
    x = functional.max_pool2d(norm("cp.resnet.bn1", conv("cp.resnet.conv1", x, 2)).clamp(min=0), 3, 2, 1)
    levels = []
    for layer in range(1, 5):
        for block in range(2):
            name, stride = f"cp.resnet.layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            inner = norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride)).clamp(min=0)
            inner = norm(f"{name}.bn2", conv(f"{name}.conv2", inner))
            if f"{name}.downsample.0.weight" in state:
                x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
            x = (x + inner).clamp(min=0)
        levels.append(x)
    _, eighth, sixteenth, last = levels
    wide = both("cp.conv_head32", twice(attend("cp.arm32", last) + both("cp.conv_avg", whole(last))))
    near = both("cp.conv_head16", twice(attend("cp.arm16", sixteenth) + wide))
    joined = both("ffm.convblk", torch.cat([eighth, near], dim=1))
    weights = conv("ffm.conv2", conv("ffm.conv1", whole(joined)).clamp(min=0)).sigmoid()
    scores = conv("conv_out.conv_out", both("conv_out.conv", joined * weights + joined))
    return functional.interpolate(scores, scale_factor=8, mode="bilinear", align_corners=True)


def test_scores_are_those_of_the_published_network(parser_path: Path) -> None:
    state = torch.load(parser_path / "face-parse-bisent" / "79999_iter.pth", weights_only=True)
    pictures = torch.rand(2, 3, 128, 160)
    with torch.inference_mode():
        ours, theirs = load_parser(parser_path)(pictures), plainly(state, pictures)
    assert ours.shape == (2, 19, 128, 160)
    assert float((ours - theirs).norm() / theirs.norm()) <= 1e-5
    assert len(np.unique(ours.argmax(1))) > 3  # the weights tell something apart


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("ffm.conv1.weight"), r"no BiSeNet .*ffm\.conv1"),
        (lambda state: state.update({"cp.conv_avg.bn.bias": torch.ones(3)}), r"no BiSeNet .*cp\.conv_avg"),
        (lambda state: state.clear(), "no BiSeNet"),
    ],
)
def test_another_file_is_refused(parser_path: Path, tmp_path: Path, change, message) -> None:
    folder = tmp_path / "face-parse-bisent"
    folder.mkdir()
    state = torch.load(parser_path / "face-parse-bisent" / "79999_iter.pth", weights_only=True)
    change(state)
    torch.save(state, folder / "79999_iter.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_parser(tmp_path)
    assert "face-parsing.PyTorch" in str(caught.value)
