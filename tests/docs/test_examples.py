"""Every code block and command line of README.md and docs/ runs, or a comment in the page says why not."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as pl
import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

import lightning_fv
from lightning_fv.commands.main import COMMANDS, main
from lightning_fv.commands.recipes import recipe_names
from tests.docs.examples import (
    OUTPUT,
    PAGES,
    ROOT,
    SHELL,
    Block,
    argv,
    blocks,
    commands,
    inline_commands,
    printed,
    run,
    run_script,
    short_renders,
)
from tests.helpers import save_picture, smooth_photos

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in BLOCKS if block.is_run]


def chosen(language: str, slow: bool = False) -> list[Any]:
    """The blocks of a language; of shell blocks, those with slow or with quick lines, and none whose lines an earlier one has."""
    found: list[Block] = []
    for block in RUN:
        lines = set(block.lines(slow)) if language == SHELL else {block.name}
        if block.language == language and lines and not any(lines <= set(other.lines(slow)) for other in found):
            found.append(block)
    return [pytest.param(block, id=block.name) for block in found]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples name: photos, files of vectors and of an autoencoder, two finished runs, and modules."""
    folder = tmp_path_factory.mktemp("material")
    for number, name in enumerate(["photo.jpg", "one.jpg", "other.jpg", "style.jpg"]):
        save_picture(folder / name, smooth_photos(70 + number, 80)[number % 2])
    (folder / "PHOTOS" / "kind").mkdir(parents=True)
    for number in range(12):
        save_picture(folder / "PHOTOS" / "kind" / f"{number}.png", smooth_photos(60 + 3 * number, 70)[number % 2])
    np.save(folder / "concepts.npy", np.random.default_rng(0).normal(size=(8, 256)).astype(np.float32))
    shutil.copy(ROOT / "lightning_fv" / "assets" / "demo_vit_sae.safetensors", folder / "mine.safetensors")
    for seed, name in enumerate(["RUN", "OTHER_RUN"]):
        lightning_fv.render(
            "demo", "logits:pizza", steps=1, seed=seed, out=folder / name, progress=False, accelerator="cpu"
        )
    torch.save(resnet18().state_dict(), folder / "weights.pt")
    extend = (block.text for block in blocks(ROOT / "docs" / "extend.md") if block.language == "python")
    parts = ["def contrast", "class Spread", "class RandomBrightness", "class Grey", "class Curve"]
    modules = [re.split(r"\n\n\n(?=\w+ = |lightning_fv)", text)[0] for text in extend if any(p in text for p in parts)]
    (folder / "my_parts.py").write_text("\n\n\n".join(modules))
    (folder / "my_module.py").write_text(next(text for text in modules if "def contrast" in text))
    return folder


@pytest.fixture
def place(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the material, where modules of the user's own can be imported."""
    folder = tmp_path / "work"
    shutil.copytree(material, folder, copy_function=os.link)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in ("my_module", "my_parts"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("block", chosen(SHELL))
def test_commands_run(block: Block, place: Path) -> None:
    for line in block.lines(slow=False):
        run(line)
        if line.endswith("my_parts.Curve"):
            assert (place / "curve-logits-0011-pizza.csv").read_text().startswith("logits-0011-pizza")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", chosen(SHELL, slow=True))
def test_slow_commands_run(block: Block, place: Path) -> None:
    for line in block.lines(slow=True):
        run(line)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.page == p and b.language == "python" for b in RUN)], ids=str
)
def test_python_runs(page: Path, place: Path) -> None:
    """The blocks of a page run in order and share their names, as they do for a reader; what the text calls yours is given here."""
    names: dict[str, Any] = {"__name__": "example", "lightning_fv": lightning_fv, "pl": pl, **vars_of_a_reader()}
    with short_renders():
        for block in RUN:
            if block.page == page and block.language == "python":
                code = compile("\n" * block.line + block.text, str(page), "exec")
                exec(code, names)


def vars_of_a_reader() -> dict[str, Any]:
    """What examples take for granted: a Module, a LightningModule and its photos, a Trainer that is quick."""

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = resnet18()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    loader = DataLoader(TensorDataset(torch.rand(4, 3, 64, 64), torch.zeros(4, dtype=torch.long)), batch_size=2)
    return {
        "my_module": resnet18(),
        "my_lightning_module": Classifier(),
        "module": Classifier(),
        "loader": loader,
        "nn": nn,
    }


@pytest.mark.parametrize("block", chosen(OUTPUT))
def test_output_is_what_the_command_prints(block: Block, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line of `...` stands for any number of lines."""
    said = printed(block.command)
    lines = [line.rstrip() for line in block.text.split("\n")]
    pattern = "\n".join(r"(?:.*\n)*?.*" if line.strip() == "..." else re.escape(line) for line in lines)
    expected = "\n".join(line.rstrip() for line in said.rstrip().split("\n"))
    assert re.fullmatch(pattern, expected), expected


@pytest.mark.parametrize("block", chosen("yaml"))
def test_settings_are_accepted(block: Block, place: Path) -> None:
    """A config of its own, or a part of one."""
    assert isinstance(yaml.safe_load(block.text), dict)
    Path("mine.yaml").write_text(block.text)
    run("lightning-fv --config mine.yaml --out settings")


def test_every_block_is_of_a_kind_that_is_run() -> None:
    kinds = {SHELL, "python", "yaml", OUTPUT}
    assert [block.name for block in RUN if block.language not in kinds] == []
    assert [block.name for block in RUN if block.language == OUTPUT and not block.command] == []
    assert len(RUN) > 40


LEFT_OUT = [line for block in BLOCKS if block.language == SHELL for line in block.left_out()]
LEFT_OUT += [line for page in PAGES for line in inline_commands(page)]
LEFT_OUT = sorted(set(LEFT_OUT) - {shlex.join(shlex.split(block.command)) for block in BLOCKS})
"""Commands of blocks and of text that are not run."""


@pytest.mark.parametrize("line", [line for line in LEFT_OUT if argv(line)[0] == "lightning-fv"])
def test_commands_that_are_not_run_have_options_that_exist(
    line: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = argv(line)[1:]
    if args and args[0] in COMMANDS:
        assert main([args[0], "--help"]) == 0
        assert args[0] != "compare" or main(["fit", "--help-all"]) == 0  # whose options it has, too
        shown = capsys.readouterr().out
        assert [word for word in args if word.startswith("--") and word.partition("=")[0] not in shown] == []
    else:
        assert main([*args, "--print_config"]) == 0


@pytest.mark.parametrize("line", [line for line in LEFT_OUT if "scripts/" in line and argv(line)[0] == "python"])
def test_scripts_that_are_not_run_have_options_that_exist(
    line: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, *args = argv(line)[1:]
    run_script(script, ["--help"])
    shown = capsys.readouterr().out
    assert [word for word in args if word.startswith("--") and word not in shown] == []


def test_recipes_that_are_named_exist() -> None:
    lines = [line for block in BLOCKS if block.language == SHELL for line in commands(block.text)]
    named = [shlex.split(line)[shlex.split(line).index("--config") + 1] for line in lines if " --config " in line]
    assert {name for name in named if name.islower() and "." not in name} <= set(recipe_names())


def test_the_search_finds_blocks_and_reasons(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# T\n\nText `lightning-fv layers demo`:\n\n```\na\n```\n\n<!-- not run (big): takes hours -->\n\n"
        "    lightning-fv big\n    X=1 lightning-fv --a \\\n        b; lightning-fv 'c\n    d'  # said\n\n- a list\n\n<!-- not run: no -->\n```python\nx\n```\n"
    )
    output, shell, python = blocks(page)
    assert (output.language, output.command, output.line) == (OUTPUT, "lightning-fv layers demo", 5)
    assert shell.left_out() == ["lightning-fv big"]
    assert shell.lines(slow=False) == ["X=1 lightning-fv --a b", "lightning-fv 'c d'"]
    assert argv("X=1 .venv/bin/python scripts/fit.py --a") == ["lightning-fv", "--a"]
    assert (python.is_run, python.skipped) == (False, {"": "no"})


def test_a_comment_without_a_block_is_a_mistake(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: no -->\n\nText.\n\n    lightning-fv\n")
    with pytest.raises(AssertionError, match="no code block"):
        blocks(page)


def test_an_unknown_command_must_be_marked() -> None:
    with pytest.raises(pytest.fail.Exception, match="not run"):
        run("make everything")
