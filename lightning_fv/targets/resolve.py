"""Resolves targets against a network, so that every mistake is found before anything runs."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence

import torch

from lightning_fv.errors import CaptureError, FeatureVisualizationError, TargetError, nearest
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.capture import LOGITS, layer_not_found, not_a_tensor, parse_layer
from lightning_fv.objectives import Activations, Channel, Layer, Logit, Neuron, Objective, Probability
from lightning_fv.objectives.unit import PROBABILITY
from lightning_fv.targets.grammar import Spec, TargetsLike, parse_targets
from lightning_fv.targets.target import Target


def resolve_targets(targets: TargetsLike, network: VisionNetwork, size: tuple[int, int] | None = None) -> list[Target]:
    """Targets that exist in the network, each once, in the order first named.

    Args:
        targets: see `parse_targets`.
        network: checked with one probe forward.
        size: (height, width) of the pictures to render; determines the size of a layer's map.

    Raises:
        LayerNotFoundError, TargetError, CaptureError: naming the nearest layers or classes, or the valid range.
    """
    size = size or network.input_size
    shape_of = functools.cache(functools.partial(_check_layer, network=network, size=size))  # one forward per layer
    chosen: dict[str, Objective] = {}
    given: list[Objective] = []
    for item in parse_targets(targets):
        objectives = [item] if isinstance(item, Objective) else _resolve(item, shape_of, network.categories)
        for objective in objectives:
            known = chosen.setdefault(objective.key, objective)
            if known is not objective and not known.same_as(objective):
                raise TargetError(
                    f"two different objectives have the same key {objective.key}; make their repr distinguish them, or name them: "
                    'Function(objective, name="...")'
                )
        given += [item] if isinstance(item, Objective) else []
    _probe([chosen[key] for key in dict.fromkeys(objective.key for objective in given)], shape_of, network, size)
    found = [Target.of(objective, _categories(objective, shape_of, network)) for objective in chosen.values()]
    for name, count in Counter(target.id.lower() for target in found).items():
        if count > 1:
            same = [target.text for target in found if target.id.lower() == name]
            raise TargetError(f"the targets {' and '.join(same)} would share the file name {name}; rename one of them")
    return found


def _categories(
    objective: Objective, shape_of: Callable[[str], tuple[int, ...]], network: VisionNetwork
) -> Sequence[str]:
    """The class names, if the objective is a class and the network has a name for every class."""
    if objective.class_index is None or len(network.categories) != shape_of(LOGITS)[1]:
        return ()
    return network.categories


def _probe(
    objectives: Sequence[Objective],
    shape_of: Callable[[str], tuple[int, ...]],
    network: VisionNetwork,
    size: tuple[int, int],
) -> None:
    """Evaluate a user's objectives once on a grey image, so that a wrong index is reported before anything runs."""
    for objective in objectives:
        for layer in objective.layers:
            shape_of(layer)
    grey = torch.full((1, 3, *size), 0.5, device=network.device, requires_grad=True)
    with network.frozen(), torch.enable_grad():
        layers: frozenset[str] | None = None
        for objective in sorted(objectives, key=lambda objective: sorted(objective.layers)):
            if objective.layers != layers:  # one forward pass for all that read the same layers
                layers = objective.layers
                activations = network.activations(grey, layers)
            _check_value(objective, activations, grey)


def _check_value(objective: Objective, activations: Activations, images: torch.Tensor) -> None:
    try:
        value = objective(activations, images)
    except IndexError as error:
        shapes = ", ".join(f"{layer} {tuple(found.shape)}" for layer, found in activations.items())
        raise TargetError(f"{objective!r} reads what does not exist ({error}); it is given {shapes}") from None
    except KeyError as error:
        raise TargetError(
            f"{objective!r} reads {error}, which is not among its layers: {', '.join(sorted(objective.layers)) or 'none'}"
        ) from error
    except (FeatureVisualizationError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # any, of a user's objective
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TargetError(f"{objective!r} cannot be evaluated for one picture: {reason}") from error
    if not isinstance(value, torch.Tensor) or value.shape != (1,):
        returned = tuple(value.shape) if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
        raise TargetError(
            f"{objective!r} returns {returned} for one picture; it must return one number, a tensor of shape (1,)"
        )
    if not value.requires_grad:
        raise TargetError(
            f"{objective!r} does not depend on the picture: no gradient flows back from it; "
            "remove what detaches or rounds its value"
        )


def _resolve(spec: Spec, shape_of: Callable[[str], tuple[int, ...]], categories: Sequence[str]) -> Sequence[Objective]:
    layer = LOGITS if spec.layer == PROBABILITY else spec.layer
    shape = shape_of(layer)
    if spec.units is None:
        if spec.layer == PROBABILITY:
            raise TargetError(f"{spec.text!r} names no class; write probability:CLASS or probability:INDEX")
        return [Layer(layer)]
    units = _units(spec, shape[1], categories if layer == LOGITS and len(categories) == shape[1] else ())
    if spec.position is not None:
        if len(shape) != 4:
            raise TargetError(
                f"{spec.text!r}: layer {layer!r} outputs {shape}, without rows and columns; leave out @Y,X"
            )
        y, x = spec.position
        if y >= shape[2] or x >= shape[3]:
            raise TargetError(
                f"{spec.text!r}: the map of {layer} has rows 0 to {shape[2] - 1} and columns 0 to {shape[3] - 1}"
            )
        return [Neuron(layer, unit, y, x) for unit in units]
    if spec.layer == PROBABILITY:
        return [Probability(unit) for unit in units]
    return [Logit(unit) if layer == LOGITS else Channel(layer, unit) for unit in units]


def _check_layer(layer: str, network: VisionNetwork, size: tuple[int, int]) -> tuple[int, ...]:
    """The shape of a layer's output with its channels at axis 1, if it can be visualized."""
    name, call, item = parse_layer(layer)
    infos = {info.name: info for info in network.layers()}
    if name not in infos:
        raise layer_not_found(name, list(infos))
    info = infos[name]
    if info.calls == 0:
        raise CaptureError(f"layer {name!r} did not run in the network's forward; choose one that does")
    if call >= info.calls:
        raise CaptureError(f"layer {layer!r}: {name} runs {info.calls} times, #0 to #{info.calls - 1}")
    if info.calls > 1 and "#" not in layer:
        raise CaptureError(f"layer {name!r} runs {info.calls} times; choose one: {name}#0 to {name}#{info.calls - 1}")
    if info.shape is None and item is None:
        raise CaptureError(not_a_tensor(layer, info.items))
    shape = check_size(network, layer, size)
    if shape[0] != 1:
        raise CaptureError(f"layer {layer!r} outputs {shape} for one picture: its first axis is not the batch")
    return shape


def check_size(network: VisionNetwork, layer: str, size: tuple[int, int]) -> tuple[int, ...]:
    """Shape of a layer's output for one picture of ``size`` (height, width), channels at axis 1.

    Raises:
        TargetError: the network cannot process pictures of that size.
    """
    try:
        return network.shape_of(layer, size)
    except torch.OutOfMemoryError:
        raise
    except (
        RuntimeError,
        ValueError,
        AssertionError,
    ) as error:  # whatever a layer raises when its map has shrunk to nothing
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TargetError(
            f"{network.name} cannot process pictures of {size[0]}x{size[1]} px up to {layer} ({reason}); "
            f"set a larger --model.size, such as {max(network.input_size)}, or transforms that crop less"
        ) from None


def _units(spec: Spec, count: int, names: Sequence[str]) -> list[int]:
    text = spec.units or ""
    if text == "all":
        return list(range(count))
    for alternative in (text, *text.split("|")):
        named = _named(spec, alternative.strip(), names)
        if named is not None:
            return [named]
    if text == "last":
        return [count - 1]
    units: list[int] = []
    for part in text.split(","):
        bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if not bounds:
            raise _no_unit(spec, part.strip(), count, names)
        first, last = int(bounds[1]), int(bounds[2] or bounds[1])
        if first > last:
            raise TargetError(f"{spec.text!r}: {first} comes after {last}; write {last}-{first}")
        if last >= count:
            raise TargetError(f"{spec.text!r}: {spec.layer} has units 0 to {count - 1}")
        units += range(first, last + 1)
    return units


def _named(spec: Spec, text: str, names: Sequence[str]) -> int | None:
    """The index of a class name: exactly, else without regard to case. Digits are always an index."""
    if text.isdigit():
        return None
    for found in (
        [i for i, name in enumerate(names) if name == text],
        [i for i, name in enumerate(names) if name.lower() == text.lower()],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            raise TargetError(
                f"{spec.text!r}: {len(found)} classes are called {text!r}; give an index: {', '.join(map(str, found))}"
            )
    return None


def _no_unit(spec: Spec, part: str, count: int, names: Sequence[str]) -> TargetError:
    if re.fullmatch(r"-\d+", part) or not names:
        return TargetError(f"{spec.text!r}: {spec.layer} has units 0 to {count - 1}")
    near = nearest(part.rpartition("|")[2], names)
    hint = (
        f"did you mean {', '.join(f'{name} ({list(names).index(name)})' for name in near)}?"
        if near
        else f"it has {count} classes, such as {', '.join(names[:8])}"
    )
    return TargetError(f"{spec.text!r}: no class {part!r}; {hint}")
