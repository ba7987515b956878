"""Total variation."""

import torch
from torch import Tensor

from lightning_fv.objectives.penalty import Penalty


class TotalVariation(Penalty):
    """Sum of absolute differences between neighbours (anisotropic; Rudin et al. 1992), over the number of values.

    Args:
        weight: factor.
    """

    def measure(self, images: Tensor) -> Tensor:
        from torchmetrics.functional.image import total_variation  # imported here: it takes half a second

        variation: Tensor = total_variation(images, reduction="none")
        return variation / torch.tensor(images[0].numel(), dtype=images.dtype)
