"""Pictures per core-hour, and whether networks that played no part in them name what they show.

    OMP_NUM_THREADS=1 python scripts/benchmark_pictures.py [--recipes default lucent maco] [--steps N ...] [--seeds N]
    OMP_NUM_THREADS=1 python scripts/benchmark_pictures.py --plain    # the fast parts against plain ones of torch
    OMP_NUM_THREADS=1 python scripts/benchmark_pictures.py --targets layer4:0-47    # of units that have no names; see benchmark_quality.py

Renders the demo network's 24 classes by the command line's own code, with everything that a run writes, and asks the reporting judges
(scripts/judge.py). Seconds are those in which this process was computing, from the command to its end, without the start of Python and
its imports: those are the same for any number of pictures.

``--plain`` replaces what was written for speed by what torch offers: ReLUs whose redirected gradient is made of ordinary operations,
layers that keep what torch keeps, and a warp by `affine_grid` of a matrix that is inverted numerically. The pictures are not the same
bits, since the roundings differ; scores and names should be the same.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from judge import REPORTING, load_judge
from torch import Tensor, nn

from lightning_fv.commands.main import main as command
from lightning_fv.functional import resize_images
from lightning_fv.objectives import LOGITS
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.picture import read_picture_tensor
from lightning_fv.runs.record import read_manifest


@dataclass(frozen=True)
class Outcome:
    """What a run cost and showed.

    Attributes:
        seconds: CPU seconds a picture.
        scores: of each picture.
        named: pictures that each judge names right; empty for units that are no classes.
        rating: mean probability of the right class, for each judge.
    """

    seconds: float
    scores: list[float]
    named: dict[str, int]
    rating: dict[str, float]


def run(options: Sequence[str], targets: str = "logits:all") -> Outcome:
    """Render by the command line in this process, and ask the judges."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary, "run"))
        words = ["--out", str(folder), "--targets", targets, "--trainer.accelerator", "cpu", *options]
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = command([*words, "--trainer.enable_progress_bar", "false"])
        seconds = time.process_time() - start
        if code:
            raise SystemExit(f"the run of {' '.join(words)} ended with exit code {code}")
        records = read_manifest(folder.manifest)
        pictures = [read_picture_tensor(folder.path / str(record.image)) for record in records]
    shown = torch.stack([resize_images(picture[None], (64, 64))[0] for picture in pictures])
    named, rating = {}, {}
    for name in REPORTING if all(record.target.startswith("logits:") for record in records) else ():
        judge = load_judge(name)
        classes = torch.tensor([judge.categories.index(record.target.removeprefix("logits:")) for record in records])
        with torch.no_grad():
            logits = judge.activations(shown, [LOGITS])[LOGITS].reshape(len(shown), len(judge.categories), -1).mean(2)
        named[name] = int((logits.argmax(1) == classes).sum())
        rating[name] = float(logits.softmax(1)[range(len(classes)), classes].mean())
    return Outcome(seconds / len(records), [float(record.score or 0) for record in records], named, rating)


# -- plain parts -------------------------------------------------------------------------------------------------------


class PlainRedirected(torch.autograd.Function):
    """`_Redirected` of redirected_relu.py, of operations that say what they do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float, rows: Tensor | None, in_place: bool) -> Tensor:
        ctx.top, ctx.rows = top, rows if rows is not None and len(rows) == len(x) else None
        ctx.save_for_backward(x.clone())  # a caller may go on in place
        y = x.clamp(0, top)
        if in_place:
            x.copy_(y)
            ctx.mark_dirty(x)
            return x
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,), (x,) = grads, ctx.saved_tensors
        ordinary = torch.where((x > 0) & (x < ctx.top), gradient, 0)
        away = ((x <= 0) & (gradient < 0)) | ((x >= ctx.top) & (gradient > 0))
        redirected = torch.where(away, 0, gradient)
        for row in range(len(x)):
            if not ordinary[row].any() and (ctx.rows is None or ctx.rows[row]):
                ordinary[row] = redirected[row]
        return ordinary, None, None, None


def plain_sampled(images: Tensor, matrices: Tensor, window: tuple[int, int], padding_mode: str) -> Tensor:
    """`sampled` of transforms/affine.py for what `plain_inverted` returns."""
    grid = F.affine_grid(matrices.to(images.dtype), [len(images), images.shape[1], *window], align_corners=True)
    return F.grid_sample(images, grid, padding_mode=padding_mode, align_corners=True)


def plain_inverted(matrices: Tensor, size: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """(..., 2, 3), from the window's coordinates to the picture's, both from -1 to 1: the numerical inverse of the whole map."""

    def from_unit(height: int, width: int) -> Tensor:
        half = [(width - 1) / 2, (height - 1) / 2]
        return torch.tensor([[half[0], 0, half[0]], [0, half[1], half[1]], [0, 0, 1]], dtype=matrices.dtype)

    bottom = torch.tensor([0, 0, 1], dtype=matrices.dtype).expand(*matrices.shape[:-2], 1, 3)
    pixels = torch.linalg.inv(torch.cat([matrices, bottom], -2)) @ from_unit(*window)
    inverse: Tensor = torch.linalg.inv(from_unit(*size)) @ pixels
    return inverse[..., :2, :]


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """The package without what was written for speed alone."""

    @contextlib.contextmanager
    def as_they_are(module: nn.Module, folded: object) -> Iterator[None]:
        yield

    package = "lightning_fv"
    with (
        mock.patch(f"{package}.networks.base.memory_efficient_layers", as_they_are),
        mock.patch(f"{package}.optimization.redirected_relu._Redirected", PlainRedirected),
        mock.patch(f"{package}.transforms.warp.sampled", plain_sampled),
        mock.patch(f"{package}.transforms.warp.inverted", plain_inverted),
    ):
        yield


def compare(seeds: int, options: Sequence[str], targets: str = "logits:all") -> None:
    """Print how much the fast parts change: seconds, scores, names."""
    print("seed  CPU s fast/plain  score fast/plain: mean  least  most   named right, fast and plain")
    for seed in range(seeds):
        words = ["--seed", str(seed), *options]
        fast = run(words, targets)
        with plain():
            slow = run(words, targets)
        mean = statistics.mean(fast.scores) / statistics.mean(slow.scores)
        ratios = [one / other for one, other in zip(fast.scores, slow.scores, strict=True)]
        names = ", ".join(f"{name} {fast.named[name]} {slow.named[name]}" for name in fast.named)
        print(
            f"{seed:4}  {fast.seconds:.3f} {slow.seconds:.3f}      {mean:22.4f} {min(ratios):6.3f} {max(ratios):6.3f}  {names}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["default", "lucent", "maco"])
    parser.add_argument("--steps", nargs="+", type=int, default=[], help="instead of the recipe's own number")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--targets", default="logits:all")
    parser.add_argument("--plain", action="store_true", help="compare the fast parts with plain ones")
    asked = parser.parse_args()
    run(["--trainer.max_steps", "1"])  # makes what is made once
    steps = [["--trainer.max_steps", str(number)] for number in asked.steps] or [[]]
    if asked.plain:
        compare(asked.seeds, steps[0], asked.targets)
        return
    print(f"{torch.get_num_threads()} threads, CPU time; of each judge: pictures named right, mean probability")
    for recipe in asked.recipes:
        for number in steps:
            for seed in range(asked.seeds):
                found = run(["--config", recipe, "--seed", str(seed), *number], asked.targets)
                judges = "  ".join(f"{name} {found.named[name]} {found.rating[name]:.3f}" for name in found.named)
                print(
                    f"{recipe:8} {' '.join(number[1:]):4} seed {seed}: {found.seconds:.3f} s a picture, "
                    f"{3600 / found.seconds:6.0f} an hour; {judges}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
