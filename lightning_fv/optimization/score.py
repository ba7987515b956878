"""Scores of finished or interrupted renders: one record per picture."""

import math

import torch
from torch import Tensor

from lightning_fv.errors import warn
from lightning_fv.functional import PhotoSet, photo_high_frequency
from lightning_fv.metrics import high_frequency_share, saturated_share
from lightning_fv.objectives import LOGITS, Objective
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.photos.activations import unit_of
from lightning_fv.photos.statistics import PhotoStatistics, shipped_statistics
from lightning_fv.runs.captions import network_label
from lightning_fv.runs.record import Record, Status

_SATURATED = 0.9
"""Share of saturated values above which a picture counts as lost: the gradient vanishes at the ends of the range."""


def assess(
    visualizer: FeatureVisualizer,
    steps: int,
    seconds: float,
    complete: bool,
    photos: PhotoStatistics | None = None,
) -> list[Record]:
    """Score each picture as it is, without transforms and penalties.

    Pictures that are not finite, or whose objective is not, are first restored to their last finite values.

    Args:
        visualizer: bound, with its pictures; pictures that are not finite are changed.
        steps: optimizer steps done.
        seconds: wall time of the whole batch.
        complete: whether the render has reached its last step.
        photos: what the units respond to photos; by default the package's own numbers, for the embedded networks.

    Returns:
        A record per target, without an image path yet. Class targets have their ``probability`` and the most probable
        class (``top1``); all have the share of ``saturated`` values, that of ``high_frequency`` energy, and the latter over
        that of the network's photos (``high_frequency_ratio``). Pictures that were restarted because of a dead unit have the
        number of ``restarts``. Several pictures of a unit have their ``rank`` by score, 1 for the best, and their mean
        ``similarity`` to the others, as in `lightning_fv.optimization.diversity`. Channels and logits that are known from photos have
        `lightning_fv.photos.statistics.Comparison.scores`.
    """
    assert visualizer.network is not None
    found = _measure(visualizer)
    rows = _on_host(found)
    if not all(row["finite"] and math.isfinite(row["value"]) for row in rows):
        nonfinite = ~(found["finite"] & found["value"].isfinite())
        visualizer.guard.restore_last_finite(visualizer.parameterization.values, nonfinite)
        rows = _on_host(_measure(visualizer))
    photos = photos if photos is not None else shipped_statistics(visualizer.network)
    records = []
    for target, row in zip(visualizer.targets, rows, strict=True):
        value = row["value"]
        status: Status = "done" if complete else "partial"
        if row["diverged"] or not row["finite"] or not math.isfinite(value):
            status = "diverged"
        elif complete and row["dead"]:
            status = "dead"
        record = Record(
            **target.names,
            network=network_label(visualizer.network),
            status=status,
            score=value if math.isfinite(value) else None,
            image=None,
            size=list(visualizer.size),
            steps=steps,
            seed=visualizer.seed,
            seconds=round(seconds / len(visualizer.targets), 3),
        )
        if row["finite"]:
            record.scores = _picture_scores(row, visualizer.network.photos)
            if target.class_index is not None and "probability" in row and status != "diverged":
                record.scores |= _class_scores(row, visualizer.network.categories)
            if photos is not None and status != "diverged":
                record.scores |= _among_photos(target.objective, value, photos)
        if row["restarts"]:
            record.scores["restarts"] = int(row["restarts"])
        records.append(record)
    _compare(records, visualizer, rows)
    saturated = [r.target for r in records if complete and float(r.scores.get("saturated", 0.0)) > _SATURATED]
    if saturated:
        warn(
            f"more than {_SATURATED:.0%} of the values are saturated in {len(saturated)} of {len(records)} pictures "
            f"({', '.join(saturated[:3])}{', ...' if len(saturated) > 3 else ''}): the steps are too large; "
            "set a smaller learning rate, such as --model.optimizer.lr 0.05",
        )
    return records


def _among_photos(objective: Objective, value: float, photos: PhotoStatistics) -> dict[str, float | str]:
    unit = unit_of(objective)
    comparison = photos.compare(*unit, value) if unit is not None else None
    return comparison.scores() if comparison is not None else {}


def _compare(records: list[Record], visualizer: FeatureVisualizer, rows: list[dict[str, float]]) -> None:
    """Add to the records of several pictures of a unit how they compare; those without a score have no rank."""
    assert visualizer.chunked_objective is not None
    for unit in visualizer.chunked_objective.comparison.units:
        ranked = [records[row] for row in unit.rows if records[row].status in ("done", "partial")]
        ranked.sort(key=lambda record: -(record.score or 0.0))
        for rank, record in enumerate(ranked, 1):
            record.scores["rank"] = rank
        for row in unit.rows:
            if math.isfinite(rows[row]["similarity"]):
                records[row].scores["similarity"] = round(rows[row]["similarity"], 4)


def _measure(visualizer: FeatureVisualizer) -> dict[str, Tensor]:
    """All numbers of the records, (B,) each, on the device: of the pictures without transforms and penalties.

    Returns:
        ``value``, each target's objective; ``dead``, whether its unit is exactly 0 and without gradient; ``finite``, ``diverged``,
        ``restarts``, ``saturated`` and ``high_frequency``; ``similarity`` if units have several pictures; of classes, if any target is one,
        its ``probability``, and the most probable one, ``top``.
    """
    objective = visualizer.chunked_objective
    assert objective is not None
    pictures = visualizer.pictures()
    references = objective.references.at(visualizer.size, pictures.device)
    gradient = objective(pictures, pictures, references=references)
    chunks = torch.split(pictures, objective.chunk or len(pictures))
    found = {
        "value": gradient.objectives,
        "dead": ~gradient.active,
        "finite": pictures.isfinite().flatten(1).all(1),
        "diverged": visualizer.guard.diverged,
        "restarts": visualizer.dead_units.restarts,
        "saturated": torch.cat([saturated_share(chunk) for chunk in chunks]),
        "high_frequency": torch.cat([high_frequency_share(chunk) for chunk in chunks]),
    }
    if objective.comparison.units:
        found["similarity"] = objective.similarity(pictures)
    if any(LOGITS in target.objective.layers for target in visualizer.targets):
        with torch.no_grad():
            probabilities = objective.logits(pictures).float().softmax(1)
        # One by one, since an index tensor would have to be copied to the device.
        own = [row[target.class_index or 0] for row, target in zip(probabilities, visualizer.targets, strict=True)]
        found |= {"probability": torch.stack(own), "top": probabilities.argmax(1)}
    return found


def _on_host(columns: dict[str, Tensor]) -> list[dict[str, float]]:
    """The numbers of each picture, from (B,) each; copied from the device together, since each copy waits for it."""
    device = next(iter(columns.values())).device
    exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    table: list[list[float]] = torch.stack([column.to(exact) for column in columns.values()], 1).tolist()
    return [dict(zip(columns, row, strict=True)) for row in table]


def _picture_scores(row: dict[str, float], photos: PhotoSet) -> dict[str, float | str]:
    names = ("saturated", "high_frequency")
    ratio = row["high_frequency"] / photo_high_frequency(photos)
    return {name: round(value, 4) for name, value in [*((n, row[n]) for n in names), ("high_frequency_ratio", ratio)]}


def _class_scores(row: dict[str, float], categories: tuple[str, ...]) -> dict[str, float | str]:
    top = int(row["top"])
    return {"probability": round(row["probability"], 4), "top1": categories[top] if categories else str(top)}
