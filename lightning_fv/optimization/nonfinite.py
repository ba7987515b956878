"""Non-finite objectives and gradients, caught per picture so that the rest of the batch is unaffected."""

import torch
from torch import Tensor, nn

NONFINITE_LIMIT = 4
"""Non-finite gradients after which a picture is no longer updated; by then its step has been halved three times."""


class NonFiniteGuard(nn.Module):
    """Keeps NaN and infinite values of one picture away from the optimizer, without changing a bit of any other picture.

    When a picture's objective or gradient becomes NaN or infinite, the picture is restored to the last values with a finite
    gradient and its row of the gradient is set to zero before the optimizer sees it. Its steps are half as long from then on.
    After `NONFINITE_LIMIT` such events it is no longer updated. The optimizer's state for the row is kept: a step with a zero
    gradient cannot poison it, and it holds what Adam knows about the scale of the gradient. Zeroed moments would make the next
    steps longer, not shorter.

    All state is held in tensors, so that no step waits for the device, and is part of the state dict.

    Attributes:
        nonfinite_count: (B,) how often each picture had a non-finite gradient; keeps counting after the limit.
        last_finite: (B, ...) the last ``values`` of the parameterization whose gradient was finite.
    """

    nonfinite_count: Tensor
    last_finite: Tensor
    _scales: Tensor
    _infinity: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reset(torch.empty(0))

    def reset(self, values: Tensor) -> None:
        """Forget all events; ``values`` (B, ...) are the starting values of the pictures."""
        self._weight, self._all_finite, self._in_step = torch.ones(()), False, False
        self.register_buffer("nonfinite_count", torch.zeros(len(values), dtype=torch.long, device=values.device))
        self.register_buffer("last_finite", values.detach().clone())
        scales = torch.tensor([0.5**count for count in range(NONFINITE_LIMIT)] + [0.0], device=values.device)
        self.register_buffer("_scales", scales, persistent=False)
        self.register_buffer("_infinity", torch.tensor([torch.inf], device=values.device), persistent=False)

    @property
    def diverged(self) -> Tensor:
        """(B,) bool: which pictures reached the limit and are no longer updated."""
        return self.nonfinite_count >= NONFINITE_LIMIT

    @property
    def step_scale(self) -> Tensor:
        """(B,) factor of the optimizer's update: 1, 1/2, ..., and 0 for a diverged picture."""
        return self._scales[self.nonfinite_count.clamp_max(NONFINITE_LIMIT)]

    @torch.no_grad()
    def before_step(self, values: nn.Parameter) -> None:
        """Zero the non-finite rows of the gradient of ``values`` (B, ...) and restore these rows of ``values``.

        Where an optimizer evaluates the objective several times in a step (LBFGS), this is done at the first; at the others only
        the gradient is changed, since ``values`` are then what a line search tries.
        """
        gradient, shape = values.grad, (-1, *[1] * (values.ndim - 1))
        if gradient is None:
            return
        again, self._in_step = self._in_step, True
        if again:
            finite = torch.linalg.vector_norm(gradient.flatten(1), dim=1) < torch.inf
            gradient.nan_to_num_(0.0, 0.0, 0.0).mul_((finite & ~self.diverged).view(shape))
            return
        # The norm is infinite also where squares overflow: Adam's second moment would never recover.
        norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        if norm.device.type == "cpu":  # no synchronization to avoid: a shortcut for the common case, bitwise equal
            finite = bool((norm < torch.inf).all())  # NaN compares false
            self._all_finite = finite and (self._all_finite or not bool(self.nonfinite_count.any()))
            if self._all_finite:
                self.last_finite.copy_(values)
                self._weight = torch.ones(())
                return
        # Few operations, since launching each takes a GPU's host longer than these take to compute.
        nonfinite = torch.bucketize(
            norm, self._infinity, right=True
        )  # 1, also for NaN, which sorts after infinity; else 0
        self.nonfinite_count += nonfinite
        row = self.nonfinite_count.add(nonfinite, alpha=NONFINITE_LIMIT).clamp_max_(NONFINITE_LIMIT)
        left_alone = (row == NONFINITE_LIMIT).view(shape)  # pictures that are non-finite now or diverged
        gradient.masked_fill_(left_alone, 0.0)
        torch.where(left_alone, self.last_finite, values, out=self.last_finite)
        values.copy_(self.last_finite)
        self._weight = self._scales[row].view(shape)

    @torch.no_grad()
    def after_step(self, values: nn.Parameter) -> None:
        """Scale down the optimizer's update of ``values`` (B, ...) for the pictures with shortened steps."""
        self._in_step = False
        if self._all_finite and bool(torch.linalg.vector_norm(values) < torch.inf):
            return
        # An update to infinity becomes NaN here, which the next step counts and undoes.
        torch.lerp(self.last_finite, values, self._weight, out=values.detach())

    @torch.no_grad()
    def restore_last_finite(self, values: nn.Parameter, rows: Tensor) -> None:
        """Restore ``rows``, (B,) bool, of ``values`` (B, ...) to the last ones with a finite gradient."""
        values.copy_(torch.where(rows.view(-1, *[1] * (values.ndim - 1)), self.last_finite, values))
