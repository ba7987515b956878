"""What scripts/study.py is made of: runs over seeds, ratings by networks that did not make the pictures, tables, figures."""

import hashlib
import math
import shlex
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from judge import CHOOSING, REPORTING, judge, load_judge, read_image
from PIL import Image
from torch import Tensor

from lightning_fv.commands.main import main as lightning_fv
from lightning_fv.comparison import compare_runs
from lightning_fv.functional import photo_high_frequency, resize_images
from lightning_fv.metrics import HighFrequencyEnergy, SaturatedPixels
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import Record

TWINS = ("demo", "demo/antialiased", "demo/stylized")

Numbers = dict[str, float]
Spread = dict[str, tuple[float, float]]
"""Mean and its standard error, by what is measured."""


@dataclass(frozen=True)
class Row:
    """A row of a table: the same run with several seeds.

    Attributes:
        name: what the table calls it.
        arguments: what follows ``lightning-fv``.
        network: that makes the pictures.
    """

    name: str
    arguments: str
    network: str = "demo"

    def folder(self, runs: Path, seed: int) -> Path:
        words = [part.strip("-").replace("/", "-") for part in f"{self.network} {self.arguments}".split()]
        stem = "".join(c if c.isalnum() or c in ".-_" else "_" for c in " ".join(words))
        digest = hashlib.sha256(f"{self.network} {self.arguments}".encode()).hexdigest()[:8]
        return runs / f"{stem[:60]}_{digest}" / f"seed_{seed}"

    def render(self, runs: Path, seed: int) -> Path:
        """Render unless it is finished; continue if it was begun."""
        folder = self.folder(runs, seed)
        if (folder / "sheet.png").is_file():
            return folder
        begun = (folder / "config.yaml").is_file()
        words = ["--network", self.network, *shlex.split(self.arguments), "--seed", str(seed), "--out", str(folder)]
        start = time.monotonic()
        code = lightning_fv([*words, *(["--resume"] if begun else [])])
        if code not in (0, 1):
            raise SystemExit(code)
        print(f"{self.name}, seed {seed}: {time.monotonic() - start:.0f} s", flush=True)
        return folder


class Raters:
    """The networks that rate pictures: the twins, the judge that chooses, and those that report."""

    def __init__(self) -> None:
        self.networks: dict[str, VisionNetwork] = {name: load_network(name) for name in TWINS}
        self.networks |= {name: load_judge(name) for name in (CHOOSING, *REPORTING)}

    @torch.no_grad()
    def rate(self, pictures: Tensor, units: Sequence[int], made_by: str) -> list[Numbers]:
        """Probability ``p(NAME)`` and top-1 ``hit(NAME)`` of classes under each network that did not make the pictures.

        Of pictures larger than 64 px also ``p(NAME, own size)``: as they are, not resized to the network's size. The judge that
        chooses is also shown the pictures with no more detail than at 32 px, ``p(judge, 32 px)``: at 64 px it is sure of nearly all
        pictures, and hardly tells recipes apart.
        """
        rated: list[Numbers] = [{} for _ in units]
        sizes = (False, True) if max(pictures.shape[-2:]) != 64 else (False,)
        for name, network in self.networks.items():
            if name == made_by:
                continue
            for own_size in sizes:
                probabilities = judge(network, pictures, own_size)
                suffix = ", own size" if own_size else ""
                for row, unit in enumerate(units):
                    rated[row][f"p({name}{suffix})"] = float(probabilities[row, unit])
                    rated[row][f"hit({name}{suffix})"] = float(probabilities[row].argmax() == unit)
        coarse = resize_images(resize_images(pictures, (32, 32)), (64, 64))
        probabilities = judge(self.networks[CHOOSING], coarse)
        for row, unit in enumerate(units):
            rated[row][f"p({CHOOSING}, 32 px)"] = float(probabilities[row, unit])
        for numbers in rated:
            for kind in ("p", "hit"):
                twins = [numbers[f"{kind}({name})"] for name in TWINS if name != made_by]
                numbers[f"{kind}(twins)"] = statistics.mean(twins)
                if len(sizes) > 1:
                    twins = [numbers[f"{kind}({name}, own size)"] for name in TWINS if name != made_by]
                    numbers[f"{kind}(twins, own size)"] = statistics.mean(twins)
        return rated

    def run(self, folder: Path, made_by: str) -> list[tuple[Record, Numbers]]:
        """The pictures of classes in a run folder, each with its own scores and the ratings."""
        records = [r for r in RunFolder(folder).records() if r.target.startswith("logits:") and r.image is not None]
        categories = self.networks["demo"].categories
        units = [categories.index((record.unit or record.target).partition(":")[2]) for record in records]
        pictures = torch.cat([read_image(folder / str(record.image)) for record in records])
        found: list[tuple[Record, Numbers]] = []
        for record, ratings in zip(records, self.rate(pictures, units, made_by), strict=True):
            own = {key: value for key, value in record.scores.items() if isinstance(value, float)}
            grey = float((pictures[len(found)] - 0.5).abs().mean())
            found.append((record, {"score": float(record.score or 0.0), "grey": grey, **own, **ratings}))
        return found

    @torch.no_grad()
    def photos(self, data: Path, classes: Iterable[str]) -> list[Numbers]:
        """The same numbers for photos of the classes that no network was trained on; score and probability are of ``demo``."""
        from train_demo import read_photos

        pixels, labels = read_photos(data, "val")
        network = self.networks["demo"]
        chosen = [network.categories.index(name) for name in classes]
        keep = torch.isin(labels, torch.tensor(chosen))
        photos, units = pixels[keep].float() / 255, labels[keep].tolist()
        rated = self.rate(photos, units, "demo")
        logits = network(photos)
        for row, unit in enumerate(units):
            picture = photos[row : row + 1]
            rated[row] |= {
                "score": float(logits[row, unit]),
                "probability": float(logits[row].softmax(0)[unit]),
                "high_frequency_ratio": float(HighFrequencyEnergy()(picture)) / photo_high_frequency("tiny_imagenet"),
                "saturated": float(SaturatedPixels()(picture)),
                "grey": float((picture - 0.5).abs().mean()),
            }
        return rated


@dataclass
class Study:
    """Where things are, and what was asked for."""

    runs: Path
    images: Path
    data: Path | None
    seeds: tuple[int, ...]
    raters: Raters

    def rated(self, row: Row) -> list[list[tuple[Record, Numbers]]]:
        """The rated pictures of a row's runs, by seed; what is not there yet is rendered."""
        return [self.raters.run(row.render(self.runs, seed), row.network) for seed in self.seeds]

    def measure(self, row: Row) -> Spread:
        """Each number's mean over seeds, and the standard error of that mean."""
        return spreads([mean([numbers for _, numbers in rated]) for rated in self.rated(row)])

    def by_target(self, row: Row) -> dict[str, Numbers]:
        """Each target's numbers, means over seeds."""
        targets: dict[str, list[Numbers]] = {}
        for rated in self.rated(row):
            for record, numbers in rated:
                targets.setdefault(record.unit or record.target, []).append(numbers)
        return {target: mean(numbers) for target, numbers in targets.items()}

    def photo_row(self, classes: Iterable[str]) -> Spread | None:
        """Natural photos as a row; the standard error is over photos."""
        if self.data is None:
            return None
        return spreads(self.raters.photos(self.data, classes))

    def figure(self, part: str, columns: Mapping[str, Row]) -> None:
        """The pictures of the first seed side by side."""
        folders = {name: row.render(self.runs, self.seeds[0]) for name, row in columns.items()}
        compare_runs(folders, [self.raters.networks[name] for name in REPORTING], self.runs)
        with Image.open(self.runs / "comparison.png") as picture:
            shrink(picture, self.images / f"{part}.webp", 900)

    def write(self, part: str, *tables: str) -> None:
        text = "\n\n".join(tables)
        (self.runs / f"{part}.md").write_text(text + "\n")
        print(text, flush=True)


def mean(numbers: Sequence[Numbers]) -> Numbers:
    keys = set(numbers[0]).intersection(*numbers)
    return {key: statistics.fmean(n[key] for n in numbers) for key in keys}


def spreads(numbers: Sequence[Numbers]) -> Spread:
    return {key: spread([n[key] for n in numbers]) for key in numbers[0]}


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), error


def table(first: str, rows: Mapping[str, Spread | None], columns: Mapping[str, str]) -> str:
    """A Markdown table of mean ± standard error; a cell stays empty where a row has no such number."""
    lines = [f"| {first} | {' | '.join(columns.values())} |", "|---" * (len(columns) + 1) + "|"]
    for name, numbers in rows.items():
        if numbers is not None:
            cells = [text(*numbers[key]) if key in numbers else "" for key in columns]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def text(value: float, error: float) -> str:
    """With as many digits as the standard error leaves, one to three."""
    if math.isnan(error):
        return f"{value:.3f}"
    digits = 3 if not error else min(3, max(1, 1 - math.floor(math.log10(error))))
    return f"{round(value, digits) + 0.0:.{digits}f} ± {error:.{digits}f}"  # + 0.0: no -0.000


def shrink(picture: Image.Image, path: Path, width: int) -> None:
    """Write a picture as a WebP of at most ``width`` pixels."""
    picture = picture.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture.save(path, quality=82, method=6)
    print(f"{path}: {picture.width} x {picture.height} px, {path.stat().st_size / 1000:.0f} kB")


def plot(study: Study, part: str, columns: int, draw: Callable[[Sequence[Any]], None], height: float = 3) -> None:
    """Write a figure of axes side by side as a WebP."""
    from matplotlib.figure import Figure  # here, because the tables do without

    figure = Figure(figsize=(3.2 * columns, height), layout="constrained")
    draw(figure.subplots(1, columns))
    figure.savefig(study.runs / f"{part}.png", dpi=120)
    with Image.open(study.runs / f"{part}.png") as picture:
        shrink(picture, study.images / f"{part}.webp", 1200)
