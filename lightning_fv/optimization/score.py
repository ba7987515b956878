"""What a finished, or interrupted, render is worth: one record per picture."""

import math
import warnings

from torch import Tensor

from lightning_fv.metrics import HighFrequencyEnergy, SaturatedPixels
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.record import Record, Status

_GARISH = 0.9
"""Share of values at the ends of their range from which on a picture is none: no gradient brings them back."""


def assess(visualizer: FeatureVisualizer, steps: int, seconds: float, complete: bool) -> list[Record]:
    """Score each picture as it is, without transforms and penalties.

    Pictures that are not finite, or whose objective is not, go back to where they last were.

    Args:
        visualizer: bound, with its pictures.
        steps: optimizer steps done.
        seconds: wall time of the whole batch.
        complete: whether these were all steps.

    Returns:
        A record per target, without an image path yet. Class targets have their ``probability`` and the class that
        is most probable (``top1``); all have the share of ``saturated`` values and of ``high_frequency`` energy. ``restarts``
        says how often a dead one was begun anew, if it was.
    """
    assert visualizer.network is not None
    pictures, values, dead, logits = _look(visualizer)
    lost = ~(pictures.isfinite().flatten(1).all(1) & values.isfinite())
    if bool(lost.any()):  # by the last step, or by all of them
        visualizer.settle(lost)
        pictures, values, dead, logits = _look(visualizer)
    finite = pictures.isfinite().flatten(1).all(1)
    diverged = visualizer.guard.diverged
    restarts: list[int] = visualizer.guard.restarts.tolist()
    records = []
    for row, target in enumerate(visualizer.targets):
        value = float(values[row])
        status: Status = "done" if complete else "partial"
        if bool(diverged[row]) or not bool(finite[row]) or not math.isfinite(value):
            status = "diverged"
        elif complete and bool(dead[row]):
            status = "dead"
        record = Record(
            id=target.id,
            target=target.text,
            network=visualizer.network.name,
            status=status,
            score=value if math.isfinite(value) else None,
            image=None,
            size=list(visualizer.size),
            steps=steps,
            seed=visualizer.seed,
            seconds=round(seconds / len(visualizer.targets), 3),
        )
        if bool(finite[row]):
            record.scores = _looks(pictures[row : row + 1])
            if target.class_index is not None and logits is not None and status != "diverged":
                record.scores |= _class_scores(logits[row], target.class_index, visualizer.network.categories)
        if restarts[row]:
            record.scores["restarts"] = restarts[row]
        records.append(record)
    garish = [r.target for r in records if complete and float(r.scores.get("saturated", 0.0)) > _GARISH]
    if garish:
        warnings.warn(
            f"more than {_GARISH:.0%} of the values are black or full in {len(garish)} of {len(records)} pictures "
            f"({', '.join(garish[:3])}{', ...' if len(garish) > 3 else ''}): the steps are too large; "
            "set a smaller learning rate, such as --model.optimizer.lr 0.05",
            stacklevel=2,
        )
    return records


def _look(visualizer: FeatureVisualizer) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Pictures, and what `FeatureVisualizer.score` says of them."""
    return visualizer.pictures(), *visualizer.score()


def _looks(picture: Tensor) -> dict[str, float | str]:
    metrics = {"saturated": SaturatedPixels(), "high_frequency": HighFrequencyEnergy()}
    return {name: round(float(metric.to(picture.device)(picture)), 4) for name, metric in metrics.items()}


def _class_scores(logits: Tensor, unit: int, categories: tuple[str, ...]) -> dict[str, float | str]:
    probabilities = logits.float().softmax(0)
    top = int(probabilities.argmax())
    return {
        "probability": round(float(probabilities[unit]), 4),
        "top1": categories[top] if categories else str(top),
    }
