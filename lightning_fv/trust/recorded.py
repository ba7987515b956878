"""The targets of a finished run, read again from its records."""

import contextlib
from collections.abc import Sequence

from lightning_fv.errors import FeatureVisualizationError, first_line
from lightning_fv.networks import VisionNetwork
from lightning_fv.runs.record import Record
from lightning_fv.targets import Target, resolve_targets


def recorded_targets(records: Sequence[Record], network: VisionNetwork) -> tuple[dict[str, Target], dict[str, str]]:
    """The targets that records are of, as far as their texts tell.

    Args:
        records: of a run.
        network: that the run is of.

    Returns:
        Targets by record id; and by record id, why there is none: the text is that of an objective from Python, or means something else now,
        such as a file that was changed.
    """
    texts = list(dict.fromkeys(record.unit or record.target for record in records))
    found = _resolved(texts, network)
    targets, reasons = {}, {}
    for record in records:
        text = record.unit or record.target
        resolved = found[text]
        if isinstance(resolved, str):
            reasons[record.id] = f"its target cannot be read again: {resolved}"
            continue
        facet, facets = record.facet or 1, 2 if record.unit is not None else 1  # of how many makes no difference
        target = Target.of(resolved.objective, _names(resolved, network), facet, facets)
        if target.id == record.id:
            targets[record.id] = target
        else:
            reasons[record.id] = f"{text} is no longer what was rendered"
    return targets, reasons


def _names(target: Target, network: VisionNetwork) -> Sequence[str]:
    """The class names, if the target was named by one."""
    return network.categories if target.objective.text(network.categories) == target.text else ()


def _resolved(texts: Sequence[str], network: VisionNetwork) -> dict[str, Target | str]:
    """The target of each text, or what is wrong with it."""
    with contextlib.suppress(FeatureVisualizationError):
        targets = resolve_targets(list(texts), network)  # one probe for all
        if len(targets) == len(texts):
            return dict(zip(texts, targets, strict=True))
    found: dict[str, Target | str] = {}
    for text in texts:
        try:
            (found[text],) = resolve_targets([text], network)
        except FeatureVisualizationError as error:
            found[text] = first_line(error)
        except ValueError:
            found[text] = "it stands for several"
    return found
