"""What tests of metrics share."""

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
