"""Every shipped recipe runs on a CUDA device."""

from pathlib import Path

import pytest

from lightning_fv.commands.main import main
from lightning_fv.commands.recipes import recipe_names
from lightning_fv.runs.record import read_manifest
from tests.helpers import save_picture, smooth_photos
from tests.mock_device.tensors import DeviceState


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_runs_two_steps(mock_cuda: DeviceState, tmp_path: Path, name: str) -> None:
    save_picture(tmp_path / "photo.png", smooth_photos(70, 80)[0])
    start = ["--start", str(tmp_path / "photo.png")] if name in ("accentuation", "deepdream") else []
    options = ["--out", str(tmp_path / "run"), "--trainer.max_steps", "2", "--trainer.accelerator", "cuda"]
    with mock_cuda.ledger.counting() as counts:
        code = main(["--config", name, "--batch-size", "8", *start, *options])
    assert code == 0 or name == "study_channels"  # 2 steps wake no dead channel
    assert {record.steps for record in read_manifest(tmp_path / "run" / "manifest.jsonl")} == {2}
    assert counts.names["convolution"] > 0
