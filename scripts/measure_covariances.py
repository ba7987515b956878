"""Measure how the channels of a network's layers vary together over photos, for the penalty `lightning_fv.objectives.Pattern`.

    python scripts/measure_covariances.py --photos FOLDER --network NAME --layers LAYER ... --out FILE
    python scripts/measure_covariances.py --photos TINY_IMAGENET

Of the mean activation of each channel over a photo's positions: mean, standard deviation and correlations over photos. The file may hold
several networks: what it has is kept. Without --network and --out, the package's own file is made, of demo and demo/vit. FOLDER
holds photos, or ``train*.tar`` of them, as for train_sae.py; every fifth is taken, or every --every. Pictures that are compared with other photos,
as by benchmark_quality.py with those of ``val*.tar``, have learned nothing of them.
"""

from collections.abc import Sequence

import torch
from measurements import write_measurements
from torch import Tensor

from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives.pattern import COVARIANCES


@torch.no_grad()
def measure(network: VisionNetwork, photos: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Mean (C,), standard deviation (C,) and correlations (C, C) in float16 of each layer, of photos uint8 (N, 3, H, W)."""
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    with network.frozen():
        for batch in torch.split(photos, 100):
            for layer, activation in network.activations(batch.float() / 255, layers).items():
                found[layer].append(activation.reshape(*activation.shape[:2], -1).mean(2))
    made = {}
    for layer, parts in found.items():
        values = torch.cat(parts).double()
        std = values.std(0)
        # A channel that photos hardly excite: so that it does not outweigh the others where a picture does.
        std = std.clamp_min(float(std.median()) / 10)
        name = f"{network.name}:{layer}"
        made[f"{name} mean"], made[f"{name} std"] = values.mean(0).float(), std.float()
        made[f"{name} correlation"] = (torch.cov(values.T) / std[:, None] / std).half()
    return made


def main() -> None:
    write_measurements(__doc__, COVARIANCES, ["demo", "demo/vit"], measure, "train", every=5)


if __name__ == "__main__":
    main()
