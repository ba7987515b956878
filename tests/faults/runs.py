"""The run that most of these tests disturb, and whether what is left of it is whole."""

import os
from pathlib import Path

import torch
import yaml
from PIL import Image

from lightning_fv.runs.record import read_manifest
from tests.processes import QUICK

GROWING = [
    *QUICK, "--targets", "logits:pizza+layer3:5+logits:3", "--batch_size", "2", "--checkpoint_seconds", "0.1",
    "--model.size", "24", "--model.stage_steps", "10", "--trainer.max_steps", "160",
    "--trainer.callbacks+=ProgressiveUpscale", "--trainer.callbacks.to=56", "--trainer.callbacks.every=15",
    "--trainer.callbacks+=PeriodicBlur", "--trainer.callbacks.every=20",
]  # fmt: skip
"""Two jobs with growth and blur, seconds of work."""


def check_files(run: Path) -> dict[str, int]:
    """Open every file that bears a name of a run's; returns how many there are of each kind.

    What a kill leaves of an unfinished write is hidden (``.name.partial``) and nobody's result.
    """
    counts: dict[str, int] = {}
    for file in sorted(run.rglob("*")):
        kind = file.suffix
        if ".run" in file.relative_to(run).parts:
            continue  # locks: empty, or of the moment
        if file.is_dir() or kind == ".partial":
            assert file.is_dir() or file.name.startswith(".")
            continue
        if kind in (".png", ".jpg", ".webp"):
            with Image.open(file) as picture:
                picture.load()
        elif kind == ".jsonl":
            assert read_manifest(file)
        elif kind == ".ckpt":
            assert "state_dict" in torch.load(file, map_location="cpu", weights_only=True)
        elif file.name == "config.yaml":
            assert isinstance(yaml.safe_load(file.read_text()), dict)
        elif kind == ".html":
            assert file.read_text().rstrip().endswith("</html>")
        else:
            assert file.name == "hparams.yaml" or file.name.startswith("events.out.tfevents"), file
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def lines_with(text: str, part: str) -> list[str]:
    return [line for line in text.splitlines() if part in line]


assert os.name == "posix", "these tests send signals and mount disks"
