"""Steps replayed as CUDA graphs: all operations of a step are launched as one, where launching them takes longer than computing them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW

from lightning_fv.errors import warn
from lightning_fv.objectives import Function, Objective
from lightning_fv.objectives.base import Term
from lightning_fv.optimization.step_block import Work
from lightning_fv.parameterizations import Parameterization

if TYPE_CHECKING:
    from lightning_fv.optimization.visualizer import FeatureVisualizer


class CapturedSteps:
    """Does steps one by one, by replaying the recording of one where that is possible.

    A recording holds addresses and constants: it reads the pictures, the optimizer's moments and the random draws of a step from the same memory
    each time, where `TransformPipeline.hold` puts the draws. So it is made anew when any of these move or a constant changes: after growth,
    after running out of memory, at another learning rate. What it cannot hold is done operation by operation: steps with redirected ReLUs, and
    the first of each size, which makes constants and chooses kernels.

    The objectives of the first replay are compared with those of the pictures before it; if they differ by more than rounding, or if
    recording fails, all steps of the render are done operation by operation, and one line says so.

    Args:
        visualizer: whose steps these are, on a CUDA device.
    """

    def __init__(self, visualizer: "FeatureVisualizer") -> None:
        self._visualizer = visualizer
        self._graph: torch.cuda.CUDAGraph | None = None
        self._key: Any = None
        self._step: Tensor | None = None
        self._objectives: Tensor | None = None
        self._reason = cannot_capture(visualizer)
        if self._reason is not None:
            self._fall_back(self._reason)

    def __call__(self, step: int, work: Work) -> None:
        """Do a step.

        Args:
            step: optimizer steps done.
            work: does it operation by operation.
        """
        visualizer = self._visualizer
        plain = visualizer.dead_units.redirect_mask(step, visualizer.redirect_steps) is False
        if self._reason is not None or not plain:
            return work(step, step)
        key = self._constants()
        if key != self._key:
            self._key, self._graph = key, None
            return work(step, step)
        assert visualizer.pipeline is not None
        visualizer.pipeline.hold(step)
        if self._graph is None:
            return self._record(step, work)
        assert self._step is not None
        self._step.fill_(step)
        self._graph.replay()
        visualizer.objective_values = self._objectives
        return None

    def _record(self, step: int, work: Work) -> None:
        """Record a step, and do it: by replaying it, if that gives what it should."""
        visualizer = self._visualizer
        self._step = torch.full((), step, device=visualizer.device)
        visualizer.loss(self._step, None)
        expected = visualizer.objective_values
        assert expected is not None
        graph = torch.cuda.CUDAGraph()
        try:
            with _capturable(visualizer.trainer.optimizers), torch.cuda.graph(graph, capture_error_mode="thread_local"):
                work(self._step, None)
        except RuntimeError as error:
            visualizer.parameterization.values.grad = None  # perhaps in the recording's memory
            self._fall_back(" ".join(str(error).split()))
            return work(step, step)
        self._graph, self._objectives = graph, visualizer.objective_values
        assert self._objectives is not None
        state = [(tensor, tensor.clone()) for tensor in _state(visualizer)]
        graph.replay()
        if not torch.allclose(self._objectives, expected, rtol=0.01, atol=1e-4, equal_nan=True):
            self._graph = None
            for tensor, before in state:
                tensor.copy_(before)
            visualizer.parameterization.values.grad = None
            self._fall_back("a replayed step gave other objectives than the step itself")
            return work(step, step)
        return None

    def _fall_back(self, reason: str) -> None:
        self._reason = reason
        warn(f"steps are not replayed as CUDA graphs: {reason[:200]}")

    def _constants(self) -> Any:
        """What a recording holds besides the memory that it reads."""
        visualizer = self._visualizer
        assert visualizer.chunked_objective is not None
        groups = [
            {k: v for k, v in group.items() if k != "params"} for group in visualizer.trainer.optimizers[0].param_groups
        ]
        values = visualizer.parameterization.values
        return visualizer.size, values.data_ptr(), visualizer.chunked_objective.chunk, groups


def _state(visualizer: "FeatureVisualizer") -> list[Tensor]:
    """All that a step changes."""
    moments = visualizer.trainer.optimizers[0].state[visualizer.parameterization.values]
    buffers = [*visualizer.guard.buffers(), *visualizer.dead_units.buffers(), *visualizer.parameterization.buffers()]
    values = visualizer.parameterization.values.detach()
    return [values, *buffers, *(value for value in moments.values() if isinstance(value, Tensor))]


@contextmanager
def _capturable(optimizers: list[Any]) -> Iterator[None]:
    """Adam refuses to be recorded unless its settings say so; afterwards they are as before, since checkpoints hold them."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    before = [group["capturable"] for group in groups]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group, value in zip(groups, before, strict=True):
            group["capturable"] = value


def cannot_capture(visualizer: "FeatureVisualizer") -> str | None:
    """Why steps cannot be recorded, in a few words, or None. Code of others may depend on more than its tensors."""
    if visualizer.device.type != "cuda":
        return f"they need a CUDA device, and pictures are on {visualizer.device.type}"
    if not visualizer.forms_blocks:
        return "a callback, several devices or an option of the Trainer needs each step by itself"
    if visualizer.pipeline is None or not visualizer.pipeline.can_hold:
        return "a transform is not one of this package"
    optimizer = visualizer.trainer.optimizers[0]
    optimizer = getattr(optimizer, "optimizer", optimizer)
    if type(optimizer) not in (Adam, AdamW) or not all(group["fused"] for group in optimizer.param_groups):
        return f"the optimizer is {type(optimizer).__name__}; they need Adam or AdamW with fused=True"
    parts = [visualizer.parameterization, *visualizer.penalties, *(target.objective for target in visualizer.targets)]
    foreign = next((part for part in map(_foreign, parts) if part is not None), None)
    return None if foreign is None else f"{foreign} is not of this package"


def _foreign(part: object) -> str | None:
    """The name of the class of a part, or of one within it, that is not of this package; None if there is none."""
    if isinstance(part, Function) or not type(part).__module__.startswith("lightning_fv."):
        return type(part).__name__
    return next((name for value in vars(part).values() for item in _parts(value) if (name := _foreign(item))), None)


def _parts(value: object) -> Iterator[object]:
    """Objectives and parameterizations among an attribute's values."""
    if isinstance(value, Objective | Parameterization):
        yield value
    elif isinstance(value, Term):
        yield from _parts(value.factors)
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _parts(item)
