"""Small finished runs with photos to compare them with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lightning_fv import VisionNetwork, render, resolve_targets
from lightning_fv.objectives import Objective
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.runs.folder import RunFolder
from lightning_fv.targets import Target
from lightning_fv.trust.report import ReportInputs
from lightning_fv.trust.responses import NetworkResponses
from tests.helpers import TinyNet

SIZE = (16, 20)
CLASSES = ("lion", "pizza", "iPod", "espresso", "school bus")
COUNT = 100


def network_of(module: nn.Module | None = None, name: str = "tiny", **options: Any) -> VisionNetwork:
    """A tiny network with class names."""
    settings: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "input_size": SIZE, "categories": CLASSES}
    return VisionNetwork((module or TinyNet()).eval(), name=name, **{**settings, **options})


def one_channel() -> VisionNetwork:
    """A network of grey pictures with the same classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1)
        module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return network_of(module, "grey", mean=(0.5,), std=(0.2,))


def write_photos(folder: Path, count: int = COUNT, seed: int = 0) -> Path:
    """Photos of one colour each with noise, in folders of the classes' names."""
    draws = np.random.default_rng(seed)
    for number in range(count):
        label = CLASSES[number % len(CLASSES)]
        (folder / label).mkdir(parents=True, exist_ok=True)
        pixels = draws.uniform(0, 255, 3) * 0.6 + draws.uniform(0, 100, (*SIZE, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{number:03}.png")
    return folder


def pixels_of(folder: Path) -> Tensor:
    """All photos in the order of `PhotoFolder`, (N, 3, H, W) in [0, 1], read independently."""
    files = sorted(folder.rglob("*.png"), key=lambda file: file.as_posix())
    pictures = [torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1) for file in files]
    return torch.stack(pictures).float() / 255


def rendered(folder: Path, network: VisionNetwork, targets: Any, seed: int = 0, **options: Any) -> RunFolder:
    """A finished run of two steps."""
    settings: dict[str, Any] = {"steps": 2, "batch_size": 2, "accelerator": "cpu", "progress": False, **options}
    render(network, targets, out=folder, seed=seed, **settings)
    return RunFolder(folder)


def inputs_of(network: VisionNetwork, targets: Any, photos: Path, **options: Any) -> ReportInputs:
    chosen = {target.id: target for target in resolve_targets(targets, network)}
    return ReportInputs(network, chosen, PhotoFolder(photos), **options)


def targets_of(network: VisionNetwork, *targets: str | Objective) -> list[Target]:
    return resolve_targets(list(targets), network)


def responses_of(network: VisionNetwork, photos: Path, targets: Sequence[Target] = ()) -> NetworkResponses:
    return NetworkResponses.of(network, PhotoFolder(photos), [target.objective for target in targets])
