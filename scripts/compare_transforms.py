"""Measure what further transforms do for pictures: augmentations of Kornia, each in front of the default recipe's transforms.

    python scripts/compare_transforms.py --data PHOTOS [--network NAME] [--transforms NAME ...] [--seeds N]

Every row is a run of 64 channels of each layer and of all classes: without transforms (``none``), with those of the default recipe
(``default``), and with one more in front of them. Of the channels, the share of right answers in the two-choice test
(scripts/benchmark_quality.py; .5 by chance); of the classes, their probability under networks that may choose a recipe: the judge, the
judge shown no more detail than at 32 px, and the antialiased twin. Each number is a mean over channels or classes with its standard
error; behind it, in parentheses, the mean difference to ``default``, whose standard error is that of the pairs' differences.

PHOTOS are those of train_demo.py. Renders go to --runs and are not repeated, the table to compare_transforms.md there; stop and
continue at any time.
"""

import argparse
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from benchmark_quality import Features, pictures_of, read_all, responses, text
from judge import CHOOSING, read_image
from series import Raters, Row
from torch import Tensor

import lightning_fv
from lightning_fv.functional import TwoChoiceTrials
from lightning_fv.networks import load_network

TWIN = "demo/antialiased"

AUGMENTATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "affine": ("RandomAffine", {"degrees": 10.0, "shear": 15.0, "padding_mode": "reflection", "p": 1.0}),
    "perspective": ("RandomPerspective", {"distortion_scale": 0.3, "p": 1.0}),
    # Smooth displacements of about 2 px at 64 px.
    "elastic": (
        "RandomElasticTransform",
        {"kernel_size": [21, 21], "sigma": [5.0, 5.0], "alpha": [2.0, 2.0], "padding_mode": "reflection", "p": 1.0},
    ),
    "colour": ("ColorJitter", {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05, "p": 1.0}),
    "blur": ("RandomGaussianBlur", {"kernel_size": [5, 5], "sigma": [0.1, 1.5], "p": 1.0}),
    "erasing": ("RandomErasing", {"scale": [0.02, 0.2], "value": 0.5, "p": 0.5}),
    "crop": ("RandomResizedCrop", {"size": [64, 64], "scale": [0.4, 1.0], "p": 1.0}),
}

Values = dict[str, dict[str, Tensor]]
"""Of each row and column, one number per channel or class."""


def transforms_of(name: str) -> list[dict[str, Any]]:
    """A row's transforms as settings."""
    if name == "none":
        return []
    recipe = Path(lightning_fv.__file__).parent / "recipes" / "default.yaml"
    default: list[dict[str, Any]] = yaml.safe_load(recipe.read_text())["model"]["transforms"]
    if name == "default":
        return default
    kind, arguments = AUGMENTATIONS[name]
    return [{"class_path": f"kornia.augmentation.{kind}", "init_args": arguments}, *default]


def cell(values: Tensor, default: Tensor | None) -> str:
    """Mean ± standard error, and the mean difference to the default recipe's."""
    if default is None:
        return text(values)
    change = values - default
    return f"{text(values)} ({float(change.mean()):+.3f} ± {float(change.std()) / math.sqrt(len(change)):.3f})"


def table(found: Values) -> str:
    columns = list(next(iter(found.values())))
    lines = [f"| transforms | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, values in found.items():
        default = found.get("default") if name != "default" else None
        cells = [cell(values[column], default[column] if default else None) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    names = ["default", "none", *AUGMENTATIONS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="demo")
    parser.add_argument("--layers", nargs="+", default=["layer3", "layer4"])
    parser.add_argument("--channels", type=int, default=64, help="of each layer, from the first")
    parser.add_argument("--classes", default="all", help="as after `logits:`")
    parser.add_argument("--transforms", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of a run, if not the recipe's")
    parser.add_argument("--runs", type=Path, default=Path("lightning_logs/compare_transforms"))
    args = parser.parse_args(argv)
    targets = "+".join([*(f"{layer}:0-{args.channels - 1}" for layer in args.layers), f"logits:{args.classes}"])
    steps = f" --trainer.max_steps {args.steps}" if args.steps else ""
    network, photos, raters = load_network(args.network), read_all(args.data), Raters()
    features = Features(photos)
    trials = {layer: TwoChoiceTrials.of(values) for layer, values in responses(network, photos, args.layers).items()}
    channels = torch.arange(args.channels)
    judged = [f"p({name})" for name in (CHOOSING, f"{CHOOSING}, 32 px", TWIN) if name != args.network]
    found: Values = {}
    for name in args.transforms:
        words = f"--targets {targets} --batch-size 32{steps} --model.transforms {shlex.quote(json.dumps(transforms_of(name)))}"
        collected: dict[str, list[Tensor]] = {}
        for seed in range(args.seeds):
            run = Row(name, words, args.network).render(args.runs, seed)
            for layer in args.layers:
                made = pictures_of(run, layer)
                hints = torch.stack(
                    [features(torch.cat([read_image(path) for path in made[int(c)]])) for c in channels]
                )
                right = trials[layer].right(channels, hints, features.photos)
                collected.setdefault(f"{layer}, right", []).append(right)
            ratings = [numbers for _, numbers in raters.run(run, args.network)]
            for column in judged:
                collected.setdefault(column, []).append(torch.tensor([numbers[column] for numbers in ratings]))
        found[name] = {column: torch.stack(values).mean(0) for column, values in collected.items()}
    args.runs.mkdir(parents=True, exist_ok=True)
    (args.runs / "compare_transforms.md").write_text(table(found) + "\n")
    print(table(found), flush=True)


if __name__ == "__main__":
    main()
