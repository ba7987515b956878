"""Parses the text of targets, without a network."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Facets, Objective
from lightning_fv.objectives.facets import FACETS, check_facets
from lightning_fv.objectives.sae_latent import READINGS
from lightning_fv.targets.latents import parse_latents
from lightning_fv.targets.photos import KINDS, parse_photo
from lightning_fv.targets.target import Target
from lightning_fv.targets.vectors import parse_vectors

_OF_FILES: dict[str, Callable[[str], Sequence[Objective]]] = {
    "vector": parse_vectors,
    **dict.fromkeys(READINGS, parse_latents),
    **dict.fromkeys(KINDS, lambda text: [parse_photo(text)]),
}
"""What stands before the colon of a target that reads a file, and who parses it."""

TargetsLike: TypeAlias = "str | Target | Objective | Sequence[str | Target | Objective]"


@dataclass(frozen=True)
class Spec:
    """A target as written, before the network is known.

    Attributes:
        text: the whole text.
        layer: the part before the colon.
        units: the part after the colon, without the position and the number of pictures; None for a whole layer.
        position: (row, column) in the map at the network's training size, for neurons; (token,) in a sequence.
        facets: number of pictures of each unit.
    """

    text: str
    layer: str
    units: str | None = None
    position: tuple[int, ...] | None = None
    facets: int = 1

    def __str__(self) -> str:
        """The text as messages quote it: however long it is, they stay readable."""
        return quoted(self.text)


@dataclass(frozen=True)
class WeightedSum(Spec):
    """A weighted sum as written, ``sum(0.5*layer4:12 - 0.3*layer4:40)``.

    Attributes:
        terms: weight and target of each.
    """

    terms: tuple[tuple[float, Spec | Objective], ...] = ()


def quoted(text: str) -> str:
    """Text from outside in quotes, on one line, the middle left out if it is long."""
    return repr(text if len(text) <= 200 else f"{text[:150]} ... {text[-40:]}")


def parse_targets(targets: TargetsLike) -> list[Spec | Objective]:
    """Parse targets without a network: checks the grammar, not whether they exist.

    Args:
        targets: ``logits:pizza``, ``logits:3``, ``logits:0-9``, ``logits:all``, ``probability:pizza``, ``layer4:12``,
            ``layer4:0-511``, ``layer4:3,5``, ``logits:pizza,lion,0-2``, ``layer3`` (the whole layer), ``layer4:12@3,4`` (the
            neuron at row 3, column 4 of the map at the network's training size, and at the same relative place of other maps),
            ``blocks.3:12@20`` (at token 20 of a transformer's sequence);
            several joined by ``+`` or in a list. ``layer4:12 x4`` is four pictures of the unit, ``logits:all x4`` four of each;
            of an objective, ``Facets(objective, 4)``. ``sum(0.5*layer4:12 - 0.3*layer4:40)`` is one target, a weighted sum.
            ``vector:FILE:ROW@layer4`` is a direction, see `parse_vectors`; ``sae:FILE:12`` a latent of a sparse autoencoder, see
            `parse_latents`; ``inversion:photo.jpg@layer4``, ``caricature:photo.jpg@layer4`` and ``style:photo.jpg@layer2`` compare
            with a photo. Objectives are passed through, Targets as their objectives, with all their pictures. For targets that
            suit many networks: ``layer4:last``, and ``logits:brambling|lion``, the first class that exists.

    Raises:
        TargetError: one of them cannot be parsed, or is not a target.
    """
    items: list[object] = [targets]
    if isinstance(targets, Iterable) and not isinstance(targets, str | bytes | Mapping) and not callable(targets):
        items = list(targets)
    parsed: list[Spec | Objective] = []
    for item in items:
        if isinstance(item, str):
            if item.lstrip()[:1] in ("[", "{"):  # what the command line could not construct arrives as text
                raise TargetError(f"{item} is not a list of targets; check each class_path and its init_args")
            texts = [text.strip() for text in _split(item)]
            if "" in texts:
                where = f"; there is nothing on one side of a + in {quoted(item)}" if len(texts) > 1 else ""
                raise TargetError(f"no target{where}; give some, such as logits:all or layer4:0-15")
            for text in texts:
                parsed += [_parse_sum(text)] if text.startswith("sum(") else _parse_one(text)
        elif isinstance(item, Target):
            parsed.append(Facets(item.objective, item.facets) if item.facets > 1 else item.objective)
        elif isinstance(item, Objective):
            parsed.append(item)
        else:
            raise _not_a_target(item)
    if not parsed:
        raise TargetError("no targets; give some, such as logits:all or layer4:0-15")
    return parsed


def parse_spec(text: str) -> Spec:
    """Parse one target.

    Raises:
        TargetError: it cannot be parsed.
    """
    found = FACETS.fullmatch(text)
    facets = check_facets(int(found[2][:18]), quoted(text)) if found else 1
    layer, colon, units = (found[1] if found else text).partition(":")
    position = None
    at = re.fullmatch(r"(.*)@([0-9]{1,18}(?:,[0-9]{1,18})?)", units)
    if at:
        units, position = at[1], tuple(map(int, at[2].split(",")))
    if not layer or (colon and not units) or layer != layer.strip():
        raise TargetError(
            f"cannot read the target {quoted(text)}; write LAYER, LAYER:UNIT, LAYER:FROM-TO, LAYER:UNIT@Y,X or LAYER:UNIT@TOKEN"
        )
    if "@" in units or re.search("@[0-9, ]*$", layer):
        raise TargetError(
            f"cannot read the target {quoted(text)}; a neuron is LAYER:UNIT@Y,X with two whole numbers, a unit at a token LAYER:UNIT@TOKEN"
        )
    return Spec(text, layer, units or None, position, facets)


def _split(text: str) -> list[str]:
    """The targets that are joined by ``+``, which inside of ``sum(...)`` joins terms."""
    found: list[str] = []
    for part in text.split("+"):
        if found and found[-1].lstrip().startswith("sum(") and found[-1].count("(") > found[-1].count(")"):
            found[-1] += "+" + part
        else:
            found.append(part)
    return found


def _parse_sum(text: str) -> WeightedSum:
    found = FACETS.fullmatch(text)
    inner = re.fullmatch(r"sum\((.*)\)", found[1] if found else text, re.DOTALL)
    facets = check_facets(int(found[2][:18]), quoted(text)) if found else 1
    wrong = TargetError(
        f"cannot read the target {quoted(text)}; write sum(WEIGHT*TARGET + WEIGHT*TARGET - TARGET), with spaces around a minus"
    )
    terms: list[tuple[float, Spec | Objective]] = []
    sign = 1.0
    # A minus without spaces belongs to a name, such as T-shirt, or to a range.
    for part in re.split(r"(\+|(?:^|(?<=\s))-(?=\s))", inner[1].strip()) if inner else ():
        if part.strip() in ("+", "-"):
            sign *= -1.0 if part == "-" else 1.0
        elif part.strip():
            term = re.fullmatch(r"(?:(-?[0-9.]+(?:e-?[0-9]+)?)\s*\*)?\s*([^\s*][^*]*)", part.strip())
            try:
                weight = float(term[1] or 1) if term else math.nan
            except ValueError:
                weight = math.nan
            if term and term[2].startswith("sum("):
                raise TargetError(f"{quoted(text)} has a sum within a sum; write one, with the weights multiplied")
            targets = _parse_one(term[2]) if term else ()
            if len(targets) != 1 or not math.isfinite(weight):
                raise wrong
            terms.append((sign * weight, targets[0]))
            sign = 1.0
    if not terms or re.search(r"[-+]\s*\)", text):
        raise wrong
    return WeightedSum(text, "sum", None, None, facets, tuple(terms))


def _parse_one(text: str) -> Sequence[Spec | Objective]:
    return _of_file(text) if text.partition(":")[0] in _OF_FILES else [parse_spec(text)]


def _of_file(text: str) -> Sequence[Objective]:
    found = FACETS.fullmatch(text)
    one = found[1] if found else text
    objectives = _OF_FILES[text.partition(":")[0]](one)
    if found is None:
        return objectives
    return [Facets(objective, check_facets(int(found[2][:18]), quoted(text))) for objective in objectives]


def _not_a_target(item: object) -> TargetError:
    if isinstance(item, type):
        return TargetError(f"{item.__name__} is a class, not an objective; give an instance: {item.__name__}(...)")
    if callable(item):
        name = getattr(item, "__name__", "")
        arguments = f"{name}, layers=[...]" if name.isidentifier() else 'function, layers=[...], name="..."'
        return TargetError(f"wrap a function to use it as an objective: lightning_fv.objectives.Function({arguments})")
    return TargetError(f"targets are text, objectives or a list of them, not {item!r}")
