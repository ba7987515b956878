"""The second opinions on a run's pictures."""

import sys
from pathlib import Path

import pytest
import torch

from lightning_fv import load_network
from lightning_fv.networks.demo import DemoNet
from lightning_fv.networks.weights import read_metadata

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from judge import ASSETS, CHOOSING, REPORTING, judge, load_judge, main


@pytest.mark.parametrize("folder", [None, "nowhere", "empty"])
def test_a_folder_without_a_run_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: str | None
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(sys, "argv", ["judge.py", *([] if folder is None else [str(tmp_path / folder)])])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "required: run" in line if folder is None else "holds no manifest.jsonl; give the folder of a run" in line


def test_the_judges_are_other_networks_than_those_that_they_rate() -> None:
    judges = [load_judge(name) for name in (CHOOSING, *REPORTING)]
    assert len({type(judge.module) for judge in judges}) == 3
    for network in judges:
        assert network.categories == load_network("demo").categories
        assert not isinstance(network.module, DemoNet)


def test_dense_is_blind_to_the_finest_texture() -> None:
    checkers = (torch.arange(64)[:, None] + torch.arange(64)) % 2 / 2 + 0.25
    pictures = torch.stack([torch.full((3, 64, 64), 0.5), checkers.expand(3, -1, -1)])
    grey, checked = judge(load_judge("dense"), pictures)
    assert torch.allclose(grey, checked, atol=1e-5)
    grey, checked = judge(load_judge("mixer"), pictures)
    assert not torch.allclose(grey, checked, atol=1e-2)


@pytest.mark.parametrize("name", REPORTING)
def test_reporting_judges_know_photos(name: str) -> None:
    """Top-1 of the stored weights over 1200 photos, by scripts/train_demo.py."""
    assert float(read_metadata(ASSETS / f"judge_{name}.safetensors")["top1"]) > 0.75
