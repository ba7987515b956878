"""Sweep the learning rate of recipes on a demo network: scores, table and curve.

    python scripts/learning_rates.py [--recipes NAME ...] [--steps N] [--out FOLDER]

Renders the 24 classes of ``demo`` at each rate, as a run folder inside FOLDER, has ``demo/antialiased`` and
``demo/stylized`` rate the pictures, prints the table of docs/study.md and writes FOLDER/learning_rates.png. A finished rate is
not rendered again.
Needs matplotlib: ``pip install -e ".[docs]"``.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from lightning_fv.commands.main import main as lightning_fv
from lightning_fv.comparison import compare_runs, summaries
from lightning_fv.networks import load_network

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
JUDGES = ("demo/antialiased", "demo/stylized")
SHOWN = {
    "score": "logit on the plain picture",
    "transfer": "probability under the two twins",
    "high_frequency_ratio": "high frequencies / photos",
    "saturated": "saturated values",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["default", "study_transforms"])
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("lightning_logs/learning_rates"))
    args = parser.parse_args()

    runs: dict[str, Path] = {}
    for recipe in args.recipes:
        for rate in RATES:
            name = f"{recipe} {rate:g}"
            runs[name] = args.out / name.replace(" ", "-")
            words = ["--config", recipe, "--model.optimizer.init_args.lr", f"{rate:g}", "--out", str(runs[name])]
            words += ["--trainer.max_steps", str(args.steps), "--targets", "logits:all", "--batch-size", "24"]
            begun = (runs[name] / "config.yaml").is_file()
            if lightning_fv([*words, *(["--resume"] if begun else [])]) == 2:
                raise SystemExit(2)
    means = summaries(compare_runs(runs, [load_network(name) for name in JUDGES], args.out))

    print(f"| recipe | learning rate | {' | '.join(SHOWN.values())} |")
    print("|---" * (len(SHOWN) + 2) + "|")
    for name in runs:
        recipe, rate_text = name.split(" ")
        print(f"| {recipe} | {rate_text} | {' | '.join(f'{means[name][key]:.3g}' for key in SHOWN)} |")

    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for axis, key in zip(axes, ("transfer", "high_frequency_ratio", "saturated"), strict=True):
        for recipe in args.recipes:
            axis.plot(RATES, [means[f"{recipe} {rate:g}"][key] for rate in RATES], marker="o", label=recipe)
        axis.set_xscale("log")
        axis.set_xlabel("learning rate")
        axis.set_title(SHOWN[key], fontsize=10)
    axes[1].axhline(1, color="grey", linewidth=0.8)
    axes[0].axvspan(0.03, 1.0, color="grey", alpha=0.12, linewidth=0)
    axes[0].legend(frameon=False)
    figure.savefig(args.out / "learning_rates.png", dpi=120)


if __name__ == "__main__":
    main()
