"""What a finished, or interrupted, render is worth: one record per picture."""

import math

import torch
from torch import Tensor

from lightning_fv.metrics import HighFrequencyEnergy, SaturatedPixels
from lightning_fv.report import Record, Status
from lightning_fv.visualizer import FeatureVisualizer


def assess(visualizer: FeatureVisualizer, steps: int, seconds: float, complete: bool) -> list[Record]:
    """Score each picture as it is, without transforms and penalties.

    Args:
        visualizer: bound, with its pictures.
        steps: optimizer steps done.
        seconds: wall time of the whole batch.
        complete: whether these were all steps.

    Returns:
        A record per target, without an image path yet. Class targets have their ``probability`` and the class that
        is most probable (``top1``); all have the share of ``saturated`` values and of ``high_frequency`` energy.
    """
    assert visualizer.network is not None
    pictures = visualizer.pictures()
    finite = torch.isfinite(pictures).flatten(1).all(1)
    values, dead, logits = visualizer.score()
    records = []
    for row, target in enumerate(visualizer.targets):
        value = float(values[row])
        status: Status = "done" if complete else "partial"
        if not bool(finite[row]) or not math.isfinite(value):
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
            if target.kind in ("logit", "probability") and logits is not None and status != "diverged":
                record.scores |= _class_scores(logits[row], target.unit or 0, visualizer.network.categories)
        records.append(record)
    return records


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
