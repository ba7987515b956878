"""Stages: a few layers from input to output, of networks of all kinds."""

import importlib.util
import itertools
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.networks.demo import NAMES
from lightning_fv.networks.stages import STAGES, stage_layers
from tests.helpers import TinyNet

RESNET = ["conv1", "layer1", "layer2", "layer3", "layer4", "logits"]


def network_of(module: nn.Module, size: int = 64, channels: int = 3) -> VisionNetwork:
    return VisionNetwork(module.eval(), mean=(0.5,) * channels, std=(0.2,) * channels, input_size=(size, size))


def conv(inputs: int = 3, outputs: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())


class Pooled(nn.Module):
    """A network inside of another, and a head."""

    def __init__(self, body: nn.Module, width: int = 4) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).mean((2, 3)))
        return logits


class Recurrent(nn.Module):
    """Runs one layer three times, and has one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.unused = conv(), conv(4), conv()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(3):
            x = self.again(x)
        return x.mean((2, 3))


MODULES: Mapping[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "one layer": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), ["0", "logits"]),
    "no map": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5)), ["logits"]),
    "without children": (lambda: nn.AvgPool2d(64), ["logits"]),
    "tiny": (TinyNet, ["conv1", "conv2", "logits"]),
    "recurrent": (Recurrent, ["first", "logits"]),
    "sequential": (
        lambda: nn.Sequential(*(conv(4 if number else 3) for number in range(12)), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        ["1", "3", "5", "7", "9", "11", "logits"],
    ),
    "seven": (
        lambda: nn.Sequential(*(conv(4 if number else 3) for number in range(7)), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        ["0", "1", "3", "4", "5", "6", "logits"],
    ),
    "three blocks": (
        lambda: nn.Sequential(
            *(nn.Sequential(*(conv(4 if block or number else 3) for number in range(4))) for block in range(3)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ),
        ["0.1", "0.3", "1.1", "1.3", "2.1", "2.3", "logits"],
    ),
    "wrapped": (
        lambda: Pooled(nn.Sequential(*(conv(4 if number else 3) for number in range(5)))),
        ["body.0", "body.1", "body.2", "body.3", "body.4", "logits"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODULES)
def test_stages_of_small_networks(kind: str) -> None:
    module, expected = MODULES[kind]
    assert stage_layers(network_of(module())) == expected


def test_a_grey_network_has_stages() -> None:
    module = nn.Sequential(conv(1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert stage_layers(network_of(module, channels=1)) == ["0", "logits"]


@pytest.mark.parametrize("name", NAMES)
def test_stages_of_the_embedded_networks(name: str) -> None:
    blocks = ["stem", *RESNET[1:]] if name != "demo/vit" else None
    found = stage_layers(load_network(name))
    assert found == blocks or (
        blocks is None and [n.rpartition(".")[0] for n in found[:-1]] == ["blocks"] * len(found[:-1])
    )
    assert 4 < len(found) <= STAGES + 1
    assert found[-1] == "logits"


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("resnet50", RESNET),
        ("vgg16", [f"features.{number}" for number in (2, 7, 12, 19, 24, 28)] + ["logits"]),
        ("vit_b_16", [f"encoder.layers.encoder_layer_{number}" for number in (1, 3, 5, 7, 9, 11)] + ["logits"]),
        ("densenet121", None),
        ("mobilenet_v3_small", None),
        ("swin_t", None),
        ("convnext_tiny", None),
        ("squeezenet1_1", None),
        ("googlenet", None),
    ],
)
def test_stages_of_torchvision(architecture: str, expected: list[str] | None) -> None:
    options = {"init_weights": False} if architecture in ("googlenet", "vgg16") else {}
    network = network_of(
        models.get_model(architecture, weights=None, **options), 224 if architecture == "vit_b_16" else 64
    )
    found = stage_layers(network)
    assert expected is None or found == expected
    check(network, found)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize(("architecture", "prefix"), [("vit_tiny_patch16_224", "blocks."), ("resnet18", "")])
def test_stages_of_timm(architecture: str, prefix: str) -> None:
    import timm

    network = network_of(timm.create_model(architecture, pretrained=False), 224)
    found = stage_layers(network)
    check(network, found)
    assert all(name.startswith(prefix) for name in found[:-1])


def check(network: VisionNetwork, found: list[str]) -> None:
    """Several different ones, in the order in which they run, whose activations can be read, and the logits."""
    assert 4 <= len(found) <= STAGES + 1
    assert found[-1] == "logits"
    order = [info.name for info in network.layers()]
    assert all(order.index(one) < order.index(other) for one, other in itertools.pairwise(found))
    with network.frozen(), torch.no_grad():
        read = network.activations(torch.rand(2, network.channels, *network.input_size), found)
    assert all(values.ndim > 2 and values.shape[1] > 1 for name, values in read.items() if name != "logits")
