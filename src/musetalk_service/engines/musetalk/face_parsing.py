"""Which pixel of a face is skin, lip or nose: BiSeNet (Yu et al. 2018) on ResNet-18 (He et al. 2016).

The network of face-parsing.PyTorch (MIT), whose weights the published MuseTalk scripts make their masks with; its
modules bear the names that the tensors have in that file.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES: Final = 19
"""CelebAMask-HQ's: 0 background, 1 skin, 10 nose, 11 mouth, 12 and 13 lips, 14 neck; the rest is not of use here."""
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, RGB."""
_TRAINING_ONLY: Final = ("conv_out16.", "conv_out32.")


class FaceParser(nn.Module):
    """Classes of a picture's pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = _Context()
        self.ffm = _Fusion(256, 256)
        self.conv_out = _Head(256, 256, CLASSES)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("spread", torch.tensor(_SPREAD)[:, None, None], persistent=False)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "FaceParser":
        """In evaluation mode. Raises ``RuntimeError`` for tensors that are missing, too many or of another shape."""
        parser = cls()
        parser.load_state_dict({name: t for name, t in state.items() if not name.startswith(_TRAINING_ONLY)})
        return parser.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        """Scores.

        Args:
            pictures: (batch, 3, height, width) RGB in 0..1, both sides multiples of 32.

        Returns:
            (batch, 19, height, width); the greatest is the class.
        """
        fine, coarse = self.cp((pictures - self.mean) / self.spread)
        scores = self.conv_out(self.ffm(fine, coarse))
        return functional.interpolate(scores, pictures.shape[2:], mode="bilinear", align_corners=True)


class _ConvNorm(nn.Module):
    """A convolution, normalised and rectified."""

    def __init__(self, taken: int, given: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(taken, given, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(given)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Residual(nn.Module):
    """ResNet's basic block."""

    def __init__(self, taken: int, given: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(taken, given, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(given)
        self.conv2 = nn.Conv2d(given, given, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(given)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or taken != given:
            self.downsample = nn.Sequential(nn.Conv2d(taken, given, 1, stride, bias=False), nn.BatchNorm2d(given))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.downsample(x) + self.bn2(self.conv2(inner)))


class _Trunk(nn.Module):
    """ResNet-18 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_Residual(64, 64, 1), _Residual(64, 64, 1))
        self.layer2 = nn.Sequential(_Residual(64, 128, 2), _Residual(128, 128, 1))
        self.layer3 = nn.Sequential(_Residual(128, 256, 2), _Residual(256, 256, 1))
        self.layer4 = nn.Sequential(_Residual(256, 512, 2), _Residual(512, 512, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At an eighth, a sixteenth and a thirty-second of the size."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class _Attention(nn.Module):
    """Channels weighed by what the whole picture shows."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.conv = _ConvNorm(taken, given)
        self.conv_atten = nn.Conv2d(given, given, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(given)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(_mean(x))))


class _Context(nn.Module):
    """What is seen closely, and in its surroundings."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = _Trunk()
        self.arm16 = _Attention(256, 128)
        self.arm32 = _Attention(512, 128)
        self.conv_head32 = _ConvNorm(128, 128)
        self.conv_head16 = _ConvNorm(128, 128)
        self.conv_avg = _ConvNorm(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, 128, height / 8, width / 8), twice."""
        eighth, sixteenth, last = self.resnet(x)
        wide = self.arm32(last) + self.conv_avg(_mean(last))
        wide = self.conv_head32(functional.interpolate(wide, sixteenth.shape[2:]))
        near = self.arm16(sixteenth) + wide
        return eighth, self.conv_head16(functional.interpolate(near, eighth.shape[2:]))


class _Fusion(nn.Module):
    """Both views in one."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.convblk = _ConvNorm(taken, given, 1)
        self.conv1 = nn.Conv2d(given, given // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(given // 4, given, 1, bias=False)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        both = self.convblk(torch.cat([fine, coarse], dim=1))
        return both + both * torch.sigmoid(self.conv2(functional.relu(self.conv1(_mean(both)))))


class _Head(nn.Module):
    """Scores of the classes."""

    def __init__(self, taken: int, inner: int, classes: int) -> None:
        super().__init__()
        self.conv = _ConvNorm(taken, inner)
        self.conv_out = nn.Conv2d(inner, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.conv_out(self.conv(x)))


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)
