"""Targets: which unit of which layer, read from text and checked against the network before anything runs."""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from lightning_fv.errors import CaptureError, TargetError, nearest
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.capture import LOGITS, layer_not_found, not_a_tensor, parse_layer
from lightning_fv.objectives import Channel, Layer, Logit, Neuron, Objective, Probability

PROBABILITY = "probability"
Kind: TypeAlias = Literal["neuron", "channel", "layer", "logit", "probability", "objective"]
TargetsLike: TypeAlias = "str | Target | Objective | Sequence[str | Target | Objective]"

# Windows, too, must be able to unpack a run: letters, digits, dot, dash and underscore.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Names that Windows keeps for devices, whatever follows the first dot.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


@dataclass(frozen=True)
class Target:
    """One unit that exists in the network.

    Attributes:
        kind: what is maximised.
        layer: layer name; "logits" for logits and probabilities.
        unit: channel or class index; None for a whole layer or an objective of the user's own.
        position: (y, x) in the layer's map, for a neuron.
        category: the class's name, where the unit is a class that has one.
        objective: what is maximised, as an objective.
    """

    kind: Kind
    layer: str
    unit: int | None
    objective: Objective
    position: tuple[int, int] | None = None
    category: str | None = None

    @property
    def text(self) -> str:
        """The target as one writes it: ``logits:pizza``, ``layer4:12@3,4``."""
        if self.kind == "objective":
            return repr(self.objective)
        prefix = PROBABILITY if self.kind == "probability" else self.layer
        if self.unit is None:
            return prefix
        place = f"@{self.position[0]},{self.position[1]}" if self.position else ""
        return f"{prefix}:{self.category or self.unit}{place}"

    @property
    def key(self) -> str:
        """What the target's random draws hang on; the same for a class's name and its index."""
        if self.kind == "objective":
            return repr(self.objective)
        return f"{self.kind}:{self.layer}:{self.unit}:{self.position}"

    @property
    def id(self) -> str:
        """A name for files: unlike targets of a network have unlike ids, also where case does not count."""
        if self.kind == "objective":
            return f"objective-{_slug(self.text)[:60]}-{_hash(self.key)}"
        parts = [PROBABILITY if self.kind == "probability" else self.layer]
        parts += [f"{self.unit:04d}"] if self.unit is not None else ["all"]
        parts += [f"y{self.position[0]}-x{self.position[1]}"] if self.position else []
        name = "-".join(parts)
        plain = _slug(name) == name and name.lower() == name and len(name) <= 80
        name = name if plain else f"{_slug(name)[:80]}-{_hash(self.key)}"
        if name.partition(".")[0].lower() in _DEVICES:  # a layer called aux.0
            name = f"{name.replace('.', '-')}-{_hash(self.key)}"
        return f"{name}-{_slug(self.category)[:40]}".rstrip("-.") if self.category else name

    @property
    def tag(self) -> str:
        """The picture's tag in TensorBoard, grouped by layer: ``logits/pizza``, ``layer4/12``."""
        group, _, unit = self.text.partition(":") if self.kind != "objective" else ("objective", "", self.text)
        return f"{group}/{unit or 'all'}"


@dataclass(frozen=True)
class _Spec:
    """A target as written, before the network is known."""

    text: str
    layer: str
    units: str | None
    position: tuple[int, int] | None


def parse_targets(targets: TargetsLike) -> "list[_Spec | Target | Objective]":
    """Read targets without a network: checks the grammar, not whether they exist.

    Args:
        targets: ``logits:pizza``, ``logits:3``, ``logits:0-9``, ``logits:all``, ``probability:pizza``, ``layer4:12``,
            ``layer4:0-511``, ``layer4:3,5``, ``layer3`` (the whole layer), ``layer4:12@3,4`` (the neuron at row 3,
            column 4); several joined by ``+`` or in a list. Objectives and Targets pass as they are. For targets
            that hold for many networks: ``layer4:last``, and ``logits:brambling|lion``, the first class that there is.

    Raises:
        TargetError: it cannot be read.
    """
    if targets is None or isinstance(targets, int | float):
        raise TargetError(f"targets are text, objectives or a list of them, not {targets!r}")
    items = [targets] if isinstance(targets, str | Target | Objective) else list(targets)
    parsed: list[_Spec | Target | Objective] = []
    for item in items:
        if isinstance(item, str):
            parsed += [_parse(text.strip()) for text in item.split("+")]
        else:
            parsed.append(item)
    if not parsed:
        raise TargetError("no targets; give some, such as logits:all or layer4:0-15")
    return parsed


def _parse(text: str) -> _Spec:
    layer, colon, units = text.partition(":")
    position = None
    place = re.fullmatch(r"(.*)@(\d+),(\d+)", units)
    if place:
        units, position = place[1], (int(place[2]), int(place[3]))
    if not layer or (colon and not units) or layer != layer.strip():
        raise TargetError(f"cannot read the target {text!r}; write LAYER, LAYER:UNIT, LAYER:FROM-TO or LAYER:UNIT@Y,X")
    if "@" in units:
        raise TargetError(f"cannot read the target {text!r}; a neuron is LAYER:UNIT@Y,X with two whole numbers")
    return _Spec(text, layer, units or None, position)


def resolve_targets(targets: TargetsLike, network: VisionNetwork, size: tuple[int, int] | None = None) -> list[Target]:
    """Targets that exist in the network, each once, in the order first named.

    Args:
        targets: see `parse_targets`.
        network: checked with one probe forward.
        size: (height, width) of the pictures to be made; decides how large a layer's map is.

    Raises:
        LayerNotFoundError, TargetError, CaptureError: naming the nearest layers or classes, or the valid range.
    """
    size = size or network.input_size
    shape_of = functools.cache(functools.partial(_check_layer, network=network, size=size))  # one forward per layer
    resolved: dict[str, Target] = {}
    for item in parse_targets(targets):
        if isinstance(item, Target):
            found = [item]
        elif isinstance(item, Objective):
            for layer in item.layers:
                shape_of(layer)
            _try(item, network, size)
            found = [Target("objective", "objective", None, item)]
        else:
            found = _resolve(item, shape_of, network.categories)
        for target in found:
            resolved.setdefault(target.key, target)
    return list(resolved.values())


def _try(objective: Objective, network: VisionNetwork, size: tuple[int, int]) -> None:
    """Evaluate an objective of the user's own once, so that a wrong index is said before anything runs."""
    grey = torch.full((1, 3, *size), 0.5, device=network.device, requires_grad=True)
    with network.frozen(), torch.enable_grad():
        activations = network.activations(grey, objective.layers)
        try:
            value = objective(activations, grey)
        except IndexError as error:
            shapes = ", ".join(f"{layer} {tuple(found.shape)}" for layer, found in activations.items())
            raise TargetError(f"{objective!r} reads what is not there ({error}); there is {shapes}") from None
    if not isinstance(value, torch.Tensor) or value.shape != (1,):
        gave = tuple(value.shape) if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
        raise TargetError(
            f"{objective!r} gives {gave} for one picture; it must give one number, a tensor of shape (1,)"
        )
    if not value.requires_grad:
        raise TargetError(
            f"{objective!r} does not depend on the picture: no gradient comes back from it; "
            "leave out what detaches or rounds its value"
        )


def _resolve(spec: _Spec, shape_of: Callable[[str], tuple[int, ...]], categories: Sequence[str]) -> list[Target]:
    layer = LOGITS if spec.layer == PROBABILITY else spec.layer
    shape = shape_of(layer)
    if spec.units is None:
        if spec.layer == PROBABILITY:
            raise TargetError(f"{spec.text!r} names no class; write probability:CLASS or probability:INDEX")
        return [Target("layer", layer, None, Layer(layer))]
    names = categories if layer == LOGITS and len(categories) == shape[1] else ()
    units = _units(spec, shape[1], names)
    if spec.position is not None:
        if len(shape) != 4:
            raise TargetError(f"{spec.text!r}: layer {layer!r} gives {shape}, which has no places; leave out @Y,X")
        y, x = spec.position
        if y >= shape[2] or x >= shape[3]:
            raise TargetError(
                f"{spec.text!r}: the map of {layer} has rows 0 to {shape[2] - 1} and columns 0 to {shape[3] - 1}"
            )
        return [Target("neuron", layer, unit, Neuron(layer, unit, y, x), spec.position) for unit in units]
    made: list[Target] = []
    for unit in units:
        category = names[unit] if names else None
        if spec.layer == PROBABILITY:
            made.append(Target("probability", layer, unit, Probability(unit), None, category))
        elif layer == LOGITS:
            made.append(Target("logit", layer, unit, Logit(unit), None, category))
        else:
            made.append(Target("channel", layer, unit, Channel(layer, unit)))
    return made


def _check_layer(layer: str, network: VisionNetwork, size: tuple[int, int]) -> tuple[int, ...]:
    """The shape of a layer's output with its channels at axis 1, if it can be looked at."""
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
        raise CaptureError(f"layer {name!r} runs {info.calls} times; say which: {name}#0 to {name}#{info.calls - 1}")
    if info.shape is None and item is None:
        raise CaptureError(not_a_tensor(layer, info.items))
    shape = check_size(network, layer, size)
    if shape[0] != 1:
        raise CaptureError(f"layer {layer!r} gives {shape} for one picture: its first axis is not the batch")
    return shape


def check_size(network: VisionNetwork, layer: str, size: tuple[int, int]) -> tuple[int, ...]:
    """Shape of what a layer gives for one picture of ``size`` (height, width), channels at axis 1.

    Raises:
        TargetError: the network cannot take pictures of that size.
    """
    try:
        return network.shape_of(layer, size)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:  # whatever a layer says to a map that vanished
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TargetError(
            f"{network.name} cannot take pictures of {size[0]}x{size[1]} px as far as {layer} ({reason}); "
            f"set a larger --model.size, such as {max(network.input_size)}, or transforms that crop less"
        ) from None


def _units(spec: _Spec, count: int, names: Sequence[str]) -> list[int]:
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


def _named(spec: _Spec, text: str, names: Sequence[str]) -> int | None:
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


def _no_unit(spec: _Spec, part: str, count: int, names: Sequence[str]) -> TargetError:
    if re.fullmatch(r"-\d+", part) or not names:
        return TargetError(f"{spec.text!r}: {spec.layer} has units 0 to {count - 1}")
    near = nearest(part.rpartition("|")[2], names)
    hint = (
        f"did you mean {', '.join(f'{name} ({list(names).index(name)})' for name in near)}?"
        if near
        else f"it has {count} classes, such as {', '.join(names[:8])}"
    )
    return TargetError(f"{spec.text!r}: no class {part!r}; {hint}")


def stack_objectives(targets: Sequence[Target]) -> list[tuple[list[int], Objective]]:
    """The targets' objectives as few batched ones: rows of the batch, and one objective for all of them.

    A thousand logits are one gather instead of a thousand slices.
    """
    groups: dict[tuple[str, str, object], list[int]] = {}
    for row, target in enumerate(targets):
        own = target.objective if target.kind in ("objective", "layer") else target.position
        groups.setdefault((target.kind, target.layer, own), []).append(row)
    stacked: list[tuple[list[int], Objective]] = []
    for rows in groups.values():
        first = targets[rows[0]]
        units = tuple(unit for row in rows if (unit := targets[row].unit) is not None)
        objective = first.objective
        if first.kind == "channel":
            objective = Channel(first.layer, units)
        elif first.kind == "logit":
            objective = Logit(units)
        elif first.kind == "probability":
            objective = Probability(units)
        elif first.kind == "neuron" and first.position is not None:
            objective = Neuron(first.layer, units, *first.position)
        stacked.append((rows, objective))
    return stacked


def _slug(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-.")


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
