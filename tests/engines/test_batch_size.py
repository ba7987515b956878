"""How many pictures fit: the arithmetic. The measurement needs a GPU."""

from pathlib import Path

import pytest
import yaml

from lightning_fv.commands.main import main
from lightning_fv.engines.batch_size import BATCH_SIZE, LARGEST_BATCH, batch_that_fits

GIB = 2**30


@pytest.mark.parametrize(
    ("memory", "first", "second", "growth", "most", "batch"),
    [
        (8 * GIB, (1, GIB), (4, 4 * GIB), 1.0, 256, 6),  # three quarters of 8: 6 of 1 GiB each
        (80 * GIB, (1, 2 * GIB), (4, 5 * GIB), 1.0, 256, 56),  # (60 - 1) / 1 = 59, down to a multiple of 8
        (80 * GIB, (1, 2 * GIB), (4, 5 * GIB), 4.0, 256, 8),  # four times the area: 59 / 4 = 14
        (80 * GIB, (1, GIB // 100), (4, GIB // 25), 1.0, 1000, LARGEST_BATCH),
        (80 * GIB, (1, GIB // 100), (4, GIB // 25), 1.0, 20, 20),  # one job, not two of 16 and 4
        (GIB, (1, 2 * GIB), (4, 5 * GIB), 1.0, 256, 1),  # too little: one, and a clear line if that fails
        (8 * GIB, (1, GIB), (4, GIB), 1.0, 100, 100),  # the same peak: not the pictures' memory
    ],
)
def test_batches_that_fit(
    memory: int, first: tuple[int, int], second: tuple[int, int], growth: float, most: int, batch: int
) -> None:
    assert batch_that_fits(memory, first, second, growth, most) == batch


def test_a_run_writes_down_the_number(tmp_path: Path) -> None:
    run, quick = tmp_path / "run", ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    assert main(["--out", str(run), *quick, "--targets", "logits:all+layer3:0", "--trainer.max_steps", "1"]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["batch_size"] == BATCH_SIZE
    assert len(list((run / "jobs").iterdir())) == 2
    assert main(["--out", str(run), "--resume", "--batch-size", "auto", *quick]) == 0
    assert main(["--out", str(run), "--resume", "--batch-size", "8", *quick]) == 2
