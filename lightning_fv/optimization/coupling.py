"""Optimizers whose update of a picture depends on the other pictures of its batch, which would make it another picture there.

Adam and SGD update each number by itself. L-BFGS has one curvature and one step length for all numbers of a Parameter, and Adafactor
shares second moments and scales among them: with these, a picture is a batch of its own.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_fv.errors import UsageError


@dataclass(frozen=True)
class Behaviour:
    """What a trial of an optimizer found out.

    Attributes:
        name: of its class.
        couples: whether the update of a picture depends on its batch.
        evaluates: whether it evaluates the objective several times in a step, as line searches do.
    """

    name: str
    couples: bool
    evaluates: bool


def behaviour(make: Callable[[Iterable[Any]], Optimizer]) -> Behaviour:
    """Try an optimizer for three steps, on two pictures together and on the first alone.

    Args:
        make: makes it from parameters.
    """
    name = type(make([nn.Parameter(torch.zeros(1))])).__name__
    try:
        together, evaluations = _trial(make, 2)
        alone, _ = _trial(make, 1)
    except Exception:  # it needs something else of its parameters, and a render will tell
        return Behaviour(name, False, False)
    same = torch.allclose(together[:1], alone, rtol=1e-4, atol=1e-6, equal_nan=True)
    return Behaviour(name, not same, evaluations > _STEPS)


def check_coupling(make: Callable[[Iterable[Any]], Optimizer], count: int) -> None:
    """Refuse several pictures in a batch if the optimizer would mix them.

    Args:
        make: makes it from parameters.
        count: pictures in the batch.

    Raises:
        UsageError: they would depend on each other.
    """
    if count > 1 and (found := behaviour(make)).couples:
        raise UsageError(
            f"{found.name} would make the {count} pictures of a batch depend on each other; render them one by one: "
            "--batch-size 1 (batch_size=1 in Python), and one picture of each unit"
        )


def check_clipping(options: Mapping[str, Any], count: int) -> None:
    """Refuse to clip several pictures in a batch by the norm of their common gradient, as Lightning does unless told otherwise.

    Args:
        options: of the Trainer.
        count: pictures in the batch.

    Raises:
        UsageError: they would depend on each other.
    """
    algorithm = options.get("gradient_clip_algorithm")
    by_norm = str(getattr(algorithm, "value", algorithm) or "norm").lower() == "norm"
    if count > 1 and options.get("gradient_clip_val") and by_norm:
        raise UsageError(
            f"gradient_clip_val would clip the norm of the gradient of all {count} pictures of a batch, which then depend on each "
            "other; use --trainer.gradient_clip_algorithm value, or render them one by one: --batch-size 1"
        )


_STEPS = 3


def _trial(make: Callable[[Iterable[Any]], Optimizer], count: int) -> tuple[Tensor, int]:
    """The values after some steps on an objective without a minimum, at which all optimizers would meet, and the evaluations."""
    start = torch.arange(count * 48.0).view(count, 3, 4, 4).sin()
    steepness = torch.tensor([1.0, 10.0])[:count].view(-1, 1, 1, 1) * (2 + start.cos())
    values, evaluations = nn.Parameter(start.clone()), 0

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        values.grad = None
        with torch.enable_grad():
            loss: Tensor = (steepness * (-values).exp()).sum()
            loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer = make([values])
    for _ in range(_STEPS):
        optimizer.step(closure)  # type: ignore[arg-type]
    return values.detach(), evaluations
