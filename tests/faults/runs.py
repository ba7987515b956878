"""Runs as processes of their own, and whether what they leave is whole."""

import functools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import yaml
from PIL import Image

from lightning_fv.runs.record import read_manifest
from tests import helpers

PATIENCE = 900.0
"""Seconds that a process may take: on a machine that has other work its start alone may take minutes."""

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "fit.py"
QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
GROWING = [
    *QUICK, "--targets", "logits:pizza+layer3:5+logits:3", "--batch_size", "2", "--checkpoint_seconds", "0.1",
    "--model.size", "24", "--model.stage_steps", "10", "--trainer.max_steps", "160",
    "--trainer.callbacks+=ProgressiveUpscale", "--trainer.callbacks.to=56", "--trainer.callbacks.every=15",
    "--trainer.callbacks+=PeriodicBlur", "--trainer.callbacks.every=20",
]  # fmt: skip
"""Two jobs with growth and blur, seconds of work."""


def start(
    *args: str, enter: Sequence[str] = (), env: Mapping[str, str] = os.environ, **options: object
) -> "subprocess.Popen[str]":
    """A run; its output, of both kinds, can be read from ``stdout``."""
    paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]  # the package and these tests
    options["env"] = {**env, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [*enter, sys.executable, str(SCRIPT), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        **options,
    )  # type: ignore[call-overload, no-any-return]  # fmt: skip


def run(
    *args: str, enter: Sequence[str] = (), env: Mapping[str, str] = os.environ, **options: object
) -> tuple[int, str]:
    """A run to its end: exit code and output."""
    process = start(*args, enter=enter, env=env, **options)
    told, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, told


wait_for = functools.partial(helpers.wait_for, seconds=PATIENCE)


def check_files(run: Path) -> dict[str, int]:
    """Open every file that bears a name of a run's; returns how many there are of each kind.

    What a kill leaves of an unfinished write is hidden (``.name.partial``) and nobody's result.
    """
    counts: dict[str, int] = {}
    for file in sorted(run.rglob("*")):
        kind = file.suffix
        if ".ranks" in file.relative_to(run).parts:
            continue  # locks and heartbeats: empty, or of the moment
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
