"""What keeps one bad picture from spoiling, or stopping, the others of its batch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FALLS = 4
"""Falls after which a picture stands still: by then its step has been halved three times."""

DEAD_STEPS = 16
"""Steps in a row without any gradient after which a picture is begun anew, and steps between looks for such pictures."""

RESTARTS = 3
"""How often a picture is begun anew at most."""


class Guard(nn.Module):
    """Watches over each picture of a batch by itself, and touches no healthy one: not a bit of it.

    A picture *falls* when its objective or its gradient becomes NaN or infinite: before the optimizer sees it, it goes
    back to the last values whose gradient was finite, that row of the gradient becomes zero, and its steps are half as
    long from then on. After `FALLS` of them it stands still. The optimizer's memory of the row stays, since a step with a
    zero gradient poisons nothing, and keeps what Adam knows of the gradient's size: moments set to zero would make the
    next steps longer, not shorter.

    A picture is *silent* in a step in which its unit gives exactly 0 and no gradient.

    Everything is held in tensors, so that no device is waited for, and is part of the state dict.

    Attributes:
        falls: (B,) how often each fell; a picture that stands still goes on counting.
        heard: (B,) the last step in which each was not silent, or the step before it was begun.
        restarts: (B,) how often each was begun anew.
        begun: (B,) step at which each was begun.
        good: the last ``values`` of the parameterization whose gradient was finite, first axis B.
    """

    falls: Tensor
    heard: Tensor
    restarts: Tensor
    begun: Tensor
    good: Tensor
    _scales: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.begin(torch.empty(0))

    def begin(self, values: Tensor) -> None:
        """Forget everything; ``values`` (B, ...) are where the pictures start."""
        self._weight, self._all_well = torch.ones(()), False
        count, device = len(values), values.device
        for name in ("falls", "heard", "restarts", "begun"):
            self.register_buffer(name, torch.zeros(count, dtype=torch.long, device=device))
        self.heard -= 1
        self.register_buffer("good", values.detach().clone())
        scales = torch.tensor([0.5**falls for falls in range(FALLS)] + [0.0], device=device)
        self.register_buffer("_scales", scales, persistent=False)

    @property
    def diverged(self) -> Tensor:
        """(B,) bool: which pictures fell so often that they stand still."""
        return self.falls >= FALLS

    @property
    def scale(self) -> Tensor:
        """(B,) what the optimizer's update is multiplied by: 1, 1/2, ... and 0 for a picture that stands still."""
        return self._scales[self.falls.clamp_max(FALLS)]

    def hear(self, objectives: Tensor, gradient: Tensor, step: int) -> None:
        """Take note of a batch, of which several may make a step.

        Args:
            objectives: (B,), each picture's.
            gradient: (B, ...), of the objectives by what the network saw.
            step: optimizer steps done.
        """
        came_back = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        self.heard.masked_fill_((came_back != 0) | (objectives != 0), step)

    @torch.no_grad()
    def before_step(self, values: nn.Parameter) -> None:
        """Take bad rows out of the gradient of ``values`` (B, ...), and back to where they last were good."""
        gradient, shape = values.grad, (-1, *[1] * (values.ndim - 1))
        if gradient is None:
            return
        # A norm: also infinite where squares overflow, which Adam's second moment would never forget. NaN compares false.
        finite = torch.linalg.vector_norm(gradient.flatten(1), dim=1) < torch.inf
        if finite.device.type == "cpu":  # nothing to wait for: what is usual is short, and gives the same bits
            self._all_well = bool(finite.all()) and (self._all_well or not bool(self.falls.any()))
            if self._all_well:
                self.good.copy_(values)
                self._weight = torch.ones(())
                return
        self.falls += ~finite
        weight = (self.scale * finite).view(shape)
        keep = weight.ceil()  # 0 for pictures that fell or stand still, 1 for those that go on
        # Arithmetic, since a choice by a mask is five times as slow: times 1 and all the way to `values` change no bit,
        # and nothing that is multiplied by 0 is NaN or infinite any more. In place: temporaries cost more than sums.
        gradient.nan_to_num_(0.0, 0.0, 0.0).mul_(keep)
        values.nan_to_num_(0.0, 0.0, 0.0)
        values.copy_(torch.lerp(self.good, values, keep, out=self.good))
        self._weight = weight

    @torch.no_grad()
    def after_step(self, values: nn.Parameter) -> None:
        """Shorten what the optimizer did to ``values`` (B, ...), for the pictures with short steps."""
        if self._all_well and bool(torch.linalg.vector_norm(values) < torch.inf):
            return
        # An update to infinity becomes NaN here, and a fall in the next step.
        torch.lerp(self.good, values, self._weight, out=values.detach())

    def lost(self, step: int) -> list[int]:
        """Pictures that are to be begun anew. Waits for the device: not for every step.

        Args:
            step: optimizer steps done.
        """
        silent = step - 1 - self.heard >= DEAD_STEPS
        rows: list[int] = (silent & (self.restarts < RESTARTS) & ~self.diverged).nonzero().flatten().tolist()
        return rows

    @torch.no_grad()
    def restart(self, values: nn.Parameter, rows: Sequence[int], starts: Sequence[Tensor], step: int) -> None:
        """Begin some pictures anew; falls still count.

        Args:
            values: (B, ...), all pictures'.
            rows: which of them.
            starts: a row of values for each.
            step: the step that is to come.
        """
        for row, start in zip(rows, starts, strict=True):
            values[row] = start.to(values.device)
            self.good[row] = values[row]
            self.restarts[row] += 1
            self.begun[row], self.heard[row] = step, step - 1

    @torch.no_grad()
    def go_back(self, values: nn.Parameter, rows: Tensor) -> None:
        """Bring the pictures of ``rows``, (B,) bool, back to where they were last good."""
        values.copy_(torch.where(rows.view(-1, *[1] * (values.ndim - 1)), self.good, values))
