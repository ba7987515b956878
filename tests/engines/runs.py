"""Runs in this process, for tests of whatever is rendered."""

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network
from lightning_fv.engines.base import JobResult
from lightning_fv.engines.isolation import isolated
from lightning_fv.engines.local import LocalEngine
from lightning_fv.engines.plan import Plan, Setup, make_plan
from lightning_fv.engines.signals import StopSignals
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.runs.files import WriteErrors
from lightning_fv.runs.folder import RunFolder
from tests.helpers import TinyNet

QUICK: dict[str, Any] = {"max_steps": 4, "accelerator": "cpu", "enable_progress_bar": False}


def plan_of(
    targets: Any = "logits:0-3",
    batch_size: int = 2,
    folder: Path | None = None,
    callbacks: Sequence[pl.Callback] | pl.Callback = (),
    recipe: FeatureVisualizer | None = None,
    network: VisionNetwork | None = None,
    **options: Any,
) -> Plan:
    """A plan, of the demo network by default, in a run folder if one is given."""
    setup = Setup(
        network or load_network("demo"),
        recipe or FeatureVisualizer(size=32),
        {**QUICK, "callbacks": callbacks if isinstance(callbacks, pl.Callback) else list(callbacks), **options},
        checkpoint_seconds=1e-6,
    )
    plan = make_plan(setup, targets, batch_size)
    if folder is not None:
        plan.folder = RunFolder(folder)
        if not plan.folder.jobs.is_dir():
            plan.folder.create()
        plan.folder.register(plan.jobs)
    return plan


def tiny_plan(targets: Any = "logits:0-3", batch_size: int = 2, folder: Path | None = None, **options: Any) -> Plan:
    """`plan_of` the tiny network, whose pictures have 16x20 px: for what does not depend on what they show."""
    network = VisionNetwork(TinyNet().eval(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(16, 20), name="tiny")
    return plan_of(targets, batch_size, folder, recipe=FeatureVisualizer(), network=network, **options)


def again(plan: Plan, **changes: Any) -> Plan:
    """The plan of another process on the same folder: with signals and errors of its own.

    Args:
        plan: of the first.
        changes: further fields that are not the same.
    """
    return replace(plan, **{"stop": StopSignals(), "errors": WriteErrors(), **changes})


class Fails(pl.Callback):
    """Raises in the second step of renders of one target.

    Args:
        error: what to raise.
        target: as written.
    """

    def __init__(self, error: Exception, target: str = "logits:1") -> None:
        self._error, self._target = error, target

    def settings(self) -> None:
        """None, for the ids of jobs."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == 2 and self._target in [target.text for target in pl_module.targets]:
            raise self._error


class Signal(pl.Callback):
    """Sends its own process a SIGTERM in a batch; has no settings, so that the job stays the same.

    Args:
        batch: from 1, over all renders of this copy.
        target: renders of other targets alone are left.
    """

    def __init__(self, batch: int, target: str = "") -> None:
        self._batch, self._target, self._seen = batch, target, 0

    def settings(self) -> None:
        """None, for the ids of jobs."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if not self._target or self._target in [target.text for target in pl_module.targets]:
            self._seen += 1
            if self._seen == self._batch:
                os.kill(os.getpid(), signal.SIGTERM)


def work(plan: Plan) -> list[JobResult]:
    """What becomes of a plan in this process."""
    engine = LocalEngine() if plan.folder is None else WorkerEngine()
    with isolated(), plan.stop:
        return list(engine.run(plan))
