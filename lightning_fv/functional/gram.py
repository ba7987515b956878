"""Gram matrices of features, which do not tell where in the picture they are, and the cosine between them."""

import torch
from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """Gram matrices of the channels of features (B, C, P), mean over positions, (B, C, C)."""
    return features @ features.mT / features.shape[2]


def gram_cosine(one: Tensor, other: Tensor) -> Tensor:
    """Cosine between the Gram matrices of the channels of features, which tell how often channels are active together.

    Gram matrices are those of Gatys et al. (2015), "A Neural Algorithm of Artistic Style", section Methods; their cosine is how
    Olah et al. (2017), "Feature Visualization", compare pictures. Features below 1e-12 everywhere have the cosine 0 with any.

    Args:
        one: (N, C, P), C channels at P positions.
        other: (M, C, P).

    Returns:
        (N, M), in [0, 1] up to rounding.
    """
    one, other = _scaled(one), _scaled(other)
    channels, positions = one.shape[1:]
    if positions < channels:  # |F F'| = |F' F| and <F F', G G'> = |F' G|^2, of the smaller matrices
        norms = [torch.linalg.vector_norm(features.mT @ features, dim=(1, 2)) for features in (one, other)]
        across = one.mT.reshape(-1, channels) @ other.transpose(0, 1).reshape(channels, -1)
        products = across.square().view(len(one), positions, len(other), positions).sum((1, 3))
    else:
        grams = [(features @ features.mT).flatten(1) for features in (one, other)]
        norms = [torch.linalg.vector_norm(gram, dim=1) for gram in grams]
        products = grams[0] @ grams[1].mT
    cosines: Tensor = products / (norms[0][:, None] * norms[1][None]).clamp_min(
        1
    )  # that of features that are not all 0
    return cosines


def _scaled(features: Tensor) -> Tensor:
    """Features with a largest magnitude of 1, so that their fourth powers neither overflow nor vanish."""
    return features / features.detach().abs().amax((1, 2), keepdim=True).clamp_min(1e-12)
