"""What pictures of units tell of them: the two-choice test."""

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_fv.functional import TwoChoiceTrials


class TwoChoice(Metric):
    """Share of right answers in `TwoChoiceTrials` given pictures as hints, averaged over units, in [0, 1]; chance is 0.5.

    The values of single units are those of `TwoChoiceTrials.right`.

    Args:
        trials: of all units.
        photos: (N, F), the features of the photos that the trials are about.

    Shape: update takes indices of units (n,) and features of their pictures (n, K, F); compute gives a scalar. It is NaN if the
    answers for any unit are (a NaN activation or feature).
    """

    full_state_update = False
    higher_is_better = True
    share: Tensor
    total: Tensor

    def __init__(self, trials: TwoChoiceTrials, photos: Tensor) -> None:
        super().__init__()
        self.trials = trials
        self.photos: Tensor
        self.register_buffer("photos", photos, persistent=False)
        self.add_state("share", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, units: Tensor, hints: Tensor) -> None:
        self.share += self.trials.right(units.cpu(), hints, self.photos).sum()
        self.total += len(units)

    def compute(self) -> Tensor:
        return self.share / self.total
