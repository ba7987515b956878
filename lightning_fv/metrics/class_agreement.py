"""Whether a classifier sees the class that a picture was made for."""

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_fv.functional import class_probability, class_rank


class ClassAgreement(Metric):
    """How well a classifier recognizes the class that each picture was made for, averaged over all pictures seen.

    A picture is optimized for the network that it shows; of interest is a classifier that did not take part. Values of
    single pictures are those of `class_probability` and `class_rank`.

    Shape: update takes logits (B, classes) and class indices (B,); compute gives a dict of scalars: ``probability``, the mean
    softmax probability of the class, in [0, 1], higher is better; ``rank``, its mean rank, 1 for the highest logit, lower is
    better; ``top1``, the share of pictures for which it has the highest logit alone, in [0, 1]. A NaN logit makes all three NaN.
    """

    full_state_update = False
    probability: Tensor
    rank: Tensor
    top1: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("probability", "rank", "top1"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, index: Tensor) -> None:
        logits = logits.float()
        rank = class_rank(logits, index)
        self.probability += class_probability(logits, index).sum()
        self.rank += rank.sum()
        self.top1 += (rank == 1).float().masked_fill(rank.isnan(), float("nan")).sum()
        self.total += len(logits)

    def compute(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) / self.total for name in ("probability", "rank", "top1")}
