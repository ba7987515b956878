"""Networks by name."""

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lightning_fv.errors import NetworkError, nearest
from lightning_fv.functional import torch_defaults
from lightning_fv.networks.antialiased import load_antialiased
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.checkpoint import load_checkpoint
from lightning_fv.networks.demo import NAMES, load_demo
from lightning_fv.networks.ensemble import EnsembleNetwork
from lightning_fv.networks.stylized import load_stylized
from lightning_fv.networks.timm import knows, load_timm
from lightning_fv.networks.torchvision import builders, load_torchvision


class Source(NamedTuple):
    """A source of networks."""

    load: Callable[[str, str | Path | None, bool], VisionNetwork]
    """Takes what follows the source's name and a slash, then ``weights`` and ``offline`` of `load_network`."""
    names: tuple[str, ...]
    """The forms of its networks' names, for messages."""


SOURCES = {
    "demo": Source(load_demo, NAMES),
    "torchvision": Source(load_torchvision, ("torchvision/BUILDER[:WEIGHTS]",)),
    "timm": Source(load_timm, ("timm/NAME",)),
    "antialiased": Source(load_antialiased, ("antialiased/resnet50[:VARIANT]",)),
    "stylized": Source(load_stylized, ("stylized/VARIANT",)),
}


@contextlib.contextmanager
def _drawn_by(name: str) -> Iterator[None]:
    """Draw random weights that depend on a network's name alone; the CPU's global generator is as before afterwards.

    A run on an untrained network is then continued, shared by several processes and reported on like any other. The members of an ensemble differ.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(zlib.crc32(name.encode()))
        yield


@torch_defaults()
def load_network(
    name: str,
    weights: str | Path | None = "default",
    *,
    offline: bool = False,
    architecture: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: int | tuple[int, int] | None = None,
    categories: Sequence[str] | None = None,
    channel_axes: Mapping[str, int] | None = None,
) -> VisionNetwork:
    """Load a network with its weights, preprocessing and class names, in evaluation mode and frozen.

    Args:
        name: ``demo``, the embedded network (24 classes of photos at 64 px), its twins ``demo/antialiased``,
            ``demo/stylized``, ``demo/plain`` and ``demo/robust``, the vision transformer ``demo/vit``; ``torchvision/resnet50`` or ``torchvision/resnet50:IMAGENET1K_V1``;
            ``timm/resnet18.a1_in1k``; ``antialiased/resnet50`` with ``:lpf2`` to ``:lpf5`` or ``:lpf4_finetune`` (the
            default; Zhang 2019, non-commercial weights); ``stylized/resnet50_sin``, ``stylized/resnet50_sin_in`` or
            ``stylized/resnet50_shape`` (Geirhos et al. 2019); ``checkpoint:PATH``;
            ``ensemble:demo,demo/stylized``, several of these with the same classes at once, see `EnsembleNetwork`.
        weights: ``"default"`` for the published ones, None for an untrained network, whose random weights are the same for the same name, or
            a path to a file.
        offline: use the cache, never download. HF_HUB_OFFLINE=1 means the same.
        architecture: for ``checkpoint:`` only, a torchvision or timm name, such as ``torchvision/resnet18``.
        mean, std: per channel of [0, 1] photos; needed for ``checkpoint:``, else they replace the network's own.
        input_size: (height, width) in pixels, or one number for a square, instead of the network's own.
        categories: class names in the order of the logits, instead of the network's own.
        channel_axes: channel axis by layer name, where it cannot be inferred.

    Returns:
        The network; called on (B, 3, H, W) pictures in [0, 1], it returns logits (B, classes).

    Raises:
        NetworkError: no network of that name, or a checkpoint without architecture, mean or std.
        CheckpointError: the weights cannot be downloaded or read, or are of another architecture.
    """
    source, _, rest = name.partition("/")
    if name.startswith("checkpoint:"):
        classes = None if categories is None else len(categories)
        network = load_checkpoint(Path(name.removeprefix("checkpoint:")), architecture, mean, std, classes)
    elif name.startswith("ensemble:"):
        given = {"architecture": architecture, "mean": mean, "std": std, "input_size": input_size,
                 "categories": categories, "channel_axes": channel_axes}  # fmt: skip
        if weights not in (None, "default") or any(value is not None for value in given.values()):
            raise NetworkError(
                f"{name}: the networks of an ensemble bring their own weights, preprocessing and classes"
            )
        names = [one.strip() for one in name.removeprefix("ensemble:").split(",")]
        network = EnsembleNetwork([load_network(one, weights, offline=offline) for one in names])
    elif source not in SOURCES:
        names = [*(form for known in SOURCES.values() for form in known.names), "checkpoint:PATH", "ensemble:NAME,NAME"]
        near = _with_source(name) or nearest(name, names, 1)
        raise NetworkError(
            f"no network {name!r}; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}")
        )
    elif architecture is not None:
        raise NetworkError(f"architecture is for checkpoint:PATH; {name} brings its own")
    else:
        with _drawn_by(name):
            network = SOURCES[source].load(rest, weights, offline)
    if any(given is not None for given in (mean, std, input_size, categories, channel_axes)):
        network = VisionNetwork(
            network.module,
            mean=mean if mean is not None else network.mean,
            std=std if std is not None else network.std,
            input_size=input_size if input_size is not None else network.input_size,
            categories=categories if categories is not None else network.categories,
            name=network.name,
            fixed_size=network.fixed_size,
            channel_axes=channel_axes,
        )
    network.module.eval().requires_grad_(False)
    network.source = {
        "name": name,
        "weights": weights,
        "offline": offline,
        "architecture": architecture,
        "mean": None if mean is None else network.mean,
        "std": None if std is None else network.std,
        "input_size": None if input_size is None else network.input_size,
        "categories": None if categories is None else network.categories,
        "channel_axes": channel_axes,
    }
    return network


def _with_source(name: str) -> list[str]:
    """The network of that name, if only its source was left out."""
    if name.partition(":")[0] in builders():
        return [f"torchvision/{name}"]
    return [f"timm/{name}"] if knows(name) else []
