"""Networks of torchvision: every classification builder, with its published weights."""

from pathlib import Path
from typing import Any

import torchvision.models
from torch import nn
from torchvision.models import ResNet50_Weights

from lightning_fv.errors import NetworkError, nearest
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.download import WeightsFile, fetch, hash_in_name
from lightning_fv.networks.weights import load_strictly, read_weights

# What builders set themselves when they are given weights, and what avoids a slow initialisation.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True, "aux_logits": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "aux_logits": True, "init_weights": False},
}


def builders() -> list[str]:
    """Names of torchvision's classification builders."""
    return list(torchvision.models.list_models(module=torchvision.models))


def load_torchvision(name: str, weights: str | Path | None = "default", offline: bool = False) -> VisionNetwork:
    """A torchvision classification network.

    Args:
        name: the builder, such as ``resnet50``, or with the tag of published weights, ``resnet50:IMAGENET1K_V1``;
            without a tag, torchvision's default.
        weights: ``"default"`` for the published ones, None for untrained, or a path to a weights file.
        offline: use the cache, never download.

    Raises:
        NetworkError: no such builder or tag.
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """
    builder, _, tag = name.partition(":")
    if builder not in builders():
        near = nearest(builder, builders())
        hint = f"did you mean {', '.join(near)}?" if near else "see torchvision's list of classification models"
        raise NetworkError(f"torchvision has no classification network {builder!r}; {hint}")
    published = torchvision.models.get_model_weights(builder)
    if tag and tag not in published.__members__:
        raise NetworkError(f"torchvision/{builder} has no weights {tag!r}; it has {', '.join(published.__members__)}")
    entry = published[tag] if tag else published.DEFAULT
    module = build_torchvision(builder, min(entry.meta["min_size"]))
    if weights is not None:
        size = round(entry.meta.get("_file_size", 0) * 2**20) or None  # from MiB
        file = WeightsFile(entry.url, hash_in_name(entry.url), size)
        _fill(module, file, weights, offline, f"torchvision/{builder}")
    preset = entry.transforms()
    side = preset.crop_size[0]
    return VisionNetwork(
        module.eval().requires_grad_(False),
        mean=preset.mean,
        std=preset.std,
        input_size=(side, side),
        categories=entry.meta["categories"],
        name=f"torchvision/{name}",
        fixed_size=builder.startswith(("vit_", "maxvit_")),
    )


def build_torchvision(builder: str, side: int = 224, num_classes: int = 1000) -> nn.Module:
    """An untrained torchvision network; ``side`` in pixels is for those whose weights depend on it."""
    arguments = dict(_ARGUMENTS.get(builder, {}))
    if builder.startswith("vit_"):
        arguments["image_size"] = side
    if builder.startswith("maxvit_"):
        arguments["input_size"] = (side, side)
    module: nn.Module = torchvision.models.get_model(builder, weights=None, num_classes=num_classes, **arguments)
    return module


def _fill(
    module: nn.Module, file: WeightsFile, weights: str | Path, offline: bool, architecture: str | None = None
) -> None:
    """Load the published file, or the given one in its place, into a module; ``architecture`` as in `load_strictly`."""
    if weights == "default":
        path = fetch(file, offline)
        state = read_weights(path, file.sha256)
    else:
        path = Path(weights)
        state = read_weights(path)
    load_strictly(module, state, str(path), architecture)


def like_torchvision_resnet50(
    module: nn.Module, name: str, file: WeightsFile, weights: str | Path | None, offline: bool
) -> VisionNetwork:
    """A network with the classes and preprocessing of torchvision's ResNet-50, and weights published elsewhere.

    Args:
        module: untrained.
        name: what to call it.
        file: the published weights.
        weights: ``"default"`` for those, None for untrained, or a path to a weights file.
        offline: use the cache, never download.

    Raises:
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """
    if weights is not None:
        _fill(module, file, weights, offline)
    entry = ResNet50_Weights.IMAGENET1K_V1
    preset = entry.transforms()
    return VisionNetwork(
        module.eval().requires_grad_(False),
        mean=preset.mean,
        std=preset.std,
        categories=entry.meta["categories"],
        name=name,
    )
