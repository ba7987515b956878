"""How alike the photos are that excite a unit."""

import torch
from torch import Tensor
from torchmetrics import Metric


class MonoScore(Metric):
    """Monosemanticity score of each unit: the mean cosine similarity of pairs of photos, weighted by how much both excite it.

    With activations scaled so that the least of a unit is a = 0 and its greatest a = 1, and embeddings e,

        MS = sum_{i<j} a_i a_j cos(e_i, e_j) / sum_{i<j} a_i a_j

    (Pach et al. 2025, arXiv 2504.02821). Both sums over pairs are half of a squared sum less a sum of squares,
    |sum_i a_i e_i|^2 - sum_i a_i^2 and (sum_i a_i)^2 - sum_i a_i^2, so that one pass over the photos is enough (Nasiri-Sarvi et al. 2026,
    arXiv 2602.12403); the scale enters at the end, as the sums are linear in it. The states take 8 U (D + 4) bytes.

    Args:
        units: U.
        dimensions: D, of an embedding.

    Shape: update takes embeddings (B, D), of any length other than 0, and activations (B, U); compute gives (U,), each in [-1, 1],
    higher is better. NaN for a unit whose activation is NaN or infinite for any photo, the same for all, or above its least for
    one photo only; a NaN embedding, or one of length 0, makes all NaN.
    """

    full_state_update = False
    higher_is_better = True
    vectors: Tensor
    plain: Tensor
    sums: Tensor
    squares: Tensor
    least: Tensor
    greatest: Tensor
    total: Tensor

    def __init__(self, units: int, dimensions: int) -> None:
        super().__init__()
        double = torch.float64  # what counts are differences of large sums
        self.add_state("vectors", torch.zeros(units, dimensions, dtype=double), dist_reduce_fx="sum")
        self.add_state("plain", torch.zeros(dimensions, dtype=double), dist_reduce_fx="sum")
        self.add_state("sums", torch.zeros(units, dtype=double), dist_reduce_fx="sum")
        self.add_state("squares", torch.zeros(units, dtype=double), dist_reduce_fx="sum")
        self.add_state("least", torch.full((units,), torch.inf, dtype=double), dist_reduce_fx="min")
        self.add_state("greatest", torch.full((units,), -torch.inf, dtype=double), dist_reduce_fx="max")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, embeddings: Tensor, activations: Tensor) -> None:
        embeddings, activations = embeddings.double(), activations.double()
        embeddings = embeddings / embeddings.norm(dim=1, keepdim=True)
        self.vectors += activations.T @ embeddings
        self.plain += embeddings.sum(0)
        self.sums += activations.sum(0)
        self.squares += activations.square().sum(0)
        self.least = torch.minimum(self.least, activations.amin(0))
        self.greatest = torch.maximum(self.greatest, activations.amax(0))
        self.total += len(embeddings)

    def compute(self) -> Tensor:
        scale = self.greatest - self.least
        vectors = (self.vectors - self.least[:, None] * self.plain) / scale[:, None]
        sums = (self.sums - self.least * self.total) / scale
        squares = (self.squares - 2 * self.least * self.sums + self.least.square() * self.total) / scale.square()
        pairs = sums.square() - squares
        # What rounding leaves of a single photo's pairs with itself is no pair.
        undefined = pairs <= 1e-12 * sums.square()
        score = (vectors.square().sum(1) - squares) / pairs
        return score.masked_fill(undefined, float("nan")).float()
