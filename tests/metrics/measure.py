"""What tests of metrics share."""

import copy
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def measure(metric: Metric, *batches: Tensor, device: torch.device | str = "cpu") -> float:
    metric = metric.to(device)
    metric.reset()
    for batch in batches:
        metric.update(batch.to(device))
    value = metric.compute()
    assert value.shape == ()
    return float(value)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def merged(metric: Metric, *updates: tuple[Any, ...]) -> Any:
    """What one worker for each update compute together: their states are reduced as torchmetrics does across processes."""
    workers = [copy.deepcopy(metric) for _ in updates]
    for worker, arguments in zip(workers, updates, strict=True):
        worker.update(*arguments)
    for worker in workers[1:]:
        workers[0].merge_state(worker)
    return workers[0].compute()


def updated(metric: Metric, *updates: tuple[Any, ...]) -> Any:
    """What one process computes after all updates."""
    metric = copy.deepcopy(metric)
    for arguments in updates:
        metric.update(*arguments)
    return metric.compute()
