"""Layer outputs, captured by forward hooks that are always removed."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightning_fv.errors import CaptureError, LayerNotFoundError, nearest

LOGITS = "logits"
"""The layer name that means the network's own output."""

_LAYER = re.compile(r"(?P<name>[^#\[\]]*)(?:#(?P<call>[0-9]{1,18}))?(?:\[(?P<item>[^\[\]]+)\])?")


@dataclass(frozen=True)
class LayerInfo:
    """What one probe forward found out about a module.

    Attributes:
        name: dotted module name; "logits" for the network's output.
        type: class name of the module.
        shape: shape of its output for one picture, batch axis first; None if it is not a single tensor or the module never ran.
        calls: how many times it ran.
        axis: the channel axis of the output; None if it has none or it cannot be inferred.
        items: those of a tuple, list or dict output: index or key -> shape (None if not a tensor).
    """

    name: str
    type: str
    shape: tuple[int, ...] | None
    calls: int
    axis: int | None = None
    items: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)

    @property
    def units(self) -> int | None:
        """How many channels the layer has."""
        return self.shape[self.axis] if self.shape is not None and self.axis is not None else None


def parse_layer(layer: str) -> tuple[str, int, str | None]:
    """A layer as written -> module name, which of its runs (from 0), and which item of its output.

    >>> parse_layer("layer1.0.relu#1"), parse_layer("encoder.attention[0]")
    (('layer1.0.relu', 1, None), ('encoder.attention', 0, '0'))

    Raises:
        CaptureError: it cannot be parsed.
    """
    match = _LAYER.fullmatch(layer)
    if match is None:
        raise CaptureError(f"cannot read the layer {layer[:200]!r}; write NAME, NAME#RUN, NAME[ITEM] or NAME#RUN[ITEM]")
    return match["name"], int(match["call"] or 0), match["item"]


class _Stop(Exception):  # noqa: N818  not an error: ends a forward once everything requested is captured
    pass


def capture(network: nn.Module, inputs: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
    """Run a network and return the outputs of the named layers; the forward ends after the last of them.

    Outputs are cloned, since a later in-place operation would change them, except the last one, after which the forward
    ends. Hooks are registered for this call only and removed even after an exception.

    Args:
        network: the module to run.
        inputs: its input, (B, ...).
        layers: dotted module names, or "logits" for the network's output. ``name#k`` is the k-th run (from 0) of a
            module that runs more than once; ``name[i]`` or ``name[key]`` an item of a tuple or dict.

    Returns:
        Layer name, as requested -> output.

    Raises:
        LayerNotFoundError: the network has no such module.
        CaptureError: a layer did not run, or its output is not a tensor.
    """
    found: dict[str, Tensor] = {}
    parsed = {layer: parse_layer(layer) for layer in layers}
    wanted = len(parsed)  # hooks alone never reach it if the network's output is requested
    handles = []
    stop = _Stop()
    try:
        for layer, (name, call, item) in parsed.items():
            if name != LOGITS:
                hook = _hook(layer, call, item, found, wanted, stop)
                handles.append(_module(network, name).register_forward_hook(hook))
        output = network(inputs)
        for layer, (name, _, item) in parsed.items():
            if name == LOGITS:
                found[layer] = _tensor(layer, output, item)
    except _Stop as reached:
        if reached is not stop:
            raise
        stop.__traceback__ = (
            None  # which holds this frame, which holds it: all activations would wait for the garbage collection
        )
    finally:
        for handle in handles:
            handle.remove()
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise CaptureError(f"layer {missing[0]!r} did not run in the network's forward; choose one that does")
    return found


def _module(network: nn.Module, name: str) -> nn.Module:
    try:
        if name:  # the empty name is the network itself, whose output is called logits
            return network.get_submodule(name)
    except AttributeError:
        pass
    raise layer_not_found(name, list(_modules(network)))


def _modules(network: nn.Module) -> dict[str, nn.Module]:
    """Modules inside a network by name, but for TorchScript programs, which take no hooks."""
    return {
        name: part for name, part in network.named_modules() if name and not isinstance(part, torch.jit.ScriptModule)
    }


def _hook(
    layer: str, call: int, item: str | None, found: dict[str, Tensor], wanted: int, stop: _Stop
) -> Callable[[nn.Module, Any, Any], None]:
    runs = 0

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == call + 1:
            found[layer] = _tensor(layer, output, item)
            if len(found) == wanted:
                raise stop
            found[layer] = found[layer].clone()

    return hook


def _tensor(layer: str, output: Any, item: str | None) -> Tensor:
    parts = output_items(output)
    if item is not None:
        if item not in parts:
            held = f" of {', '.join(parts)}" if parts else ""
            raise CaptureError(f"layer {layer!r} outputs a {type(output).__name__}{held}, which has no item {item!r}")
        output = parts[item]
    if not isinstance(output, Tensor):
        raise CaptureError(not_a_tensor(layer, _shapes(parts)))
    if output.is_complex() or output.layout != torch.strided:
        kind = str(output.dtype if output.is_complex() else output.layout).removeprefix("torch.")
        raise CaptureError(f"layer {layer!r} outputs {kind} numbers, which cannot be maximised; choose another layer")
    return output


def output_items(output: Any) -> dict[str, Any]:
    """The items of a tuple, list or dict, by index or key as text; empty for anything else."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if isinstance(output, tuple | list):
        return {str(number): value for number, value in enumerate(output)}
    return {}


def _shapes(items: Mapping[str, Any]) -> dict[str, tuple[int, ...] | None]:
    return {key: tuple(value.shape) if isinstance(value, Tensor) else None for key, value in items.items()}


def not_a_tensor(layer: str, items: Mapping[str, tuple[int, ...] | None]) -> str:
    """The message for an output that is not a tensor, with the items to choose from."""
    tensors = [f"{layer}[{key}] {shape}" for key, shape in items.items() if shape is not None]
    if not tensors:
        return f"layer {layer!r} does not output a single tensor; choose a layer inside it"
    return f"layer {layer!r} does not output a single tensor; choose one of its items: {', '.join(tensors)}"


def layer_not_found(name: str, names: Collection[str]) -> LayerNotFoundError:
    """The error for a wrong layer name, with the nearest names."""
    near = nearest(name[:200], names)
    hint = f"did you mean {', '.join(near)}?" if near else f"its layers: {', '.join(list(names)[:12])}"
    return LayerNotFoundError(
        f"no layer {name[:200]!r} in the network; {hint} (lightning-fv layers NETWORK lists them)"
    )


@torch.no_grad()
def probe(network: nn.Module, inputs: Tensor) -> list[LayerInfo]:
    """Run a network once and list its modules in the order of their first run, then those that never ran.

    The last entry is "logits", the network's output. A picture that is not square identifies channel axes best.
    """
    calls: Counter[str] = Counter()
    outputs: dict[str, tuple[tuple[int, ...] | None, dict[str, tuple[int, ...] | None]]] = {}
    handles = []
    modules = _modules(network)
    size = (inputs.shape[-2], inputs.shape[-1])

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            calls[name] += 1
            outputs.setdefault(name, (_shape(output), _shapes(output_items(output))))

        return hook

    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(watch(name)))
        output = network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    outputs[LOGITS] = _shape(output), _shapes(output_items(output))
    calls[LOGITS] = 1
    infos = []
    for name in [*outputs, *(name for name in modules if name not in outputs)]:
        shape, items = outputs.get(name, (None, {}))
        kind = type(network if name == LOGITS else modules[name]).__name__
        infos.append(LayerInfo(name, kind, shape, calls[name], channel_axis(shape, size), items))
    return sorted(infos, key=lambda info: info.name == LOGITS)  # stable: the output comes last


def _shape(output: Any) -> tuple[int, ...] | None:
    return tuple(output.shape) if isinstance(output, Tensor) else None


def channel_axis(shape: tuple[int, ...] | None, size: tuple[int, int]) -> int | None:
    """The channel axis of an output of shape (1, ...) for a picture of ``size``; None if it cannot be inferred.

    (B, C) has its channels at 1, (B, tokens, C) at the end, as in a ViT. With four axes, the two that keep the picture's
    aspect ratio are the map: (B, C, H, W) as in convolutions or (B, H, W, C) as in a Swin transformer. An output whose
    first axis is not the batch, such as attention windows, has none.
    """
    if shape is None or len(shape) not in (2, 3, 4) or shape[0] != 1:
        return None
    if len(shape) < 4:
        return len(shape) - 1

    def misfit(height: int, width: int) -> float:
        return abs(height * size[1] / size[0] - width)

    first, last = misfit(*shape[2:]), misfit(*shape[1:3])
    if min(first, last) > 1 or first == last:
        return None
    return 1 if first < last else 3
