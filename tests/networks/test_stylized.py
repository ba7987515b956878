"""The table of Stylized-ImageNet weights, and a file of the make of theirs."""

import re
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from lightning_fv.networks import stylized
from lightning_fv.networks.stylized import STYLIZED
from lightning_fv.networks.weights import load_strictly, read_weights


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet50(weights=None).eval()


def test_a_file_of_their_make_loads_strictly(resnet50: nn.Module, tmp_path: Path) -> None:
    """Saved before PyTorch 1.6 from a DataParallel, with the optimizer beside."""
    for norm in (m for m in resnet50.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    state = nn.DataParallel(resnet50).state_dict()
    assert all(name.startswith("module.") for name in state)
    momentum = {i: {"momentum_buffer": torch.zeros(p.shape[0])} for i, p in enumerate(resnet50.parameters())}
    groups = [{"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "params": list(momentum)}]
    content = {
        "epoch": 60,
        "arch": "resnet50",
        "state_dict": state,
        "best_prec1": torch.tensor(60.2),
        "optimizer": {"state": momentum, "param_groups": groups},
    }
    file = tmp_path / STYLIZED["resnet50_sin"].name
    torch.save(content, file, _use_new_zipfile_serialization=False)
    assert file.read_bytes()[:2] != b"PK"

    images = torch.rand(1, 3, 65, 47)
    with torch.no_grad():
        expected = resnet50(images)
        for parameter in resnet50.parameters():
            parameter.zero_()
        assert not torch.equal(resnet50(images), expected)
        read = read_weights(file)
        assert list(read) == list(resnet50.state_dict())
        load_strictly(resnet50, read, "a file of the test")
        assert torch.equal(resnet50(images), expected)
    file.unlink()


def test_the_table_of_published_files() -> None:
    assert list(STYLIZED) == ["resnet50_sin", "resnet50_sin_in", "resnet50_shape"]
    assert [file.sha256 for file in STYLIZED.values()] == ["c8e5653e", "2a0d100e", "ca06340c"]
    for file in STYLIZED.values():
        assert file.name.endswith(f"-{file.sha256}.pth.tar")
        host = "https://bitbucket.org/robert_geirhos/texture-vs-shape-pretrained-models/raw"
        assert re.fullmatch(rf"{host}/[0-9a-f]{{40}}/{re.escape(file.name)}", file.url)
        assert "never redistribute" in file.licence
        assert "Geirhos" in file.citation


def test_the_trap_is_told() -> None:
    assert stylized.__doc__ is not None
    for figure in ("81.4 %", "34.7 %", "20.5 %", "21.4 %", "trap"):
        assert figure in stylized.__doc__
