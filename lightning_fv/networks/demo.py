"""The embedded demo networks: a small ResNet for 64 px photos, its twins, and a vision transformer."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from lightning_fv.errors import CheckpointError, NetworkError, nearest
from lightning_fv.networks.antialiased import BlurPool
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.vit import DemoViT
from lightning_fv.networks.weights import load_strictly, read_metadata, read_weights

ASSETS = Path(__file__).parents[1] / "assets"
WIDTHS = (32, 64, 128, 256)


class DemoNet(nn.Module):
    """A ResNet of four one-block stages behind a 5x5 stem of stride 2 (He et al. 2016), 1.2 M parameters.

    The named parts are those of torchvision's ResNet, so that layer names carry over: ``stem`` (32 channels, stride 2),
    ``layer1`` (32, 2), ``layer2`` (64, 4), ``layer3`` (128, 8), ``layer4`` (256, 16), ``fc`` (the class logits).

    Args:
        num_classes: number of class logits.
        filter_size: taps of the blur-pool in place of every stride, as in Zhang 2019: the stem's after its ReLU, a
            stage's before its second convolution and before its shortcut. None: plain strides.

    Shape: normalised photos (B, 3, H, W), H and W of at least 16 (trained at 64) -> logits (B, num_classes).
    """

    def __init__(self, num_classes: int, filter_size: int | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 5, stride=2 if filter_size is None else 1, padding=2, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(inplace=True),
        )
        if filter_size is not None:
            self.stem.append(BlurPool(WIDTHS[0], filter_size))
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], 1, filter_size)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], 2, filter_size)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], 2, filter_size)
        self.layer4 = _stage(WIDTHS[2], WIDTHS[3], 2, filter_size)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def _stage(inputs: int, outputs: int, stride: int, filter_size: int | None) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    block = BasicBlock(inputs, outputs, stride, shortcut)
    if stride != 1 and filter_size is not None:
        block.conv1.stride = (1, 1)
        block.conv2 = nn.Sequential(BlurPool(outputs, filter_size), block.conv2)
        conv, norm = block.downsample
        conv.stride = (1, 1)
        block.downsample = nn.Sequential(BlurPool(inputs, filter_size), conv, norm)
    return nn.Sequential(block)


@dataclass(frozen=True)
class Embedded:
    """An embedded network: its file, the file's SHA-256, and what makes its Module from the number of classes."""

    file: str
    sha256: str
    build: Callable[[int], nn.Module] = DemoNet


# Four twins of the first, each with one thing changed (blurred strides, texture randomized in training, no noise in training,
# adversarial training), and a transformer.
EMBEDDED = {
    "": Embedded("demo.safetensors", "4f699fa766a4dd689b31f102037637c487ea872c5fe2b1576df70283e3b8aa94"),
    "antialiased": Embedded(
        "demo_antialiased.safetensors",
        "592375c90b3d5c2aad3a194d7670b263f88530788a2a30f4df5f077c8eb898fa",
        partial(DemoNet, filter_size=3),
    ),
    "stylized": Embedded(
        "demo_stylized.safetensors", "3224964074248b45f45105283c78cb548d79ab700ba7413f7189abe83e3fc21e"
    ),
    "plain": Embedded("demo_plain.safetensors", "7129a98d25f08ce63c4f7cfc82aa07c19ac48aaf1ef44340337e4cbb06de6817"),
    "robust": Embedded("demo_robust.safetensors", "f8b1c6dfe55067338d6fd935f37267333d67885148a0c7df2173bfffb49c39ab"),
    "vit": Embedded(
        "demo_vit.safetensors", "9711c451aa55975995f19a5eaf0ac9d774ed47aa06ffe6ba80267c718f00f84d", DemoViT
    ),
}


NAMES = tuple(f"demo/{variant}" if variant else "demo" for variant in EMBEDDED)


def load_demo(variant: str = "", weights: str | Path | None = "default", offline: bool = False) -> VisionNetwork:
    """An embedded demo network; see `lightning_fv.networks.load.load_network` and ``assets/SOURCES.md``.

    Args:
        variant: what follows ``demo/``, a key of EMBEDDED.
        weights: ``"default"`` for the embedded ones, None for untrained, or a path to a file written by
            scripts/train_demo.py.
        offline: as for other networks; makes no difference, since nothing is downloaded.

    Raises:
        NetworkError: no such variant.
        CheckpointError: the weights are missing, damaged or of another architecture.
    """
    if variant not in EMBEDDED:
        near = nearest(variant, [name for name in EMBEDDED if name])
        hint = f"did you mean demo/{near[0]}?" if near else f"known: {', '.join(NAMES)}"
        raise NetworkError(f"no network 'demo/{variant}'; {hint}")
    known = EMBEDDED[variant]
    embedded = weights is None or weights == "default"
    file = ASSETS / known.file if embedded else Path(str(weights))
    state = read_weights(file, known.sha256 if embedded else None)
    metadata = read_metadata(file)
    try:
        categories = json.loads(metadata["categories"])
        module = known.build(len(categories))
        if weights is not None:
            load_strictly(module, state, str(file))
        return VisionNetwork(
            module.to(memory_format=torch.channels_last),
            mean=json.loads(metadata["mean"]),
            std=json.loads(metadata["std"]),
            input_size=tuple(json.loads(metadata["input_size"])),
            categories=categories,
            name=f"demo/{variant}" if variant else "demo",
            photos="tiny_imagenet",
        )
    except (
        KeyError,
        NetworkError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # or its metadata are of another kind
        reason = str(error).splitlines()
        raise CheckpointError(
            f"{file} does not contain a demo network of scripts/train_demo.py: {' '.join(reason[:2])}"
        ) from None
