"""The two-choice test of what a picture tells of a unit, with features in place of people."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

BLOCK = 128
"""Units at a time: for 2,000 units in a memory map of 50,000 photos, `TwoChoiceTrials.of` takes 0.4 GB at its peak."""


@dataclass
class TwoChoiceTrials:
    """The trials of every unit: which photo of a pair does it respond to?

    After Borowski et al. 2021 ("Exemplary Natural Images Explain CNN Activations Better than State-of-the-Art Feature
    Visualization") and Zimmermann et al. 2021. Every second photo, from the second on, may be asked about; the others may
    serve as hints, so that no hint is among the photos that are asked about.

    Attributes:
        best: (U, P) indices of the photos that excite it most, of those asked about.
        least: (U, P) indices drawn from the half that excites it least, with repetition.
        hints: (U, K) indices of the photos that excite it most, of those that give hints, the best first.
        top: (U,) the highest activation of all photos; NaN for a unit with a NaN activation.
    """

    best: Tensor
    least: Tensor
    hints: Tensor
    top: Tensor

    @classmethod
    def of(
        cls, activations: "Tensor | np.ndarray[Any, Any]", pairs: int = 20, hints: int = 9, seed: int = 0
    ) -> "TwoChoiceTrials":
        """The trials of units, a function of the activations and ``seed``.

        Among photos that excite a unit equally, as not at all, torch's sort decides, whose order is not that of another processor.

        Args:
            activations: (N, U), of each photo the activation of each unit; photos in an order unrelated to what they show. A
                numpy array may be a memory map: it is read in blocks of units.
            pairs: trials of each unit, P.
            hints: photos of each unit that may serve as hints, K.

        Raises:
            ValueError: too few photos for the best and the least to be different ones.
        """
        count, units = activations.shape
        if count // 2 < 2 * pairs or (count + 1) // 2 < hints:
            needed = max(4 * pairs, 2 * hints - 1)
            raise ValueError(f"{pairs} pairs and {hints} hints take at least {needed} photos, not {count}")
        asked, giving = torch.arange(1, count, 2), torch.arange(0, count, 2)
        draws = torch.randint(
            len(asked) // 2, len(asked), (units, pairs), generator=torch.Generator().manual_seed(seed)
        )
        blocks = []
        for start in range(0, units, BLOCK):
            columns = activations[:, start : start + BLOCK]
            rows = torch.as_tensor(columns if isinstance(columns, Tensor) else np.array(columns)).T.contiguous().cpu()
            order = rows[:, asked].argsort(1, descending=True)
            blocks.append(
                (
                    asked[order[:, :pairs]],
                    asked[order.gather(1, draws[start : start + BLOCK])],
                    giving[rows[:, giving].argsort(1, descending=True)[:, :hints]],
                    rows.amax(1),
                )
            )
        return cls(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))

    def right(self, units: Tensor, hints: Tensor, photos: Tensor) -> Tensor:
        """Share of right answers for each unit, where the photo is chosen whose features are more alike to those of the hints.

        Alike by the mean, over a unit's hints, of the product of features, which is their cosine similarity where the features
        have a norm of 1. A tie is half right.

        Args:
            units: (n,) indices.
            hints: (n, K, F) features of any hints of each of them, such as its pictures.
            photos: (N, F) features of all photos.

        Returns:
            (n,) in [0, 1], by chance 0.5; NaN for a unit with a NaN activation or for which a feature needed is NaN.
        """
        return torch.cat(
            [
                self._right(some, given, photos)
                for some, given in zip(torch.split(units, BLOCK), torch.split(hints, BLOCK), strict=True)
            ]
        )

    def _right(self, units: Tensor, hints: Tensor, photos: Tensor) -> Tensor:
        hint = hints.mean(1)
        better = torch.einsum("cpf,cf->cp", photos[self.best[units]], hint)
        worse = torch.einsum("cpf,cf->cp", photos[self.least[units]], hint)
        right = (better > worse).float() + 0.5 * (better == worse)
        unknown = better.isnan() | worse.isnan() | self.top[units].isnan()[:, None].to(better.device)
        return right.masked_fill(unknown, float("nan")).mean(1)
