"""Make the sheets of docs/methods.md: one run of the command line for each family of methods.

    python scripts/methods.py [FAMILY ...] [--runs FOLDER] [--images FOLDER]

Runs go to FOLDER and are not repeated; each run's contact sheet becomes docs/images/methods_FAMILY.webp.
"""

import argparse
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lightning_fv.commands.main import main as lightning_fv
from lightning_fv.networks import load_network

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def facets(runs: Path) -> str:
    return '--targets "logits:pizza x6+logits:king penguin x6+layer4:3 x6" --model.diversity 1'


def facets_without(runs: Path) -> str:
    """The same without diversity, to compare with."""
    return '--targets "logits:pizza x6+logits:king penguin x6+layer4:3 x6"'


def directions(runs: Path) -> str:
    """What `fc` adds up for a class, the class minus another, and the sum of two: directions in layer4."""
    network = load_network("demo")
    weights = network.module.get_parameter("fc.weight").detach().numpy()
    pizza, orange, lion, bus = (weights[network.categories.index(n)] for n in ("pizza", "orange", "lion", "school bus"))
    np.save(runs / "directions.npy", np.stack([pizza, pizza - orange, lion, lion + bus, bus, -bus]))
    return f"--targets vector:{os.path.relpath(runs / 'directions.npy')}:all@layer4"


def deepdream(runs: Path) -> str:
    """From a picture of the package's own, since photos are not ours to show."""
    if lightning_fv(["--targets", "logits:beacon", "--out", str(runs / "beacon")]) != 0:
        raise SystemExit(f"the picture to start from is not done, see {runs / 'beacon'}")
    (start,) = (runs / "beacon" / "images").iterdir()
    return f"--config deepdream --targets layer3+layer4+layer4:3 --start {start}"


FAMILIES: dict[str, Callable[[Path], str]] = {
    "facets": facets,
    "facets_without": facets_without,
    "directions": directions,
    "deepdream": deepdream,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"default: all of {', '.join(FAMILIES)}")
    parser.add_argument("--runs", type=Path, default=Path("lightning_logs/methods"))
    parser.add_argument("--images", type=Path, default=IMAGES)
    args = parser.parse_args()
    if unknown := set(args.families) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    args.runs.mkdir(parents=True, exist_ok=True)
    for name in args.families or FAMILIES:
        folder = args.runs / name
        words = [*shlex.split(FAMILIES[name](args.runs)), "--out", str(folder)]
        if lightning_fv(words) != 0:  # on a finished run it writes the report anew, and renders nothing
            raise SystemExit(f"{name}: not all pictures are done, see {folder}")
        with Image.open(folder / "sheet.png") as sheet:
            sheet.convert("RGB").save(args.images / f"methods_{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
