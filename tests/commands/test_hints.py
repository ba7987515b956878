"""Mistakes in options name what may have been meant."""

from pathlib import Path

import pytest

from lightning_fv.commands.hints import explain, meant
from lightning_fv.commands.main import main
from tests.processes import QUICK

OPTIONS = ["config", "targets", "network", "out", "seed", "batch_size", "model.size", "model.optimizer", "model.transforms",
           "model.penalties", "trainer.max_steps", "trainer.devices", "trainer.accelerator", "ray.address"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("steps", "trainer.max_steps"),
        ("epochs", "trainer.max_steps"),
        ("lr", "model.optimizer.lr"),
        ("model.learning-rate", "model.optimizer.lr"),
        ("size", "model.size"),
        ("target", "targets"),
        ("layer", "targets"),
        ("output", "out"),
        ("batch", "batch_size"),
        ("gpus", "trainer.devices"),
        ("transforms", "model.transforms"),
        ("model.optimiser", "model.optimizer"),
        ("trainer.max_step", "trainer.max_steps"),
        ("ray.adress", "ray.address"),
        ("acelerator", "trainer.accelerator"),
        ("sede", "seed"),
        ("zzz", None),
    ],
)
def test_the_option_that_was_meant(name: str, option: str | None) -> None:
    assert meant(name, OPTIONS) == option


MISTAKES: list[tuple[list[str] | str, str]] = [
    (["--steps", "3"], "no option --steps; did you mean --trainer.max_steps?"),
    (["--resum"], "no option --resum; did you mean --resume?"),
    (["--seed", "3", "extra"], "extra is not an option"),
    (["--model", "resnet50"], "a network is named by --network"),
    (["--network", "resnet50"], "no network 'resnet50'; did you mean torchvision/resnet50?"),
    (["--model.optimizer", "Adamm"], "model.optimizer: no class 'Adamm'; did you mean Adam (torch.optim.Adam)?"),
    (["--model.optimizer", "torch.optim.Adamm"], "no class 'torch.optim.Adamm'; did you mean Adam (torch.optim.Adam)?"),
    (["--model.parameterization.decai", "1"], "'decai' is not accepted; did you mean decay?"),
    (["--trainer.callbacks", "StochasticWeightAveraging", "--trainer.callbacks.swa_lrs", "0.1"], "has the setting cpu, which config.yaml cannot hold"),
    (["--model.parameterization", "torch.nn.Linear"], "torch.nn.Linear is not a subclass of Parameterization; known are "),
    (["--model.size", "64x64"], "model.size: 64x64 is not a size; give pixels (64), a fraction (0.5) or [height, width]"),
    ("model: {transforms: {class_path: RandomNoise}}", "takes a list, also of one: [{'class_path': 'RandomNoise'}]"),
    ("model: {transforms: [{class_path: RandomNoise, std: 1}]}", "the arguments of a class stand below init_args"),
    ("model: {transforms: [{class_path: nowhere.Thing}]}", "no module 'nowhere'; check its name"),
    ("model: {transforms: [{class_path: RandomCropp}]}", "no class 'RandomCropp'; did you mean RandomCrop (lightning_fv.transforms.RandomCrop)?"),
    ("model: {transforms: [{class_path: lightning_fv.Pixell}]}", "no class 'lightning_fv.Pixell'; lightning_fv has none of that name"),
    ("model: {transforms: [{class_path: lightning_fv.callbacks.RandomWarp}]}", "no class 'lightning_fv.callbacks.RandomWarp'; did you mean RandomWarp (lightning_fv.transforms.RandomWarp)?"),
    ("model: {transforms: [{class_path: kornia.augmentation.RandomCrop, init_args: {sze: 5}}]}", "'sze' is not accepted; did you mean size?"),
    ("model: {transforms: [{class_path: kornia.augmentation.RandomRotatoin}]}", "no class 'kornia.augmentation.RandomRotatoin'; did you mean RandomRotation (kornia.augmentation.RandomRotation)?"),
    ("model: {transforms: [{class_path: kornia.augmentation.Zzz}]}", "no class 'kornia.augmentation.Zzz'; kornia.augmentation has none of that name"),
    ("steps: 3", "Option 'steps' is not accepted; did you mean trainer.max_steps?"),
]  # fmt: skip


def test_mistakes_are_told_in_one_line_with_what_was_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in MISTAKES:
        if isinstance(words, str):
            (tmp_path / "config.yaml").write_text(words)
            words = ["--config", str(tmp_path / "config.yaml")]
        assert main(["--out", str(tmp_path / "run"), *QUICK, *words]) == 2, words
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("lightning-fv: error: ")
        assert told in line
        assert not line.endswith("? (see --help)")
    assert not (tmp_path / "run").exists()


def test_a_command_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compre"]) == 2
    assert "no command 'compre'; did you mean compare?" in capsys.readouterr().err


def test_a_long_value_does_not_hide_the_mistake() -> None:
    message = f"Parser key \"seed\":\n  Expected a <class 'int'>. Got value: {'9' * 5000}"
    assert len(explain(message, OPTIONS)) < 300


def test_a_message_that_is_not_known_is_passed_on_in_one_line() -> None:
    assert explain("something\n  else", ()) == "something else (see --help)"
