"""Measure how the channels of a network's layers vary together over photos, for the penalty `lightning_fv.objectives.Pattern`.

    python scripts/measure_covariances.py --photos FOLDER --network NAME --layers LAYER ... --out FILE
    python scripts/measure_covariances.py --photos TINY_IMAGENET

Of the mean activation of each channel over a photo's positions: mean, standard deviation and correlations over photos. The file may hold
several networks: what it has is kept. Without --network and --out, the package's own file is made, of demo and demo/vit. FOLDER
holds photos, or ``train*.tar`` of them, as for train_sae.py; every fifth is taken, or every --every. Pictures that are compared with other photos,
as by benchmark_quality.py with those of ``val*.tar``, have learned nothing of them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from train_sae import read_photos

from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.networks.weights import read_metadata
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--network")
    parser.add_argument("--layers", nargs="+", help="default: layer1 to layer4, or the blocks of a transformer")
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--out", type=Path, default=COVARIANCES)
    args = parser.parse_args()
    made = load_file(args.out) if args.out.is_file() else {}
    digests = read_metadata(args.out) if args.out.is_file() else {}
    for name in [args.network] if args.network else ["demo", "demo/vit"]:
        network = load_network(name)
        photos = read_photos(args.photos, "train", network.input_size, args.every)
        digests[name] = network.digest()
        known = {info.name for info in network.layers()}
        usual = [f"{kind}{number}" for kind in ("layer", "blocks.") for number in range(48)]
        made |= measure(network, photos, args.layers or [layer for layer in usual if layer in known])
        print(f"{name}: {len(photos)} photos")
    save_file({key: value.contiguous() for key, value in sorted(made.items())}, args.out, digests)
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
