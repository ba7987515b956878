"""Resolves targets against a network, so that every mistake is found before anything runs."""

import dataclasses
import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence

import torch

from lightning_fv.errors import (
    CaptureError,
    FeatureVisualizationError,
    LayerNotFoundError,
    NetworkError,
    TargetError,
    nearest,
    warn,
)
from lightning_fv.functional import torch_defaults
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.capture import LOGITS, layer_not_found, not_a_tensor, parse_layer
from lightning_fv.objectives import Activations, Channel, Facets, Layer, Logit, Objective, Probability, SAELatent
from lightning_fv.objectives.facets import FACETS
from lightning_fv.objectives.photo import activations_of
from lightning_fv.objectives.unit import PROBABILITY
from lightning_fv.targets.grammar import Spec, TargetsLike, WeightedSum, parse_targets, quoted
from lightning_fv.targets.position import at_position
from lightning_fv.targets.sums import combined
from lightning_fv.targets.target import Target


@torch_defaults()
def resolve_targets(
    targets: TargetsLike, network: VisionNetwork, size: tuple[int, int] | None = None, warns: bool = False
) -> list[Target]:
    """Targets that exist in the network, each once, in the order first named; several pictures of one stand together.

    Args:
        targets: see `parse_targets`.
        network: checked with one probe forward.
        size: (height, width) of the pictures to render, at which objectives are tried. A neuron's position as text refers
            to the map at the network's training size, whatever this is.
        warns: whether to warn of targets that are given several times.

    Raises:
        LayerNotFoundError, TargetError, CaptureError: naming the nearest layers or classes, or the valid range.
    """
    size = size or network.input_size
    shape_of = functools.cache(functools.partial(check_layer, network=network, size=size))  # one forward per layer
    trained = functools.cache(functools.partial(check_layer, network=network, size=network.input_size))
    chosen: dict[str, Objective] = {}
    facets: dict[str, int] = {}
    samples: dict[str, Objective] = {}
    given: Counter[str] = Counter()
    resolve = functools.cache(functools.partial(_resolve, shape_of=shape_of, trained=trained, network=network))
    for item in parse_targets(targets):
        count = item.count if isinstance(item, Facets) else 1
        if isinstance(item, Facets):
            item = item.objective
        elif isinstance(item, Spec):
            item = _unless_a_name(item, network.categories)
            count = item.facets
        objectives = [item] if isinstance(item, Objective) else resolve(item)
        given.update(objective.key for objective in objectives)
        for objective in objectives:
            facets[objective.key] = max(count, facets.get(objective.key, 1))
            known = chosen.setdefault(objective.key, objective)
            if known is not objective and not known.same_as(objective):
                raise TargetError(
                    f"two different objectives have the same key {objective.key}; make their repr distinguish them, or name them: "
                    'Function(objective, name="...")'
                )
        for objective in objectives if isinstance(item, Objective) else objectives[:1]:
            samples.setdefault(objective.key, chosen[objective.key])
    _probe(list(samples.values()), shape_of, network, size)
    found = [
        Target.of(objective, _categories(objective, shape_of, network), facet, facets[key])
        for key, objective in chosen.items()
        for facet in range(1, facets[key] + 1)
    ]
    for name, count in Counter(target.id.lower() for target in found).items():
        if count > 1:
            same = [target.text for target in found if target.id.lower() == name]
            raise TargetError(f"the targets {' and '.join(same)} would share the file name {name}; rename one of them")
    repeated = [objective.text() for key, objective in chosen.items() if given[key] > 1]
    if warns and repeated:
        others = f" and {len(repeated) - 3} more" if len(repeated) > 3 else ""
        warn(f"duplicate targets are rendered once: {', '.join(repeated[:3])}{others}; that leaves {len(chosen)}")
    return found


def _unless_a_name(spec: Spec, names: Sequence[str]) -> Spec:
    """A target as written; the ``x5`` at its end is no number of pictures if a class is called that, as in ``BMW x5``."""
    units = spec.text.partition(":")[2]
    if spec.facets == 1 or spec.layer not in (LOGITS, PROBABILITY):
        return spec
    ends = [re.escape(name) for name in names if FACETS.fullmatch(name.lower())]
    named = any(re.search(rf"(^|[,|])\s*{end}$", units, re.IGNORECASE) for end in ends)
    return dataclasses.replace(spec, units=units, facets=1) if named else spec


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
    """Evaluate objectives once on a grey image, with a gradient, so that what cannot be climbed is reported before anything
    runs; of each text, one unit."""
    for objective in objectives:
        for layer in objective.layers:
            try:
                shape_of(layer)
            except LayerNotFoundError:
                if isinstance(objective, SAELatent):
                    raise TargetError(
                        f"{objective.text()}: {network.name} has no layer {layer}, of which this is an autoencoder; {objective.remedy}"
                    ) from None
                raise
    grey = network.grey(size).requires_grad_()
    with network.frozen(), torch.enable_grad():
        for layers, group in itertools.groupby(sorted(objectives, key=_layers_of), _layers_of):
            activations = network.activations(grey, layers)  # one forward pass for all that read the same layers
            total = torch.cat([_check_value(objective, activations, grey) for objective in group]).sum()
            try:
                torch.autograd.grad(total, grey, allow_unused=True)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                raise NetworkError(
                    f"no gradient flows back through {network.name} from {', '.join(layers) or 'the picture'}: "
                    f"{' '.join(str(error).split())[:300]}"
                ) from error


def _layers_of(objective: Objective) -> list[str]:
    return sorted(objective.layers)


def _check_value(objective: Objective, activations: Activations, images: torch.Tensor) -> torch.Tensor:
    # Here a picture is compared with itself: photos are decoded later, when it is known how they are shown to the network.
    activations = {**activations, **{activations_of(*read): activations[read[0]] for read in objective.photos}}
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
            "remove what detaches or rounds its value, in the objective or in the network"
        )
    return value


def _resolve(
    spec: Spec,
    shape_of: Callable[[str], tuple[int, ...]],
    trained: Callable[[str], tuple[int, ...]],
    network: VisionNetwork,
) -> Sequence[Objective]:
    if isinstance(spec, WeightedSum):
        return [combined(spec, functools.partial(_resolve, shape_of=shape_of, trained=trained, network=network))]
    categories = network.categories
    layer = LOGITS if spec.layer == PROBABILITY else spec.layer
    try:
        shape = shape_of(layer)
    except LayerNotFoundError:
        if spec.layer in categories:
            raise TargetError(
                f"no layer {spec} in the network, but a class; did you mean logits:{spec.layer}?"
            ) from None
        raise
    if spec.units is None:
        if spec.layer == PROBABILITY:
            raise TargetError(f"{spec} names no class; write probability:CLASS or probability:INDEX")
        return [Layer(layer)]
    units = _units(spec, shape[1], categories if layer == LOGITS and len(categories) == shape[1] else ())
    if spec.position is not None:
        return at_position(spec, layer, units, shape, trained(layer), network.input_size)
    if spec.layer == PROBABILITY:
        return [Probability(unit) for unit in units]
    return [Logit(unit) if layer == LOGITS else Channel(layer, unit) for unit in units]


def check_layer(layer: str, network: VisionNetwork, size: tuple[int, int]) -> tuple[int, ...]:
    """The shape of a layer's output for a picture of ``size`` (height, width), channels at axis 1, if it can be visualized.

    Raises:
        LayerNotFoundError, CaptureError, TargetError: why it cannot.
    """
    name, call, item = parse_layer(layer)
    infos = {info.name: info for info in network.layers()}
    if name not in infos:
        raise layer_not_found(name, [*infos, PROBABILITY])
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
    """The units of a text, each once: parts between commas. Names that contain commas come first."""
    if spec.units == "all":
        return list(range(count))
    parts = (spec.units or "").split(",")
    longest = 1 + max((name.count(",") for name in names), default=0)
    units: dict[int, None] = {}
    start = 0
    while start < len(parts):
        for end in range(min(start + longest, len(parts)), start, -1):
            named = named_class(spec, ",".join(parts[start:end]).strip(), names)
            if named is not None:
                units[named] = None
                break
        else:
            end = start + 1
            units |= dict.fromkeys(_range(spec, parts[start].strip(), count, names))
        start = end
    return list(units)


def _range(spec: Spec, part: str, count: int, names: Sequence[str]) -> range:
    """Units that are given by number: one, from one to another, the last, or all."""
    if part == "all":
        return range(count)
    if part == "last":
        return range(count - 1, count)
    bounds = re.fullmatch(r"([0-9]+)(?:\s*-\s*([0-9]+))?", part)
    if number := re.fullmatch(r"(.*\S)\s+#([0-9]{1,9})", part):
        raise TargetError(
            f"{spec} is one of several pictures; write {spec.layer}:{number[1]} x{number[2]} to render them"
        )
    if not bounds:
        raise _no_unit(spec, part, count, names)
    if max(map(len, filter(None, bounds.groups()))) > 18:  # more digits than any index, maybe too many for a number
        raise _out_of_range(spec, count)
    first, last = int(bounds[1]), int(bounds[2] or bounds[1])
    if first > last:
        raise TargetError(f"{spec}: {first} comes after {last}; write {last}-{first}")
    if last >= count:
        raise _out_of_range(spec, count)
    return range(first, last + 1)


def _out_of_range(spec: Spec, count: int) -> TargetError:
    return TargetError(f"{spec}: {spec.layer} has units 0 to {count - 1}")


def named_class(spec: Spec, text: str, names: Sequence[str]) -> int | None:
    """The index of a class name, or of the first of several alternatives that exists. Digits are always an index."""
    for alternative in (text, *text.split("|")):
        name = alternative.strip()
        if re.fullmatch("[0-9]+", name):
            continue
        exact, lower = _indices(tuple(names))
        for found in (exact.get(name, []), lower.get(name.lower(), [])):
            if len(found) == 1:
                return found[0]
            if found:
                raise TargetError(
                    f"{spec}: {len(found)} classes are called {name!r}; give an index: {', '.join(map(str, found))}"
                )
    return None


@functools.lru_cache(maxsize=4)
def _indices(names: tuple[str, ...]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """The indices of each name, and of each without regard to case."""
    exact: dict[str, list[int]] = {}
    lower: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        exact.setdefault(name, []).append(index)
        lower.setdefault(name.lower(), []).append(index)
    return exact, lower


def _no_unit(spec: Spec, part: str, count: int, names: Sequence[str]) -> TargetError:
    if re.fullmatch(r"[0-9\s-]*", part) or (not names and spec.layer not in (LOGITS, PROBABILITY)):
        return _out_of_range(spec, count)
    if not names:
        return TargetError(
            f"{spec}: the names of this network's classes are not known; give them (--categories FILE, or categories= in Python), "
            f"or an index, {spec.layer}:0 to {spec.layer}:{count - 1}"
        )
    near = nearest(part.rpartition("|")[2], names)
    hint = (
        f"did you mean {', '.join(f'{name} ({list(names).index(name)})' for name in near)}?"
        if near
        else f"it has {count} classes, such as {', '.join(names[:8])}"
    )
    return TargetError(f"{spec}: no class {quoted(part)}; {hint}")
