"""Finds a target among those that were rendered, without their network."""

import contextlib
import functools
import re
from collections.abc import Sequence

from lightning_fv.errors import FeatureVisualizationError
from lightning_fv.networks.capture import LOGITS
from lightning_fv.objectives import Channel, Facets, Layer, Logit, Objective, Probability
from lightning_fv.objectives.unit import PROBABILITY
from lightning_fv.targets.grammar import Spec, WeightedSum, parse_targets
from lightning_fv.targets.resolve import named_class
from lightning_fv.targets.sums import combined
from lightning_fv.targets.target import Target


def rows_of(wanted: str | Objective | Target, targets: Sequence[Target], categories: Sequence[str] = ()) -> list[int]:
    """The positions of a target, or of all its pictures, among those rendered; none if it is not there.

    Args:
        wanted: as text, with or without the number of the picture; or an objective; or a Target, which is one picture.
        targets: those rendered.
        categories: names of the network's classes, if known.
    """
    if isinstance(wanted, Target):
        return [row for row, target in enumerate(targets) if target.key == wanted.key]
    if isinstance(wanted, str):
        if rows := [row for row, target in enumerate(targets) if wanted in _texts(target)]:
            return rows
        objective = _objective_of(wanted, categories)
    else:
        objective = wanted.objective if isinstance(wanted, Facets) else wanted
    key = None if objective is None else objective.key
    return [row for row, target in enumerate(targets) if target.objective.key == key]


def _texts(target: Target) -> set[str]:
    """What a target may be called: by the name of its class, and by its index."""
    number = target.text.removeprefix(target.unit)
    by_index = target.objective.text()
    return {target.text, target.unit, by_index, by_index + number}


def _objective_of(text: str, categories: Sequence[str]) -> Objective | None:
    """The objective of a text, if it stands for a single one and needs no network."""
    with contextlib.suppress(FeatureVisualizationError, ValueError):
        parsed = parse_targets(text)
        objectives = [one for item in parsed for one in _resolved(item, categories)]
        if len(objectives) == 1:
            return objectives[0].objective if isinstance(objectives[0], Facets) else objectives[0]
    return None


def _resolved(item: Spec | Objective, categories: Sequence[str]) -> list[Objective]:
    if isinstance(item, Objective):
        return [item]
    if isinstance(item, WeightedSum):
        return [combined(item, functools.partial(_resolved, categories=categories))]
    if item.units is None:
        return [Layer(item.layer)]
    is_class = item.layer in (LOGITS, PROBABILITY)
    unit = int(item.units) if re.fullmatch("[0-9]{1,18}", item.units) else None
    if unit is None and is_class:
        unit = named_class(item, item.units, categories)
    if unit is None or item.position is not None:  # a neuron's place in the map depends on the network
        return []
    if is_class:
        return [Logit(unit) if item.layer == LOGITS else Probability(unit)]
    return [Channel(item.layer, unit)]
