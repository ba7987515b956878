"""Measure what the units of the embedded networks respond to photos: quantiles that the package ships.

    python scripts/measure_photos.py --photos FOLDER [--out FILE]

For each embedded network and each of its stages (`lightning_fv.networks.stages`) and its logits: percentiles of every unit's mean
activation over all photos, in half precision, and the share of photos on which it is above 0. The responses themselves are kept in
the cache, so that a second run takes seconds.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from lightning_fv.networks import load_network
from lightning_fv.networks.demo import NAMES
from lightning_fv.networks.stages import stage_layers
from lightning_fv.photos.activations import photo_activations
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.photos.statistics import SHIPPED, PhotoStatistics, network_key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    args = parser.parse_args()
    folder, tensors, metadata = PhotoFolder(args.photos), {}, {}
    for name in NAMES:
        network = load_network(name)
        found = photo_activations(network, folder, stage_layers(network), progress=True)
        metadata[name], metadata["photos"] = network_key(network), str(len(found))
        for layer, (quantiles, active) in PhotoStatistics.of(found.layers).layers.items():
            tensors[f"{name}:{layer}"] = torch.from_numpy(quantiles).half()
            tensors[f"{name}:{layer} active"] = torch.from_numpy(active).float()
    save_file(tensors, args.out, metadata)
    print(
        f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB, {len(tensors) // 2} layers, {metadata['photos']} photos"
    )


if __name__ == "__main__":
    main()
