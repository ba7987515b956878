"""How alike features are, wherever in the picture they are: the cosine between Gram matrices."""

import torch
from torch import Tensor


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
    norms = _norm(one)[:, None] * _norm(other)[None]
    channels, positions = one.shape[1:]
    if positions < channels:  # <F F', G G'> = |F' G|^2, which is the smaller matrix here
        across = one.mT.reshape(-1, channels) @ other.transpose(0, 1).reshape(channels, -1)
        products = across.square().view(len(one), positions, len(other), positions).sum((1, 3))
    else:
        products = (one @ one.mT).flatten(1) @ (other @ other.mT).flatten(1).mT
    return products / norms.clamp_min(1)  # of scaled features they are 1 or more, unless all are 0


def _scaled(features: Tensor) -> Tensor:
    """Features with a largest magnitude of 1, so that their fourth powers neither overflow nor vanish."""
    return features / features.detach().abs().amax((1, 2), keepdim=True).clamp_min(1e-12)


def _norm(features: Tensor) -> Tensor:
    gram = features.mT @ features if features.shape[2] < features.shape[1] else features @ features.mT
    norms: Tensor = torch.linalg.vector_norm(gram, dim=(1, 2))
    return norms
