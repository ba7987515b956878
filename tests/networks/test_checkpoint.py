"""Networks of one's own, from a file."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from lightning_fv import load_network
from lightning_fv.commands.main import main
from lightning_fv.errors import CheckpointError, NetworkError
from lightning_fv.networks.torchvision import build_torchvision

OWN = {"architecture": "torchvision/shufflenet_v2_x0_5", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)  # with other weights the unit that is rendered below may be dead
    module = build_torchvision("shufflenet_v2_x0_5", num_classes=7)
    path = tmp_path_factory.mktemp("own") / "mine.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in module.state_dict().items()}, "epoch": 3}, path)
    return path


def test_a_file_and_what_it_is_of(file: Path) -> None:
    network = load_network(f"checkpoint:{file}", **OWN, input_size=(60, 80), categories=list("abcdefg"))  # type: ignore[arg-type]
    assert (network.input_size, network.categories, network.mean) == ((60, 80), tuple("abcdefg"), (0.5, 0.4, 0.3))
    assert network(torch.rand(1, 3, 60, 80)).shape == (1, 7)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"architecture": None}, "needs --architecture"),
        ({"mean": None}, "needs the --mean and --std"),
        ({"architecture": "torchvision/nothing"}, "no architecture 'torchvision/nothing'"),
    ],
)
def test_what_must_be_said(file: Path, changed: dict[str, object], told: str) -> None:
    with pytest.raises(NetworkError, match=told):
        load_network(f"checkpoint:{file}", **{**OWN, **changed})  # type: ignore[arg-type]


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = build_torchvision("shufflenet_v2_x0_5", num_classes=7)


def test_a_checkpoint_of_lightning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = Classifier()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "lightning.ckpt")
    capsys.readouterr()
    network = load_network(f"checkpoint:{tmp_path / 'lightning.ckpt'}", **OWN)  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert (told.count("\n"), "all names begin with 'model.', which is left out" in told) == (1, True)
    own, loaded = module.model.state_dict(), network.module.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[name], loaded[name]) for name in own)


def test_what_is_not_it(file: Path) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        load_network(f"checkpoint:{file}", **{**OWN, "architecture": "torchvision/resnet18"})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        load_network("checkpoint:nowhere.pth", **OWN)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [["cat"], ["cat", "dog"], list("abcdefgh")])
def test_another_number_of_class_names(file: Path, names: list[str]) -> None:
    with pytest.raises(
        CheckpointError, match=rf"mine.pth has 7 classes, but there are {len(names)} class names?; give 7"
    ):
        load_network(f"checkpoint:{file}", **OWN, categories=names)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="missing"):  # of another architecture, which is said first
        load_network(f"checkpoint:{file}", **{**OWN, "architecture": "torchvision/resnet18"}, categories=names)  # type: ignore[arg-type]


def test_from_the_command_line(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["red", "green", "blue", "black", "white", "pink", "<b>grey</b>"]))
    args = ["--network", f"checkpoint:{file}", "--architecture", "torchvision/shufflenet_v2_x0_5", "--mean", "[0.5, 0.5, 0.5]",
            "--std", "[0.2, 0.2, 0.2]", "--input_size", "[48, 64]", "--categories", str(names), "--trainer.max_steps", "2",
            "--trainer.accelerator", "cpu"]  # fmt: skip
    assert main([*args, "--targets", "logits:pink+logits:<b>grey</b>+stage2.3:1", "--out", str(tmp_path / "run")]) == 0
    assert sorted(p.name for p in (tmp_path / "run" / "images").iterdir()) == [
        "logits-0005-pink.png", "logits-0006-b-grey-b.png", "stage2.3-0001.png",
    ]  # fmt: skip
    capsys.readouterr()
    assert main([*args, "--no-weights", "--weights", str(file), "--out", str(tmp_path / "b")]) == 2
    assert "either --weights or --no_weights" in capsys.readouterr().err
