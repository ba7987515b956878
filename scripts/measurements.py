"""The command line of scripts that measure layers over photos, for a penalty that reads the numbers from a file."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from train_sae import read_photos

from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.networks.weights import read_metadata


def write_measurements(
    description: str | None,
    file: Path,
    names: Sequence[str],
    measure: Callable[[VisionNetwork, Tensor, Sequence[str]], dict[str, Tensor]],
    split: str,
    every: int | None = None,
) -> None:
    """Measure networks by the words of the command line, and add what is found to a file.

    Args:
        description: of the script.
        file: written without ``--out``.
        names: of the networks that are measured without ``--network``.
        measure: tensors by name of a network, photos uint8 (N, 3, H, W), and names of layers.
        split: which photos, as in `read_photos`.
        every: which share of them is taken without ``--every``; None without that option, all.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--network")
    parser.add_argument("--layers", nargs="+", help="default: layer1 to layer4, or the blocks of a transformer")
    parser.add_argument("--out", type=Path, default=file)
    if every is not None:
        parser.add_argument("--every", type=int, default=every)
    args = parser.parse_args()
    made = load_file(args.out) if args.out.is_file() else {}
    digests = read_metadata(args.out) if args.out.is_file() else {}
    for name in [args.network] if args.network else names:
        network = load_network(name)
        photos = read_photos(args.photos, split, network.input_size, 1 if every is None else args.every)
        digests[name] = network.digest()
        known = {info.name for info in network.layers()}
        usual = [f"{kind}{number}" for kind in ("layer", "blocks.") for number in range(48)]
        made |= measure(network, photos, args.layers or [layer for layer in usual if layer in known])
        print(f"{name}: {len(photos)} photos")
    save_file({key: value.contiguous() for key, value in sorted(made.items())}, args.out, digests)
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB")
