"""Make the figures of docs/methods.md: one run of the command line for each family of methods, or one call of `render`.

    python scripts/methods.py [FAMILY ...] [--runs FOLDER] [--images FOLDER]

Runs go to FOLDER and are not repeated; each run's contact sheet becomes docs/images/methods_FAMILY.webp. Where a photo is needed, it
is a picture of the package's own, since photos are not ours to show.
"""

import argparse
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import lightning_fv
from lightning_fv.commands.main import main as run
from lightning_fv.functional import to_uint8
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
    return f"--config deepdream --targets layer3+layer4+layer4:3 --start {_photo(runs, 'beacon')}"


def accentuation(runs: Path) -> str:
    photo = _photo(runs, "beacon")
    return f"--config accentuation --targets 'logits:beacon+logits:pizza+logits:king penguin+layer4:3' --start {photo}"


def inversion(runs: Path) -> str:
    photo = _photo(runs, "beacon")
    return f"--targets {'+'.join(f'inversion:{photo}@layer{n}' for n in (1, 2, 3, 4))}"


def caricature(runs: Path) -> str:
    photo = _photo(runs, "beacon")
    return f"--targets {'+'.join(f'caricature:{photo}@layer{n}' for n in (1, 2, 3, 4))}"


def activation_grid(runs: Path) -> Image.Image:
    network = load_network("demo")
    grid = lightning_fv.activation_grid(network, _photo(runs, "beacon"), "layer3")
    images = lightning_fv.render(network, grid, size=32, progress=False).images
    return Image.fromarray(to_uint8(grid.picture(images)).permute(1, 2, 0).numpy())


def latents(runs: Path) -> str:
    return "--network demo/vit --targets sae:demo/vit:0-11"


def maco(runs: Path) -> str:
    return "--config maco --targets 'logits:pizza+logits:lion+logits:school bus+logits:beacon+layer4:3+layer4:12'"


def distribution_matching(runs: Path) -> str:
    return (
        "--config distribution_matching --targets "
        "'logits:pizza+logits:lion+logits:school bus+logits:iPod+layer3:3+layer4:3'"
    )


def transformer(runs: Path) -> str:
    heads = "blocks.2.attention.heads.0+blocks.2.attention.heads.3"
    return f"--network demo/vit --targets {heads}+blocks.2:1+blocks.4.mlp.1:2+blocks.3:3@20+logits:lion"


CLASSES = (
    "'" + "+".join(f"logits:{name}" for name in ("pizza", "lion", "school bus", "goldfish", "beacon", "iPod")) + "'"
)


def pyramid(runs: Path) -> str:
    return f"--targets {CLASSES} --model.parameterization LaplacianPyramid"


def cppn(runs: Path) -> str:
    """Computed at four times the size in the last step."""
    return (
        f"--targets {CLASSES} --model.parameterization CPPN --trainer.callbacks+=ProgressiveUpscale "
        "--trainer.callbacks.to=4.0 --trainer.callbacks.factor=4 --trainer.callbacks.every=127 --trainer.callbacks.blur=0"
    )


def opacity(runs: Path) -> str:
    return f"--targets {CLASSES} --model.parameterization Alpha --model.penalties [Opacity]"


FAMILIES: dict[str, Callable[[Path], str | Image.Image]] = {
    family.__name__: family
    for family in (
        facets,
        facets_without,
        directions,
        deepdream,
        accentuation,
        inversion,
        caricature,
        activation_grid,
        latents,
        maco,
        distribution_matching,
        transformer,
        pyramid,
        cppn,
        opacity,
    )
}


def _photo(runs: Path, name: str) -> str:
    """A finished picture of a class."""
    folder = runs / name
    if run(["--targets", f"logits:{name}", "--out", str(folder)]) != 0:
        raise SystemExit(f"the picture to start from is not done, see {folder}")
    (photo,) = (folder / "images").iterdir()
    return os.path.relpath(photo)


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
        made = FAMILIES[name](args.runs)
        if isinstance(made, str):
            folder = args.runs / name
            if run([*shlex.split(made), "--out", str(folder)]) != 0:  # on a finished run it writes the report anew
                raise SystemExit(f"{name}: not all pictures are done, see {folder}")
            made = Image.open(folder / "sheet.png")
        made.convert("RGB").save(args.images / f"methods_{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
