"""Measure how the channels of a network's layers respond to photos, for the penalty `lightning_fv.objectives.DistributionMatching`.

    python scripts/measure_quantiles.py --photos FOLDER --network NAME --layers LAYER ... --out FILE
    python scripts/measure_quantiles.py --photos TINY_IMAGENET

Of each channel the mean over photos of its sorted activations, at 32 levels, and the mean squared distance of photos from that. The file
may hold several networks: what it has is kept. Without --network and --out, the package's own file is made, of all embedded networks.
FOLDER holds photos, or ``val*.tar`` of them, as for train_sae.py; those are taken that it measures on.
"""

from collections.abc import Sequence

import torch
from measurements import write_measurements
from torch import Tensor

from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.demo import NAMES
from lightning_fv.objectives.distribution_matching import QUANTILES, resampled

LEVELS = 32


@torch.no_grad()
def measure(network: VisionNetwork, photos: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Quantiles (C, LEVELS) in float16 and spread (C,) of each layer, of photos uint8 (N, 3, H, W)."""
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    with network.frozen():
        for batch in torch.split(photos, 100):
            for layer, found in network.activations(batch.float() / 255, layers).items():
                if found.ndim < 3:
                    raise SystemExit(f"{layer} outputs {tuple(found.shape)}, without positions")
                values = found.flatten(2).sort(2).values.double()
                total, squares = sums.get(layer, (0, 0))
                sums[layer] = values.sum(0) + total, values.square().mean(2).sum(0) + squares
    made = {}
    for layer, (total, squares) in sums.items():
        mean = total / len(photos)  # (C, P)
        quantiles = resampled(mean, LEVELS).half()
        wanted = resampled(quantiles.double(), mean.shape[1])  # as the penalty compares with them
        spread = squares / len(photos) - (2 * mean * wanted - wanted.square()).mean(1)
        made[f"{network.name}:{layer}"] = quantiles
        # A channel that photos never excite: of the size of the others, so that it does not outweigh them.
        made[f"{network.name}:{layer} spread"] = spread.clamp_min(float(spread.median()) / 100).float()
    return made


def main() -> None:
    write_measurements(__doc__, QUANTILES, NAMES, measure, "val")


if __name__ == "__main__":
    main()
