"""The user's own networks: a weights file and its architecture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_fv.errors import CheckpointError, NetworkError
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.timm import build_timm
from lightning_fv.networks.torchvision import build_torchvision, builders
from lightning_fv.networks.weights import load_strictly, misfits, read_weights


def load_checkpoint(
    path: Path,
    architecture: str | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    classes: int | None = None,
) -> VisionNetwork:
    """A network of a known architecture with weights from a file.

    Args:
        path: a state dict, bare or under ``state_dict`` or ``model``, as in Lightning's checkpoints; safetensors or torch's format. A prefix of all
            names, such as ``model.``, may be left.
        architecture: ``torchvision/NAME`` or ``timm/NAME``.
        mean, std: per channel of [0, 1] photos, that it was trained with.
        classes: number of logits; None to infer it from the last layer in the file.

    Raises:
        NetworkError: architecture, mean or std are not given, or the architecture is unknown.
        CheckpointError: the file is missing, damaged, or of another architecture.
    """
    if architecture is None:
        raise NetworkError("checkpoint:PATH needs --architecture, such as torchvision/resnet18")
    if mean is None or std is None:
        raise NetworkError(
            "checkpoint:PATH needs the --mean and --std it was trained with, such as --mean '[0.5, 0.5, 0.5]'"
        )
    state = read_weights(path)
    last = [tensor for name, tensor in state.items() if name.endswith(("weight", "bias")) and tensor.ndim > 0][-1:]
    count = classes or (last[0].shape[0] if last else 1000)
    _check_numbers(architecture, count, state, path)
    module = _build(architecture, count)
    load_strictly(module, state, str(path), names=classes)
    return VisionNetwork(module, mean=mean, std=std, name=f"checkpoint:{path.name}")


def _check_numbers(architecture: str, classes: int, state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse to build a network that is far larger than the file: the number of classes that a file declares may be anything."""
    try:
        with torch.device("meta"):  # takes no memory
            outline = _build(architecture, classes)
    except (NotImplementedError, RuntimeError):  # a constructor that looks at numbers
        return
    needed, given = (sum(tensor.numel() for tensor in one.values()) for one in (outline.state_dict(), state))
    if needed > 2 * given + 2**20:
        raise CheckpointError(
            f"{path} does not fit {type(outline).__name__} with {classes} classes: {misfits(outline, state)}; "
            "choose the architecture that these weights were made for"
        )


def _build(architecture: str, classes: int) -> nn.Module:
    kind, _, name = architecture.partition("/")
    if kind == "torchvision" and name in builders():
        return build_torchvision(name, num_classes=classes)
    if kind == "timm" and (module := build_timm(name, classes)) is not None:
        return module
    raise NetworkError(f"no architecture {architecture!r}; give torchvision/NAME or timm/NAME")
