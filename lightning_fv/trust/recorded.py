"""The targets of a finished run, read again from its settings and records."""

import contextlib
from collections.abc import Sequence

from lightning_fv.errors import FeatureVisualizationError, first_line
from lightning_fv.networks import VisionNetwork
from lightning_fv.runs.record import Record
from lightning_fv.targets import Target, resolve_targets


def recorded_targets(
    records: Sequence[Record], network: VisionNetwork, asked: Sequence[str] = ()
) -> tuple[dict[str, Target], dict[str, str]]:
    """The targets that records are of, as far as their texts tell.

    Args:
        records: of a run.
        network: that the run is of.
        asked: texts of targets that the run was asked for: those of sums are not in the records.

    Returns:
        Targets by record id; and by record id, why there is none: it is an objective from Python, or its text means something else now, such as a file
        that was changed.
    """
    resolved = _resolved(asked, network)
    known = {target.id: target for found in resolved.values() if not isinstance(found, str) for target in found}
    left = [record for record in records if record.id not in known]
    by_text = _resolved([record.unit or record.target for record in left], network)
    reasons = {}
    for record in left:
        found = by_text[record.unit or record.target]
        if isinstance(found, str):
            reasons[record.id] = f"its target cannot be read again: {found}"
            continue
        again = [_numbered(target, record, names) for target in found for names in (network.categories, ())]
        same = [target for target in again if target.id == record.id]
        if same:
            known[record.id] = same[0]
        else:
            reasons[record.id] = f"{record.target} is no longer what was rendered"
    return {record.id: known[record.id] for record in records if record.id in known}, reasons


def _numbered(target: Target, record: Record, names: Sequence[str]) -> Target:
    """A target as that picture of its unit that a record is of; of how many makes no difference."""
    names = names if target.class_index is not None else ()
    return Target.of(target.objective, names, record.facet or 1, 1 if record.unit is None else 2)


def _resolved(texts: Sequence[str], network: VisionNetwork) -> dict[str, list[Target] | str]:
    """The targets of each text, or what is wrong with it."""
    texts = list(dict.fromkeys(texts))
    with contextlib.suppress(FeatureVisualizationError):
        targets = resolve_targets(texts, network)  # one probe for all
        if len(targets) == len(texts):
            return {text: [target] for text, target in zip(texts, targets, strict=True)}
    found: dict[str, list[Target] | str] = {}
    for text in texts:
        try:
            found[text] = resolve_targets([text], network)
        except FeatureVisualizationError as error:
            found[text] = first_line(error)
    return found
