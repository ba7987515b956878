"""Whether a picture takes the same path through a network as photos do."""

from torch import Tensor

from lightning_fv.functional.pairs import mean_of_pairs
from lightning_fv.functional.ranks import rank_correlation


def path_similarity(pictures: Tensor, own: Tensor, other: Tensor, least: float = 1e-3) -> Tensor:
    """How much a layer's activations of a picture are like those of photos of its class: 0 as photos of other classes, 1 as the class's own.

    After the sanity check of Geirhos et al. 2024, "Don't trust your eyes" (arXiv 2306.04719): with c the mean of Spearman's
    rank correlation of activations over pairs,

        s = (c(picture, own) - c(own, other)) / (c(own, own') - c(own, other)),

    own and own' being different photos. It may lie outside of [0, 1]. Each row of activations is ranked as it is: give means over
    positions (B, C), for a picture shows its class at other places than a photo does, or flattened maps (B, C H W), for a stricter
    comparison at each place. We know the paper's scale but not which of both it uses.

    Args:
        pictures: (B, C) activations of pictures.
        own: (B, K, C) of K photos of each picture's class, or (K, C) of one class for all; K at least 2.
        other: (M, C) of photos of other classes.
        least: by how much c(own, own') must exceed c(own, other). In a layer that does not tell the classes apart the scale
            has no length.

    Returns:
        (B,); NaN where the scale is shorter than ``least``, for a NaN, and for activations that are all equal.

    Raises:
        ValueError: fewer than two photos of a class, or no others.
    """
    if own.shape[-2] < 2 or not len(other):
        raise ValueError(f"two photos of a class and one of others are needed, not {own.shape[-2]} and {len(other)}")
    between = rank_correlation(own, other).mean((-2, -1))
    scale = mean_of_pairs(rank_correlation(own, own)) - between
    alike = rank_correlation(pictures[:, None], own).mean((-2, -1))
    return ((alike - between) / scale).masked_fill(scale < least, float("nan"))
