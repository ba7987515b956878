"""Which convolutions of a network can take over the BatchNorm that follows them, found out by running it."""

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_fv.networks.capture import output_items
from lightning_fv.networks.frozen import memory_efficient_layers

TOLERANCE = 1e-3
"""The most that an output may differ by, relative to its mean magnitude; rounding makes about 1e-6 of it, a wrong factor 1."""


@torch.no_grad()
def foldable(module: nn.Module, size: tuple[int, int, int]) -> dict[nn.Conv2d, nn.BatchNorm2d]:
    """The convolutions whose output goes to one BatchNorm and nowhere else, with that BatchNorm.

    Such a pair is one convolution, with weights ``scale * w`` and bias ``scale * b + shift``, where the BatchNorm in evaluation mode is
    ``scale * x + shift`` (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    eq. 14). Code cannot tell what else reads an output, such as a function in a module's forward, so the network is run with
    and without: with noise as its input, all outputs of all its modules but those convolutions' own must be the same but for rounding. If they
    are not, or the network cannot process noise, nothing is folded.

    Args:
        module: in evaluation mode, without gradients of its parameters.
        size: (C, H, W) of an input that it can process.

    Returns:
        Empty for a network without such pairs.
    """
    if not {nn.Conv2d, nn.BatchNorm2d} <= {type(part) for part in module.modules()}:
        return {}
    device = next(module.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        noise = torch.randn(1, *size, generator=torch.Generator().manual_seed(0)).to(device)
        try:
            pairs = _pairs(module, noise)
            if not pairs:
                return {}
            with memory_efficient_layers(module):
                expected = _outputs(module, noise, pairs)
            with memory_efficient_layers(module, pairs):
                found = _outputs(module, noise, pairs)
        except Exception:  # of whatever the module's code does; it will do it again where the error can be told
            return {}
    same = found.shape == expected.shape and torch.isfinite(expected).all()
    if same and bool(((found - expected).abs() <= TOLERANCE * expected[:, 1:]).all()):
        return pairs
    return {}


def _pairs(module: nn.Module, inputs: Tensor) -> dict[nn.Conv2d, nn.BatchNorm2d]:
    """The convolutions that are followed by one and the same BatchNorm, which follows no other layer, in each of their runs."""
    outputs: list[tuple[weakref.ref[Tensor], nn.Conv2d]] = []
    runs: dict[nn.Module, list[nn.Module | None]] = {}

    def after(layer: nn.Module, args: Any, output: Any) -> None:
        assert isinstance(layer, nn.Conv2d)
        if isinstance(output, Tensor):
            outputs.append((weakref.ref(output), layer))
        runs.setdefault(layer, [])

    def before(layer: nn.Module, args: Any) -> None:
        source = next((conv for output, conv in reversed(outputs) if args and output() is args[0]), None)
        runs.setdefault(layer, []).append(source)
        if source is not None:
            runs[source].append(layer)

    handles = []
    convolutions = [part for part in module.modules() if type(part) is nn.Conv2d]
    try:
        for part in module.modules():
            if type(part) is nn.Conv2d:
                handles.append(part.register_forward_hook(after))
            elif type(part) is nn.BatchNorm2d:
                handles.append(part.register_forward_pre_hook(before))
        module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    ran = [conv for _, conv in outputs]
    pairs: dict[nn.Conv2d, nn.BatchNorm2d] = {}
    for conv in convolutions:
        norms = runs.get(conv, [])
        norm = norms[0] if norms else None
        if isinstance(norm, nn.BatchNorm2d) and norms == [norm] * ran.count(conv) and set(runs[norm]) == {conv}:
            pairs[conv] = norm
    return pairs


def _outputs(module: nn.Module, inputs: Tensor, without: Mapping[nn.Conv2d, nn.BatchNorm2d]) -> Tensor:
    """Mean and mean magnitude (N, 2) of all outputs of all modules in the order of their runs."""
    found: list[Tensor] = []

    def note(layer: nn.Module, args: Any, output: Any) -> None:
        parts: list[Any] = [output]
        while parts:
            part = parts.pop()
            if isinstance(part, Tensor):
                values = part.double() if not part.is_complex() else torch.view_as_real(part).double()
                found.append(torch.stack([values.mean(), values.abs().mean()]))
            else:
                parts.extend(output_items(part).values())

    handles = [part.register_forward_hook(note) for part in module.modules() if part not in without]
    try:
        module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found)
