"""ResNet-50 with blur-pool in place of every stride (Zhang 2019, "Making Convolutional Networks Shift-Invariant Again").

Built from torchvision's ResNet-50 and the paper's formula, without the authors' package.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from lightning_fv.errors import NetworkError
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.download import WeightsFile, hash_in_name
from lightning_fv.networks.torchvision import like_torchvision_resnet50

FILTER_SIZES = (2, 3, 4, 5)


class BlurPool(nn.Module):
    """Low-pass filter and subsample each channel separately.

    The filter is binomial: the outer product of row ``filter_size`` of Pascal's triangle with itself, normalised to sum
    1. It is saved with the weights, as buffer ``filt``. Borders are reflected: ``(filter_size - 1) // 2`` pixels left and
    above, the rest of ``filter_size - 1`` right and below, so the input must be larger than that.

    Args:
        channels: C.
        filter_size: filter taps along each side.
        stride: subsampling factor along each side.

    Shape: (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).
    """

    filt: Tensor

    def __init__(self, channels: int, filter_size: int, stride: int = 2) -> None:
        super().__init__()
        self.channels, self.filter_size, self.stride = channels, filter_size, stride
        row = torch.tensor([float(math.comb(filter_size - 1, i)) for i in range(filter_size)])
        taps = torch.outer(row, row) / 4 ** (filter_size - 1)
        self.register_buffer("filt", taps.repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        before = (self.filter_size - 1) // 2
        after = self.filter_size - 1 - before
        padded = F.pad(x, (before, after, before, after), mode="reflect")
        return F.conv2d(padded, self.filt, stride=self.stride, groups=self.channels)

    def extra_repr(self) -> str:
        return f"{self.channels}, filter_size={self.filter_size}, stride={self.stride}"


def antialiased_resnet50(filter_size: int) -> nn.Module:
    """Zhang's ResNet-50, untrained: torchvision's, with a blur before every subsampling except the first convolution's.

    - ``maxpool``: 2x2 with stride 1, then blur-pool.
    - ``layerN.0`` (N = 2, 3, 4): ``conv2`` with stride 1, then blur-pool before ``conv3``.
    - ``layerN.0.downsample``: blur-pool, then the 1x1 convolution with stride 1 and its normalisation.

    Names and order of the weights are those of the published files: 327 entries, 25,557,032 parameters.

    Args:
        filter_size: 2 to 5; must be that of the weights.

    Returns:
        The network: normalised photos (B, 3, H, W) -> logits (B, 1000), for H and W of at least 19 (filter sizes 2
        and 3) or 35 (4 and 5); trained at 224.

    Raises:
        NetworkError: the filter size is not 2 to 5.
    """
    if filter_size not in FILTER_SIZES:
        raise NetworkError(f"the antialiased ResNet-50 has filter sizes 2 to 5, not {filter_size!r}")
    net = torchvision.models.resnet50(weights=None)
    net.maxpool = nn.Sequential(nn.MaxPool2d(2, stride=1), BlurPool(64, filter_size))
    for stage in (net.layer2, net.layer3, net.layer4):
        block = stage[0]
        block.conv2.stride = (1, 1)
        block.conv3 = nn.Sequential(BlurPool(block.conv3.in_channels, filter_size), block.conv3)
        conv, norm = block.downsample
        conv.stride = (1, 1)
        block.downsample = nn.Sequential(BlurPool(conv.in_channels, filter_size), conv, norm)
    module: nn.Module = net
    return module


def _published(name: str) -> WeightsFile:
    url = f"https://antialiased-cnns.s3.us-east-2.amazonaws.com/weights_v0.1/{name}"
    return WeightsFile(
        url,
        hash_in_name(url),
        licence="weights by Adobe Research, CC BY-NC-SA 4.0: non-commercial use only",
        citation="R. Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019 (arXiv:1904.11486)",
    )


# Filter size and weights by name. `lpf4_finetune` (2020, fine-tuned from torchvision's weights) is the default, as with the
# authors' `pretrained=True`; the others are trained from scratch; 2, 3 and 5 are in the paper's tables.
# URLs as quoted by public code; whether they still work has not been checked.
ANTIALIASED: dict[str, tuple[int, WeightsFile]] = {
    "lpf4_finetune": (4, _published("resnet50_lpf4_finetune-cad66808.pth")),
    "lpf2": (2, _published("resnet50_lpf2-f0f7589d.pth")),
    "lpf3": (3, _published("resnet50_lpf3-a4e868d2.pth")),
    "lpf4": (4, _published("resnet50_lpf4-994b528f.pth")),
    "lpf5": (5, _published("resnet50_lpf5-9953c9ad.pth")),
}


def load_antialiased(name: str, weights: str | Path | None = "default", offline: bool = False) -> VisionNetwork:
    """The antialiased ResNet-50 by name: ``resnet50``, or ``resnet50:lpf2`` to ``lpf5`` and ``lpf4_finetune``.

    Args:
        name: what follows ``antialiased/``.
        weights: ``"default"`` for the published ones (non-commercial; the licence is printed before they are fetched),
            None for untrained, or a path to a weights file.
        offline: use the cache, never download.

    Raises:
        NetworkError: no such variant.
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """
    architecture, _, variant = name.partition(":")
    variant = variant or "lpf4_finetune"
    if architecture != "resnet50" or variant not in ANTIALIASED:
        raise NetworkError(
            f"no network 'antialiased/{name}'; give antialiased/resnet50:VARIANT, one of {', '.join(ANTIALIASED)}"
        )
    filter_size, file = ANTIALIASED[variant]
    return like_torchvision_resnet50(antialiased_resnet50(filter_size), f"antialiased/{name}", file, weights, offline)
