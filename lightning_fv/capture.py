"""What layers give, read by forward hooks that are always removed."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_fv.errors import CaptureError, LayerNotFoundError, nearest

LOGITS = "logits"
"""The layer name that means the network's own output."""


@dataclass(frozen=True)
class LayerInfo:
    """What one probe forward saw of a module.

    Attributes:
        name: dotted module name; "logits" for the network's output.
        type: class name of the module.
        shape: shape of its output for one picture, batch axis first; None when it is not one tensor or never ran.
        calls: how many times it ran.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None
    calls: int


class _Stop(Exception):  # noqa: N818  not an error: ends a forward that has given all that was asked for
    pass


def capture(network: nn.Module, inputs: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
    """Run a network and return what the named layers give; the forward ends after the last of them.

    Outputs are clones, since a following in-place operation would change them; the one after which the forward ends
    needs none. Hooks are registered for this call alone and removed also after an exception.

    Args:
        network: the module to run.
        inputs: its input, (B, ...).
        layers: dotted module names, or "logits" for the network's output. ``name#k`` is the k-th run (from 0) of a
            module that runs more than once.

    Returns:
        Layer name -> output, keyed as asked for.

    Raises:
        LayerNotFoundError: the network has no such module.
        CaptureError: a layer did not run, or gave something else than a tensor.
    """
    found: dict[str, Tensor] = {}
    hooked = [layer for layer in layers if layer != LOGITS]
    wanted = len(hooked) if LOGITS not in layers else len(hooked) + 1  # never reached: the forward runs to its end
    handles = []
    stop = _Stop()
    try:
        for layer in hooked:
            name, _, call = layer.partition("#")
            if call and not call.isdigit():
                raise CaptureError(f"layer {layer!r}: what follows # is the number of the run, from 0")
            handles.append(
                _module(network, name).register_forward_hook(_hook(layer, int(call or 0), found, wanted, stop))
            )
        output = network(inputs)
        if LOGITS in layers:
            found[LOGITS] = _tensor(LOGITS, output)
    except _Stop as reached:
        if reached is not stop:
            raise
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
    raise layer_not_found(name, [known for known, _ in network.named_modules() if known])


def _hook(
    layer: str, call: int, found: dict[str, Tensor], wanted: int, stop: _Stop
) -> Callable[[nn.Module, Any, Any], None]:
    runs = 0

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == call + 1:
            found[layer] = _tensor(layer, output)
            if len(found) == wanted:
                raise stop
            found[layer] = found[layer].clone()

    return hook


def _tensor(layer: str, output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise CaptureError(f"layer {layer!r} gives a {type(output).__name__}, not a tensor; choose a layer inside it")
    return output


def layer_not_found(name: str, names: Collection[str]) -> LayerNotFoundError:
    """The error for a wrong layer name, with the nearest names."""
    near = nearest(name, names)
    hint = f"did you mean {', '.join(near)}?" if near else f"its layers: {', '.join(list(names)[:12])}"
    return LayerNotFoundError(f"no layer {name!r} in the network; {hint}")


@torch.no_grad()
def probe(network: nn.Module, inputs: Tensor) -> list[LayerInfo]:
    """Run a network once and list its modules in the order of their first run, then those that never ran.

    The last entry is "logits", the network's output.
    """
    calls: Counter[str] = Counter()
    shapes: dict[str, tuple[int, ...] | None] = {}
    handles = []
    modules = {name: module for name, module in network.named_modules() if name}

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            calls[name] += 1
            shapes.setdefault(name, tuple(output.shape) if isinstance(output, Tensor) else None)

        return hook

    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(watch(name)))
        output = network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    order = [*shapes, *(name for name in modules if name not in shapes)]
    infos = [LayerInfo(name, type(modules[name]).__name__, shapes.get(name), calls[name]) for name in order]
    shape = tuple(output.shape) if isinstance(output, Tensor) else None
    return [*infos, LayerInfo(LOGITS, type(network).__name__, shape, 1)]
