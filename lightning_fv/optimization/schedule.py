"""Learning rates that change in the course of a render, by the schedulers of ``torch.optim.lr_scheduler``, step by step."""

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lightning_fv.errors import UsageError
from lightning_fv.optimization.coupling import check_coupling
from lightning_fv.parameterizations import Parameterization

MakeOptimizer: TypeAlias = Callable[[Iterable[Any]], Optimizer]
MakeScheduler: TypeAlias = Callable[[Optimizer], LRScheduler]

TRIED_STEPS = 10_000
"""Steps of a render for which a schedule is tried before it begins."""


def optimizer_and_schedule(
    make_optimizer: MakeOptimizer, make: MakeScheduler | None, parameterization: Parameterization
) -> Any:
    """What `configure_optimizers` of a LightningModule returns; Lightning advances the schedule and saves it with its checkpoints.

    Args:
        make_optimizer: makes the optimizer from parameters.
        make: makes the schedule from it; None for a constant rate.
        parameterization: of the pictures.

    Raises:
        UsageError: the optimizer would make the pictures of a batch depend on each other.
    """
    check_coupling(make_optimizer, len(parameterization.values))
    optimizer = make_optimizer(parameterization.parameters())
    if make is None:
        return optimizer
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": make(optimizer), "interval": "step"}}


def check_schedule(make_optimizer: MakeOptimizer, make: MakeScheduler | None, steps: int) -> None:
    """Try a schedule for all steps of a render, `TRIED_STEPS` at most.

    Args:
        make_optimizer: makes the optimizer from parameters.
        make: makes the schedule from it, or None.
        steps: of the render.

    Raises:
        UsageError: it cannot be made or ends earlier, a rate is negative or not finite, or it depends on the batch.
    """
    if make is None:
        return
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))])
    try:
        scheduler = make(optimizer)
        if not isinstance(scheduler, LRScheduler):
            raise TypeError(f"it must make an LRScheduler, not an object of type {type(scheduler).__name__}")
        name = type(scheduler).__name__
        if isinstance(scheduler, ReduceLROnPlateau):
            raise TypeError(
                f"{name} follows the mean objective of a batch, so that pictures would depend on each other; choose a "
                "schedule of the step alone, such as CosineAnnealingLR"
            )
        optimizer.step(lambda: 0.0)  # before the schedule's, or it warns
        for step in range(min(steps, TRIED_STEPS)):
            for rate in (float(group["lr"]) for group in optimizer.param_groups):
                if not 0 <= rate < math.inf:
                    raise ValueError(f"the learning rate of {name} is {rate:g} at step {step}")
            scheduler.step()
    except Exception as error:  # whatever a schedule raises for its arguments, or after its last step
        raise UsageError(f"model.lr_scheduler: {' '.join(str(error).split()) or type(error).__name__}") from error
