"""Make the figures of docs/study.md and of the README: runs their commands, times them, and writes small WebP files.

    python scripts/study.py [FIGURE ...] [--runs FOLDER] [--data PHOTOS]

Each figure is a command that the page prints under its picture; it is run as printed, with ``--out`` inside
FOLDER, and not again if it has finished. ``training`` needs the photos of train_demo.py.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).parents[1] / "docs" / "images"
CLASSES = "logits:king penguin+logits:lion+logits:pizza+logits:iPod"
EIGHT = "logits:goldfish+logits:monarch+logits:king penguin+logits:lion+logits:school bus+logits:pizza+logits:iPod+logits:espresso"
CHANNELS = "layer1:last+layer2:last+layer3:last+layer4:last+logits:king penguin"
STRATEGIES = "study_transforms study_penalty study_upscaling default"

# Figure: the command after `lightning-fv`, and the picture in its folder.
FIGURES = {
    "strategies": (f'compare --strategies {STRATEGIES} --targets "{EIGHT}"', "comparison.png"),
    "layers": (f'compare --strategies study_channels default --targets "{CHANNELS}"', "comparison.png"),
    "networks_study": ("compare --config study_classes", "comparison.png"),
    "networks": (f'compare --targets "{CLASSES}"', "comparison.png"),
    "all": ("compare --targets logits:all --batch-size 24", "comparison.png"),
    "demo_logits": ("--targets logits:all", "sheet.png"),
    "demo_channels": ("--targets layer1:0-5+layer2:0-5+layer3:0-5+layer4:0-5", "sheet.png"),
}
SCRIPTS = {"learning_rates": ("learning_rates.py", "learning_rates.png")}
# The three pictures in README.md: (column of "all", picture).
BEST = (
    ("demo-stylized", "logits-0023-beacon"),
    ("demo-stylized", "logits-0016-espresso"),
    ("demo-stylized", "logits-0004-king-penguin"),
)


ARTIFICIAL = (
    "school bus", "sports car", "pizza", "iPod", "espresso", "suspension bridge", "computer keyboard", "scoreboard", "beacon",
)  # fmt: skip


def print_artificial(folder: Path) -> None:
    """The table of docs/study.md on natural and artificial objects, per network."""
    found: dict[tuple[str, bool], list[dict[str, float]]] = {}
    for line in (folder / "comparison.jsonl").read_text().splitlines():
        cell = json.loads(line)
        artificial = cell["target"].partition(":")[2] in ARTIFICIAL
        found.setdefault((cell["column"], artificial), []).append(cell["scores"])
    print("| network | objects | classes | probability | under the two others | lowest of those |")
    print("|---|---|---|---|---|---|")
    for (column, artificial), scores in found.items():
        own = sum(score["probability"] for score in scores) / len(scores)
        others = [value for score in scores for key, value in score.items() if key.startswith("p(")]
        kind = "artificial" if artificial else "natural"
        mean = sum(others) / len(others)
        print(f"| {column} | {kind} | {len(scores)} | {own:.3f} | {mean:.3f} | {min(others):.2f} |")


def shrink(picture: Image.Image, path: Path, width: int) -> None:
    """Write a picture as a WebP of at most ``width`` pixels."""
    picture = picture.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture.save(path, quality=82, method=6)
    print(f"{path}: {picture.width} x {picture.height} px, {path.stat().st_size / 1000:.0f} kB")


def run(command: list[str], folder: Path, finished: Path) -> None:
    """Run a command unless its picture exists; continue it if it was started before."""
    if finished.is_file():
        return
    resume = ["--resume"] if any(folder.rglob("config.yaml")) and not command[0].endswith(".py") else []
    start = time.monotonic()
    code = subprocess.call([*command, "--out", str(folder), *resume], env={**os.environ, "TQDM_DISABLE": "1"})
    if code not in (0, 1):
        raise SystemExit(code)
    print(f"{shlex.join(command)}: {time.monotonic() - start:.0f} s")


def main() -> None:
    names = [*FIGURES, *SCRIPTS, "best", "training"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--runs", type=Path, default=Path("lightning_logs/study"))
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    if unknown := set(args.figures) - set(names):
        parser.error(f"no figure {', '.join(unknown)}; there are {', '.join(names)}")
    for name in args.figures or names:
        folder = args.runs / name
        if name in FIGURES:
            command, picture = FIGURES[name]
            run([sys.executable, "-m", "lightning_fv", *shlex.split(command)], folder, folder / picture)
        elif name in SCRIPTS:
            script, picture = SCRIPTS[name]
            run([sys.executable, str(Path(__file__).with_name(script))], folder, folder / picture)
        elif name == "best":
            files = [args.runs / "all" / column / "images" / f"{picture}.png" for column, picture in BEST]
            row = Image.new("RGB", (3 * 208 - 8, 200), "white")
            for number, file in enumerate(files):
                with Image.open(file) as found:
                    row.paste(found.resize((200, 200), Image.Resampling.BICUBIC), (208 * number, 0))
            shrink(row, IMAGES / "best.webp", 700)
            continue
        elif args.data is None:
            print("training: give the photos by --data")
            continue
        else:
            script = str(Path(__file__).with_name("measure_twins.py"))
            subprocess.check_call([sys.executable, script, "--data", str(args.data), "--pictures", str(IMAGES)])
            continue
        if name == "all":
            print_artificial(folder)
        with Image.open(folder / picture) as found:
            shrink(found, IMAGES / f"{name}.webp", 900)


if __name__ == "__main__":
    main()
