"""Options and config files run parts of a run and the user's own code, and nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
import yaml
from jsonargparse import _typehints

from lightning_fv.callbacks import PeriodicBlur
from lightning_fv.commands.imports import checked_imports
from lightning_fv.commands.main import main
from lightning_fv.errors import UsageError
from lightning_fv.runs.digests import seal
from lightning_fv.transforms import study_warp
from tests.processes import QUICK

OWN = """
import functools, os, subprocess
from os import system as run
import torch
from torch import nn

class Gain(nn.Module):
    def __init__(self, gain: float = 1.0, extra=None, inner: nn.Module | None = None):
        super().__init__()
        self.gain = gain

    def forward(self, images):
        return images * self.gain

def brightness(activations, images):
    return images.flatten(1).mean(1)

def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)

touch = functools.partial(os.system, "touch touched")
identity = nn.Identity()
"""

PLACES = [
    "model: {parameterization: SPEC}",
    "model: {transforms: [SPEC]}",
    "model: {penalties: [SPEC]}",
    "model: {optimizer: SPEC}",
    "model: {optimizer: NAME}",
    "trainer: {callbacks: [SPEC]}",
    "trainer: {callbacks: NAME}",
    "trainer: {logger: SPEC}",
    "trainer: {profiler: SPEC}",
    "trainer: {plugins: [SPEC]}",
    "trainer: {strategy: SPEC}",
    "trainer: {accelerator: SPEC}",
    "targets: [SPEC]",
    "targets: [{class_path: Function, init_args: {fn: NAME, layers: []}}]",
    "targets: [{class_path: Function, init_args: {fn: SPEC, layers: []}}]",
    "data: SPEC",
    "model: {transforms: [{class_path: own_code.Gain, init_args: {extra: SPEC}}]}",
    "model: {transforms: [{class_path: own_code.Gain, init_args: {inner: SPEC}}]}",
    "model: {transforms: [{class_path: torchvision.transforms.v2.Lambda, init_args: {lambd: NAME}}]}",
    "trainer: {callbacks: [{class_path: LambdaCallback, init_args: {on_fit_start: NAME}}]}",
    "model: {parameterization: further.yaml}",
]
"""Where a name may stand; ``further.yaml`` holds one."""

NAMES = {
    "os.system": "{command: touch touched}",
    "subprocess.Popen": "{args: [touch, touched]}",
    "builtins.eval": "{source: \"open('touched', 'w')\"}",
    "shutil.rmtree": "{path: kept}",
    "functools.partial": "{}",
    "torch.load": "{f: evil.pt, weights_only: false}",
    "torch.save": "{obj: 1, f: touched}",
    "torch.hub.load": "{repo_or_dir: ., model: touch, source: local}",
    "torch.jit.load": "{f: evil.pt}",
    "torch.ops.load_library": "{path: evil.so}",
    "lightning.pytorch.seed_everything": "{seed: 1}",
    "lightning_fv.commands.main.main": "{}",
    "lightning_fv.__main__.main": "{}",
    "lightning_fv.commands.options.os.system": "{command: touch touched}",
    "own_code.os.system": "{command: touch touched}",
    "own_code.subprocess.Popen": "{args: [touch, touched]}",
    "own_code.run": "{command: touch touched}",
    "own_code.touch": "{}",
}
"""What must not be run, with arguments by which it would leave a trace."""


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return open, ("touched", "w")


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with modules of the user's own, which is the current one; imports of them are forgotten afterwards."""
    (tmp_path / "own_code.py").write_text(OWN)
    (tmp_path / "hubconf.py").write_text("open('touched', 'w')\ndef touch(): pass\n")
    (tmp_path / "kept").mkdir()
    torch.save(Evil(), tmp_path / "evil.pt")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_code", None)


def refuses(folder: Path, config: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The line with which a config is refused; asserts that it is, before anything was run."""
    (folder / "config.yaml").write_text(config)
    steps = ["--trainer.max_steps", "1", "--model.size", "16"]
    capsys.readouterr()
    assert main(["--config", str(folder / "config.yaml"), "--out", str(folder / "run"), *QUICK, *steps]) == 2, config
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning-fv: error: "), line
    assert not (folder / "touched").exists(), config
    assert (folder / "kept").exists()
    assert not (folder / "run").exists()
    return line


def config_of(place: str, name: str, folder: Path) -> str:
    spec = f"{{class_path: {name}, init_args: {NAMES[name]}}}"
    (folder / "further.yaml").write_text(spec)
    return place.replace("SPEC", spec).replace("NAME", name)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_nothing_else_is_run_wherever_it_is_named(
    own_code: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        refuses(own_code, config_of(place, name, own_code), capsys)


@pytest.mark.parametrize("place", PLACES[1::6])
def test_the_standard_library_is_not_run(own_code: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refuses(own_code, config_of(place, "os.system", own_code), capsys)
    assert "os.system is refused: it is part of Python's standard library" in line


@pytest.mark.parametrize("name", NAMES)
def test_what_may_not_be_named(own_code: Path, name: str) -> None:
    """As jsonargparse asks for it; the tests above come from outside."""
    with pytest.raises(UsageError, match=f"{name} "), checked_imports():
        _typehints.import_object(name)
    assert not (own_code / "touched").exists()


def test_what_may_be_named(own_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with checked_imports():
        assert _typehints.import_object("torch.optim.SGD") is torch.optim.SGD
        assert _typehints.import_object("lightning_fv.callbacks.PeriodicBlur") is PeriodicBlur
        assert _typehints.import_object("lightning_fv.transforms.study_warp") is study_warp
        assert capsys.readouterr().err == ""
        for name in ("Gain", "brightness", "sgd", "identity", "Gain"):
            _typehints.import_object(f"own_code.{name}")
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"lightning-fv: running your own code: own_code.{name} ({own_code / 'own_code.py'})"
        for name in ("Gain", "brightness", "sgd", "identity")
    ]
    assert _typehints.import_object("os.system")  # jsonargparse is as it was


def test_own_code_is_told_before_its_module_is_imported(own_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_code / "own_noise.py").write_text(
        "import sys\nprint('imported', file=sys.stderr)\nfrom own_code import Gain as Louder\n"
    )
    assert main(["--model.transforms+=own_noise.Louder", "--print_config"]) == 0
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == f"lightning-fv: running your own code: own_noise.Louder ({own_code / 'own_noise.py'})"
    assert second == "imported"


def test_resume_of_a_folder_that_someone_else_made(own_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = own_code / "theirs"
    assert main(["--print_config"]) == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    run.mkdir()
    config = run / "config.yaml"
    settings["trainer"]["callbacks"] = [{"class_path": "os.system", "init_args": {"command": "touch touched"}}]
    config.write_text(seal(yaml.safe_dump(settings)))
    assert main(["--out", str(run), "--resume", *QUICK]) == 2
    assert "os.system is refused: it is part of Python's standard library" in capsys.readouterr().err
    assert not (own_code / "touched").exists()


@pytest.mark.parametrize(
    "config",
    [
        "model: {transforms: !!python/object/apply:os.system ['touch touched']}",
        "model: {parameterization: {__class_path__: os.system}}",
        "model: {parameterization: {class_path: os.system, dict_kwargs: {command: touch touched}}}",
    ],
)
def test_other_ways_that_run_code_elsewhere(own_code: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    refuses(own_code, config, capsys)


def test_configs_are_not_fetched(own_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning lets a value be the URL of a file; one of a protocol that needs no server."""
    fsspec.filesystem("memory").pipe("/further.yaml", b"class_path: lightning_fv.parameterizations.Pixel")
    line = refuses(own_code, "model: {parameterization: 'memory://further.yaml'}", capsys)
    assert "memory://further.yaml" in line


@pytest.mark.parametrize("target", ["code.conv1", "os.system"])
def test_a_target_is_text(own_code: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no layer" in refuses(own_code, f"targets: [{target}]", capsys)
