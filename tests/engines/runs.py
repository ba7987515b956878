"""Runs in this process, for tests of whatever is rendered."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network
from lightning_fv.engines.base import JobResult
from lightning_fv.engines.local import LocalEngine
from lightning_fv.engines.plan import Plan, Setup, make_plan
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.runs.folder import RunFolder

QUICK: dict[str, Any] = {"max_steps": 4, "accelerator": "cpu", "enable_progress_bar": False}


def plan_of(
    targets: Any = "logits:0-3",
    batch_size: int = 2,
    folder: Path | None = None,
    callbacks: Sequence[pl.Callback] = (),
    recipe: FeatureVisualizer | None = None,
    network: VisionNetwork | None = None,
    **options: Any,
) -> Plan:
    """A plan, of the demo network by default, in a run folder if one is given."""
    setup = Setup(
        network or load_network("demo"),
        recipe or FeatureVisualizer(size=32),
        {**QUICK, "callbacks": list(callbacks), **options},
        checkpoint_seconds=1e-6,
    )
    plan = make_plan(setup, targets, batch_size)
    if folder is not None:
        plan.folder = RunFolder(folder)
        if not plan.folder.jobs.is_dir():
            plan.folder.create()
        plan.folder.register(plan.jobs)
    return plan


def work(plan: Plan) -> list[JobResult]:
    """What becomes of a plan in this process."""
    engine = LocalEngine() if plan.folder is None else WorkerEngine()
    with plan.stop:
        return list(engine.run(plan))
