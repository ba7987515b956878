"""What the benchmark reads of a run; the two-choice test itself is tested in tests/functional/test_two_choice.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import torch
from benchmark_quality import can_be_asked, pictures_of

from lightning_fv.functional import TwoChoiceTrials


def test_pictures_by_channel(tmp_path: Path) -> None:
    from lightning_fv.commands.main import main

    run = tmp_path / "run"
    words = ["--targets", "layer3:4 x2+layer3:0+layer4:4", "--trainer.max_steps", "1", "--out", str(run)]
    assert main(words) == 0
    found = pictures_of(run, "layer3")
    assert {channel: len(files) for channel, files in found.items()} == {0: 1, 4: 2}
    assert all(file.is_file() for files in found.values() for file in files)


def test_a_unit_active_on_too_few_photos_is_not_asked_about() -> None:
    """Some of its best photos would excite it no more than the least do, so that chance decides."""
    activations = torch.rand(200, 3) + 0.1
    activations[:, 1] = 0
    activations[1:39:2, 1] = 1.0  # 19 of those asked about
    activations[:, 2] = 0
    activations[1:41:2, 2] = 1.0  # 20
    assert can_be_asked(activations, TwoChoiceTrials.of(activations)).tolist() == [True, False, True]
