"""The architecture of the embedded demo networks: a small ResNet for 64 px photos."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from lightning_fv.errors import CheckpointError
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.weights import read_safetensors

ASSETS = Path(__file__).parents[1] / "assets"
DEMO_SHA256 = "4f699fa766a4dd689b31f102037637c487ea872c5fe2b1576df70283e3b8aa94"
WIDTHS = (32, 64, 128, 256)


class DemoNet(nn.Module):
    """A ResNet of four one-block stages behind a 5x5 stem of stride 2 (He et al. 2016), 1.2 M parameters.

    The named parts are those of torchvision's ResNet, so that layer names carry over: ``stem`` (32 channels, stride 2),
    ``layer1`` (32, 2), ``layer2`` (64, 4), ``layer3`` (128, 8), ``layer4`` (256, 16), ``fc`` (the class logits).

    Args:
        num_classes: number of class logits.

    Shape: normalised photos (B, 3, H, W), any H and W of 16 or more (trained at 64) -> logits (B, num_classes).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(inplace=True),
        )
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], stride=2)
        self.layer4 = _stage(WIDTHS[2], WIDTHS[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut))


def load_demo(weights: str | Path | None = "default") -> VisionNetwork:
    """The embedded demo network; see `lightning_fv.networks.load.load_network` and ``assets/SOURCES.md``.

    Raises:
        CheckpointError: the weights are missing, damaged or of another architecture.
    """
    file = ASSETS / "demo.safetensors"
    state, metadata = read_safetensors(file, DEMO_SHA256)
    if weights not in ("default", None):
        file = Path(str(weights))
        state, metadata = read_safetensors(file)
    try:
        categories = json.loads(metadata["categories"])
        module = DemoNet(len(categories))
        if weights is not None:
            module.load_state_dict(state, strict=True)
        return VisionNetwork(
            module.to(memory_format=torch.channels_last),
            mean=json.loads(metadata["mean"]),
            std=json.loads(metadata["std"]),
            input_size=tuple(json.loads(metadata["input_size"])),
            categories=categories,
            name="demo",
        )
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()
        raise CheckpointError(
            f"{file} does not hold a demo network of scripts/train_demo.py: {' '.join(reason[:2])}"
        ) from None
