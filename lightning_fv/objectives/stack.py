"""Objectives of a batch, evaluated in as few calls as possible."""

from collections.abc import Hashable, Sequence

from lightning_fv.objectives.base import Objective


def stack_objectives(objectives: Sequence[Objective]) -> list[tuple[list[int], Objective]]:
    """Group a batch's objectives into as few batched ones as possible: a thousand logits are one gather.

    Args:
        objectives: one per image.

    Returns:
        Pairs of rows of the batch and the one objective that evaluates them.
    """
    groups: dict[Hashable, list[int]] = {}
    for row, objective in enumerate(objectives):
        groups.setdefault(objective.stack_key, []).append(row)
    return [(rows, objectives[rows[0]].stacked([objectives[row] for row in rows])) for rows in groups.values()]
