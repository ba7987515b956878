"""Second opinions on a run's pictures: networks of other architectures, trained separately on the same photos.

    python scripts/judge.py RUN

prints, for each picture of a class in the run folder RUN, the probability that the visualized network gives it, and the
probability and rank of the class under each judge. The judges are kept with the tests (tests/assets), outside of the package.

``judge`` is the one that choices are made by: it was trained with noise, as the visualized networks were, and it helped to choose
the default recipe. ``mixer`` and ``dense`` report: nothing was ever chosen by them. They were trained without noise and with
other augmentations; ``dense`` sees pictures at half their resolution.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_fv.functional import resize_images
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.weights import read_metadata, read_weights
from lightning_fv.report import read_picture
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import read_manifest

ASSETS = Path(__file__).parents[1] / "tests" / "assets"
CHOOSING = "judge"
REPORTING = ("mixer", "dense")


class JudgeNet(nn.Module):
    """Plain convolutions with max pooling and GELU (VGG's layout, Simonyan & Zisserman 2015), 1.4 M parameters.

    No shortcut, no strided convolution, no ReLU: what fools the demo network's ResNet need not fool this one.

    Shape: normalised photos (B, 3, H, W) -> logits (B, num_classes).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        plan = ((3, 32), (32, 48), None, (48, 80), (80, 96), None, (96, 160), (160, 160), None, (160, 256), (256, 256))
        layers: list[nn.Module] = []
        for step in plan:
            if step is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(*step, 3, padding=1, bias=False), nn.BatchNorm2d(step[1]), nn.GELU()]
            if step == (3, 32):
                layers.append(nn.MaxPool2d(2))  # full resolution costs most and helps least
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x).amax((2, 3)))
        return logits


class MixerJudge(nn.Module):
    """Patches of 4 px mixed by 7x7 depthwise convolutions (ConvMixer, Trockman & Kolter 2022), 65,000 parameters.

    It never sees detail below a patch through a small filter, as the networks that it rates do.

    Shape: normalised photos (B, 3, H, W), H and W multiples of 4 -> logits (B, num_classes).
    """

    def __init__(self, num_classes: int, width: int = 96, depth: int = 4) -> None:
        super().__init__()

        def activated(conv: nn.Conv2d) -> nn.Sequential:
            return nn.Sequential(conv, nn.GELU(), nn.BatchNorm2d(width))

        self.stem = activated(nn.Conv2d(3, width, 4, stride=4))
        self.spatial = nn.ModuleList(
            activated(nn.Conv2d(width, width, 7, padding=3, groups=width)) for _ in range(depth)
        )
        self.pointwise = nn.ModuleList(activated(nn.Conv2d(width, width, 1)) for _ in range(depth))
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for spatial, pointwise in zip(self.spatial, self.pointwise, strict=True):
            x = pointwise(x + spatial(x))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class DenseJudge(nn.Module):
    """A small DenseNet (Huang et al. 2017) that averages its input over 2 x 2 px first, 0.15 M parameters.

    At half the resolution of the networks that it rates, 32 px for photos of 64 px, fine texture is gone.

    Shape: normalised photos (B, 3, H, W), H and W multiples of 8 -> logits (B, num_classes).
    """

    def __init__(self, num_classes: int, growth: int = 16, plan: tuple[int, ...] = (3, 4, 6)) -> None:
        super().__init__()
        channels = 2 * growth
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        for depth in plan:
            self.blocks.append(nn.ModuleList(self._normed(channels + growth * i, growth, 3) for i in range(depth)))
            channels += growth * depth
            if len(self.blocks) < len(plan):
                self.transitions.append(nn.Sequential(*self._normed(channels, channels // 2, 1), nn.AvgPool2d(2)))
                channels //= 2
        self.norm = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)

    @staticmethod
    def _normed(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(nn.BatchNorm2d(inputs), nn.SiLU(), conv)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(F.avg_pool2d(x, 2))
        for number, block in enumerate(self.blocks):
            for layer in block:  # type: ignore[attr-defined]
                x = torch.cat([x, layer(x)], 1)
            if number < len(self.transitions):
                x = self.transitions[number](x)
        logits: Tensor = self.fc(F.silu(self.norm(x)).mean((2, 3)))
        return logits


JUDGES: dict[str, Callable[[int], nn.Module]] = {"judge": JudgeNet, "mixer": MixerJudge, "dense": DenseJudge}


def load_judge(name: str = CHOOSING, weights: Path | None = None) -> VisionNetwork:
    """A judge with its preprocessing and class names.

    Args:
        name: ``judge``, which chooses, or one of those that report, ``mixer`` and ``dense``.
        weights: a file of scripts/train_demo.py; default: the one in tests/assets.
    """
    file = weights or ASSETS / ("judge.safetensors" if name == CHOOSING else f"judge_{name}.safetensors")
    state, metadata = read_weights(file), read_metadata(file)
    categories = json.loads(metadata["categories"])
    module = JUDGES[name](len(categories))
    module.load_state_dict(state)
    return VisionNetwork(
        module.eval().requires_grad_(False),
        mean=json.loads(metadata["mean"]),
        std=json.loads(metadata["std"]),
        input_size=tuple(json.loads(metadata["input_size"])),
        categories=categories,
        name=name,
        photos="tiny_imagenet",
    )


@torch.no_grad()
def judge(network: VisionNetwork, pictures: Tensor, own_size: bool = False) -> Tensor:
    """Probabilities (B, classes) that a network gives to pictures (B, 3, H, W) in [0, 1].

    Args:
        network: judges.
        pictures: shown at the network's size.
        own_size: show them as they are instead.
    """
    shown = pictures if own_size else resize_images(pictures, network.input_size)
    probabilities: Tensor = network(shown).softmax(1)
    return probabilities


def read_image(path: Path) -> Tensor:
    """A picture as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(read_picture(path))).permute(2, 0, 1)[None].float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder of scripts/fit.py")
    run = parser.parse_args().run
    manifest = RunFolder(run).manifest
    if not manifest.is_file():
        parser.error(f"{run} holds no {manifest.name}; give the folder of a run, such as lightning_logs/version_0")
    networks = [load_judge(name) for name in (CHOOSING, *REPORTING)]
    found: list[tuple[float, list[tuple[float, int]]]] = []
    print(f"{'target':28} {'p(network)':>10}" + "".join(f"{network.name:>8} {'rank':>4}" for network in networks))
    for record in read_manifest(manifest):
        kind, _, category = (record.unit or record.target).partition(":")
        if kind not in ("logits", "probability") or record.image is None or category not in networks[0].categories:
            continue
        picture, own = read_image(run / record.image), float(record.scores.get("probability", float("nan")))
        opinions = [opinion(network, picture, category) for network in networks]
        print(f"{record.target:28} {own:10.3f}" + "".join(f"{p:8.3f} {rank:4}" for p, rank in opinions))
        found.append((own, opinions))
    if not found:
        parser.error(f"{run} holds no picture of a class that the judges know")
    total = len(found)
    print(f"probability of at least 0.9 under the network: {sum(own >= 0.9 for own, _ in found)} of {total}")
    for number, network in enumerate(networks):
        kind = "choosing" if network.name == CHOOSING else "reporting"
        mean = sum(opinions[number][0] for _, opinions in found) / total
        hits = sum(opinions[number][1] == 1 for _, opinions in found)
        print(f"{network.name} ({kind}): mean probability {mean:.3f}, top-1 {hits} of {total}")


def opinion(network: VisionNetwork, picture: Tensor, category: str, own_size: bool = False) -> tuple[float, int]:
    """Probability and rank, from 1, of a class for one picture (1, 3, H, W)."""
    (probabilities,) = judge(network, picture, own_size)
    unit = network.categories.index(category)
    return float(probabilities[unit]), 1 + int((probabilities > probabilities[unit]).sum())


if __name__ == "__main__":
    main()
