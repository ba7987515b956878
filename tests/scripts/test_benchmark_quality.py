"""What the benchmark reads of a run; the two-choice test itself is tested in tests/functional/test_two_choice.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from benchmark_quality import pictures_of


def test_pictures_by_channel(tmp_path: Path) -> None:
    from lightning_fv.commands.main import main

    run = tmp_path / "run"
    words = ["--targets", "layer3:4 x2+layer3:0+layer4:4", "--trainer.max_steps", "1", "--out", str(run)]
    assert main(words) == 0
    found = pictures_of(run, "layer3")
    assert {channel: len(files) for channel, files in found.items()} == {0: 1, 4: 2}
    assert all(file.is_file() for files in found.values() for file in files)
