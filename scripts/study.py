"""Make all figures and tables of docs/study.md again: renders, ratings, tables with standard errors, figures.

    python scripts/study.py [PART ...] [--runs FOLDER] [--data PHOTOS] [--seeds N] [--images FOLDER]

A part renders a run for each row of its tables and each seed, inside FOLDER, has networks that did not make the pictures
rate them, writes FOLDER/PART.md, and FOLDER/PART.png where the page shows a figure, as a WebP in the folder of images. Stop it at any
time; the same command continues, and what has finished is not rendered again. ``--data`` are the photos of train_demo.py:
without them the rows of natural photos and the part ``training`` are left out.

Each number is a mean over the pictures of a seed, then over seeds, with the standard error of the mean over seeds. Only one network
of each kind was trained, so no standard error says how much another training would change.
Needs matplotlib: ``pip install -e ".[docs]"``.
"""

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from judge import CHOOSING, REPORTING
from PIL import Image
from series import TWINS, Raters, Row, Spread, Study, mean, plot, shrink, spreads, table

from lightning_fv.networks import load_network
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.picture import read_picture_tensor
from lightning_fv.targets import resolve_targets
from lightning_fv.trust.evaluate import Evaluator
from lightning_fv.trust.responses import NetworkResponses

FOUR = "logits:king penguin+logits:lion+logits:pizza+logits:iPod"
CHANNELS = "layer1:last+layer2:last+layer3:last+layer4:last+logits:king penguin"
ARTIFICIAL = (
    "school bus", "sports car", "pizza", "iPod", "espresso", "suspension bridge", "computer keyboard", "scoreboard", "beacon",
)  # fmt: skip
IMAGES = Path(__file__).parents[1] / "docs" / "images"
ALL = "--targets logits:all --batch-size 24"

LOOKS = {"high_frequency_ratio": "high freq. / photos", "saturated": "saturated"}
JUDGED = {f"{kind}({name})": f"{what} `{name}`" for name in REPORTING for kind, what in (("p", "p"), ("hit", "top-1"))}
CHOOSES = {f"p({CHOOSING}{end})": f"p `{CHOOSING}`{end}" for end in ("", ", 32 px")}
OWN_SIZE = {f"p({name}, own size)": f"p `{name}`, own size" for name in REPORTING}
UNDER_TWINS = {"p(twins)": "p twins", "p(twins, own size)": "p twins, own size"}


def strategies(study: Study) -> None:
    rows = {name: replace(UPSCALING, name=name, arguments=f'--config {name} --targets "{FOUR}"') for name in
            ("study_transforms", "study_penalty", "study_upscaling", "default")}  # fmt: skip
    numbers: dict[str, Spread | None] = {f"`{name}`": study.measure(row) for name, row in rows.items()}
    numbers["natural photos"] = study.photo_row(name.partition(":")[2] for name in FOUR.split("+"))
    columns = {"score": "logit", "probability": "p `demo`", **UNDER_TWINS, **JUDGED, **OWN_SIZE, **LOOKS}
    study.write("strategies", table("means over 4 classes", numbers, columns))
    study.figure("strategies", rows)


UPSCALING = Row("study_upscaling", f'--config study_upscaling --targets "{FOUR}"')


def networks(study: Study) -> None:
    """Figures of one seed; what is measured over seeds is in ``classes`` and, for pictures that grow, in ``strategies``."""
    study.figure("networks_study", {name: replace(UPSCALING, name=name, network=name) for name in TWINS})
    study.figure("networks", {name: Row(name, f'--targets "{FOUR}"', name) for name in TWINS})


def classes(study: Study) -> None:
    rows = {name: Row(name, ALL, name) for name in (*TWINS, "demo/plain")}
    numbers: dict[str, Spread | None] = {f"`{name}`": study.measure(row) for name, row in rows.items()}
    numbers["natural photos"] = study.photo_row(study.raters.networks["demo"].categories)
    columns = {"score": "logit", "probability": "own p", "p(twins)": "p twins", **JUDGED, **LOOKS}
    kinds: dict[str, Spread | None] = {}
    for name, row in rows.items():
        targets = study.by_target(row)
        artificial = spreads([targets[f"logits:{name}"] for name in ARTIFICIAL])
        natural = spreads(
            [numbers for target, numbers in targets.items() if target[len("logits:") :] not in ARTIFICIAL]
        )
        kinds |= {f"`{name}`, natural": natural, f"`{name}`, artificial": artificial}
        kinds[f"`{name}`, difference"] = {
            key: (natural[key][0] - artificial[key][0], math.hypot(natural[key][1], artificial[key][1]))
            for key in natural
        }
    study.write(
        "classes",
        table("means over 24 classes", numbers, columns),
        table(
            "classes (standard errors over classes)", kinds, {"probability": "own p", "p(twins)": "p twins", **JUDGED}
        ),
    )


def layers(study: Study) -> None:
    rows = {name: Row(name, f'--config {name} --targets "{CHANNELS}"') for name in ("study_channels", "default")}
    study.figure("layers", rows)


RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def learning_rates(study: Study) -> None:
    """128 steps at each of six rates, by two recipes."""
    numbers, curves = {}, {}
    for recipe in ("default", "study_transforms"):
        for rate in RATES:
            words = f"--config {recipe} --model.optimizer.init_args.lr {rate:g} --trainer.max_steps 128 {ALL}"
            found = study.measure(Row(f"{recipe} {rate:g}", words))
            numbers[f"{recipe} {rate:g}"] = curves[recipe, rate] = found
    columns = {"score": "logit", **CHOOSES, **JUDGED, **LOOKS}
    study.write("learning_rates", table("recipe and rate", numbers, columns))

    def draw(axes: Sequence[Any]) -> None:
        shown = {f"p({name})": f"probability under {name}" for name in REPORTING} | LOOKS
        for axis, (key, title) in zip(axes, shown.items(), strict=True):
            for recipe in ("default", "study_transforms"):
                points = [curves[recipe, rate][key] for rate in RATES]
                axis.errorbar(
                    RATES, [p[0] for p in points], [p[1] for p in points], marker="o", label=recipe, capsize=2
                )
            axis.set(xscale="log", xlabel="learning rate")
            axis.set_title(title, fontsize=10)
        axes[0].legend(frameon=False)
        axes[2].axhline(1, color="grey", linewidth=0.8)

    plot(study, "learning_rates", 4, draw)


def ablation(study: Study) -> None:
    """One setting of the default recipe changed at a time."""
    numbers = {name: study.measure(row) for name, row in ablation_rows().items()}
    columns = {"score": "logit", **CHOOSES, **JUDGED, **LOOKS}
    study.write("ablation", table("default recipe, but", numbers, columns))

    def draw(axes: Sequence[Any]) -> None:
        names = list(numbers)
        for axis, key in zip(
            axes, (f"p({CHOOSING})", f"p({CHOOSING}, 32 px)", *(f"p({name})" for name in REPORTING)), strict=True
        ):
            values = [numbers[name][key] for name in names]
            axis.errorbar([v[0] for v in values], range(len(names)), xerr=[v[1] for v in values], fmt="o", capsize=2)
            axis.axvline(values[0][0], color="grey", linewidth=0.8)
            axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
            axis.invert_yaxis()
            axis.set_title(key + (" (chooses)" if CHOOSING in key else ""), fontsize=10)

    plot(study, "ablation", 4, draw, height=6)


def warp(pad: float, rotate: float, low: float, high: float) -> str:
    return (f"{{class_path: RandomWarp, init_args: {{pad: {pad}, crop: {2 * pad}, rotate: {rotate}, scale: [{low}, {high}]}}}}")  # fmt: skip


def transforms(noise: float | None, *warps: str) -> str:
    parts = [*warps, *([] if noise is None else [f"{{class_path: RandomNoise, init_args: {{std: {noise}}}}}"])]
    return f"--model.transforms '[{', '.join(parts)}]'"


def ablation_rows() -> dict[str, Row]:
    usual = warp(0.06, 15.0, 0.8, 1.2)
    changed = {
        "(nothing)": "",
        "noise 0": transforms(None, usual),
        "noise 0.06": transforms(0.06, usual),
        "noise 0.24": transforms(0.24, usual),
        "decay 1": "--model.parameterization.init_args.decay 1",
        "decay 1.25": "--model.parameterization.init_args.decay 1.25",
        "decay 2": "--model.parameterization.init_args.decay 2",
        "no warp": transforms(0.12),
        "half the warp": transforms(0.12, warp(0.03, 7.5, 0.9, 1.1)),
        "twice the warp": transforms(0.12, warp(0.12, 30.0, 0.6, 1.4)),
        "rate 0.03": "--model.optimizer.init_args.lr 0.03",
        "rate 0.3": "--model.optimizer.init_args.lr 0.3",
        "rate 1": "--model.optimizer.init_args.lr 1",
        "64 steps": "--trainer.max_steps 64",
        "256 steps": "--trainer.max_steps 256",
    }
    rows = {name: Row(name, f"{words} {ALL}".strip()) for name, words in changed.items()}
    for name, words in {"": "", ", noise 0": transforms(None, usual), ", noise 0.24": transforms(0.24, usual)}.items():
        rows[f"trained without noise{name}"] = Row(f"demo/plain{name}", f"{words} {ALL}".strip(), "demo/plain")
    return rows


def robustness(study: Study) -> None:
    """Networks trained as the first, without noise, and against adversarial perturbations, and a transformer; with and without noise."""
    names = ("demo", "demo/plain", "demo/robust", "demo/vit")
    still = transforms(None, warp(0.06, 15.0, 0.8, 1.2))
    rows = {
        f"`{name}`{said}": Row(f"{name}{said}", f"{words} {ALL}".strip(), name)
        for name in names
        for said, words in {"": "", ", noise 0": still}.items()
    }
    numbers: dict[str, Spread | None] = {name: study.measure(row) for name, row in rows.items()}
    columns = {"score": "logit", "probability": "own p", **JUDGED, **LOOKS}
    study.write("robustness", table("means over 24 classes", numbers, columns))
    study.figure(
        "robustness",
        {row.name: replace(row, arguments=row.arguments.replace(ALL, f'--targets "{FOUR}"')) for row in rows.values()},
    )


def trust(study: Study) -> None:
    """How far pictures can be trusted, by strategy and by network: their way through the network that made them beside that of photos."""
    if study.data is None:
        print("trust: give the photos by --data")
        return
    photos = PhotoFolder(study.data / "val.tar")
    strategies = ("study_transforms", "study_penalty", "study_upscaling", "default")
    rows = [
        replace(UPSCALING, name=f"`{name}`", arguments=f'--config {name} --targets "{FOUR}"') for name in strategies
    ]
    names = (*TWINS, "demo/plain", "demo/robust", "demo/vit")
    tables = []
    for first, found in (
        ("4 classes, by `demo`", rows),
        ("24 classes", [Row(f"`{name}`", ALL, name) for name in names]),
    ):
        responses_by_network = {row.network: NetworkResponses.of(load_network(row.network), photos) for row in found}
        numbers: dict[str, Spread | None] = {}
        for row in found:
            responses = responses_by_network[row.network]
            rated = study.measure(row)
            own = spreads([_evidence(row.render(study.runs, seed), responses) for seed in study.seeds])
            numbers[row.name] = own | {key: rated[key] for key in ("p(twins)", *(f"p({name})" for name in REPORTING))}
        columns = {
            "photo_multiple": "score / best photo", "transformed": "transformed / plain score", "path": "path, mean of layers",
            "lowest": "path, lowest layer", "two_choice": "two-choice",
            "p(twins)": "p twins", **{f"p({name})": f"p `{name}`" for name in REPORTING},
        }  # fmt: skip
        tables.append(table(first, numbers, columns))
    study.write("trust", *tables)


def _evidence(folder: Path, responses: NetworkResponses) -> dict[str, float]:
    """Means over the pictures of a run, of the path over layers and in the layer where it is lowest."""
    run = RunFolder(folder)
    records = [record for record in run.records() if record.image is not None]
    pictures = torch.stack([read_picture_tensor(folder / str(record.image)) for record in records])
    targets = resolve_targets("+".join(record.target for record in records), responses.network)
    numbers = []
    for evidence in Evaluator(responses)(targets, [record.id for record in records], pictures):
        path = [value for value in evidence.path.values() if value is not None]
        score, moved = (float(evidence.faithful[key]) for key in ("score", "transformed_score"))
        numbers.append(
            {
                "photo_multiple": float(evidence.faithful["photo_multiple"]),
                "transformed": moved / score,
                "path": sum(path) / len(path),
                "lowest": min(path),
                "two_choice": float(evidence.faithful["two_choice"]),
            }
        )
    return mean(numbers)


WEIGHTS = (0.5, 64.0, 128.0)


def penalty(study: Study) -> None:
    """The L1 penalty alone, without the blur: weight of the mean over a picture's values, 12,288 times that of the sum."""
    rows = {"no penalty": Row("no penalty", f'--config study_transforms --targets "{FOUR}"')}
    for weight in WEIGHTS:
        words = f"--model.penalties '[{{class_path: L1, init_args: {{weight: {weight}, center: 0.5}}}}]'"
        rows[f"{weight:g}"] = Row(f"L1 {weight:g}", f'--config study_transforms --targets "{FOUR}" {words}')
    numbers: dict[str, Spread | None] = {name: study.measure(row) for name, row in rows.items()}
    columns = {"score": "logit", "probability": "p `demo`", **JUDGED, "grey": "distance from grey", **LOOKS}
    study.write("penalty", table("weight of the mean", numbers, columns))
    study.figure("penalty", rows)


def training(study: Study) -> None:
    if study.data is None:
        print("training: give the photos by --data")
        return
    script = str(Path(__file__).with_name("measure_twins.py"))
    subprocess.check_call([sys.executable, script, "--data", str(study.data), "--pictures", str(study.images)])


# The three pictures in README.md: beacon, espresso and king penguin of the stylized twin.
BEST = ("logits-0023-beacon", "logits-0016-espresso", "logits-0004-king-penguin")


def readme(study: Study) -> None:
    """The pictures of README.md."""
    for part, words in {
        "demo_logits": ALL,
        "demo_channels": "--targets layer1:0-5+layer2:0-5+layer3:0-5+layer4:0-5",
    }.items():
        with Image.open(Row(part, words).render(study.runs, 0) / "sheet.png") as sheet:
            shrink(sheet, study.images / f"{part}.webp", 900)
    folder = Row("best", ALL, "demo/stylized").render(study.runs, 0)
    row = Image.new("RGB", (3 * 208 - 8, 200), "white")
    for number, stem in enumerate(BEST):
        with Image.open(folder / "images" / f"{stem}.png") as found:
            row.paste(found.resize((200, 200), Image.Resampling.BICUBIC), (208 * number, 0))
    shrink(row, study.images / "best.webp", 700)


PARTS: dict[str, Callable[[Study], None]] = {
    "classes": classes,
    "ablation": ablation,
    "readme": readme,
    "learning_rates": learning_rates,
    "strategies": strategies,
    "networks": networks,
    "layers": layers,
    "robustness": robustness,
    "penalty": penalty,
    "trust": trust,
    "training": training,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {', '.join(PARTS)}")
    parser.add_argument("--runs", type=Path, default=Path("lightning_logs/study"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="renders of each row")
    parser.add_argument("--images", type=Path, default=IMAGES, help="where the figures go")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    args.runs.mkdir(parents=True, exist_ok=True)
    study = Study(args.runs, args.images, args.data, tuple(range(args.seeds)), Raters())
    for name in args.parts or PARTS:
        start = time.monotonic()
        PARTS[name](study)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
