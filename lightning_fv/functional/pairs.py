"""How much pictures differ, by pairs."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mean_of_pairs(matrix: Tensor) -> Tensor:
    """Mean of the entries of symmetric matrices that are off the diagonal.

    Args:
        matrix: (..., B, B).

    Returns:
        (...), NaN if B is 1 or for a NaN off the diagonal.
    """
    count = matrix.shape[-1]
    rows, columns = torch.triu_indices(count, count, 1, device=matrix.device)
    return matrix[..., rows, columns].mean(-1)


def feature_distances(layers: Sequence[Tensor]) -> Tensor:
    """Perceptual distance of each picture from each other: LPIPS (Zhang et al. 2018) with all weights 1.

    At each position of each layer the channels are scaled to a norm of 1; the distance is the squared difference summed over
    channels, averaged over positions and summed over layers. The learned weights of LPIPS belong to networks that this may not be.

    Args:
        layers: of each layer the activations (B, C, H, W), or (B, C) or (B, C, T).

    Returns:
        (B, B) in [0, 4 per layer], at most 2 per layer where activations are not negative, with zeros on the diagonal; a position at
        which no channel is active counts as zeros. NaN for a picture with a NaN.
    """
    return torch.stack([_squared_differences(layer) for layer in layers]).sum(0)


def _squared_differences(layer: Tensor) -> Tensor:
    features = torch.nn.functional.normalize(layer.float().reshape(*layer.shape[:2], -1), dim=1)
    # Row by row and by differences: the product of features would lose small distances in rounding.
    return torch.stack([(features - one).square().sum(1).mean(1) for one in features])
