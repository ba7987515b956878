"""Names that control a terminal, and terminals that close: the former are shown and not obeyed, the latter lose nothing."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
from torch import nn

import lightning_fv
from lightning_fv.commands.layers import table
from lightning_fv.commands.main import main
from lightning_fv.errors import FeatureVisualizationError, printable
from lightning_fv.runs.record import read_manifest
from tests.faults.runs import check_files
from tests.faults.terminals import Terminal
from tests.processes import QUICK, SCRIPTS, SECONDS, finish, start, statuses, wait_for

TRICK = "\x1b]0;pwned\x07\r\u202e\u2028\x9b2J"
"""Sets a terminal's title, overwrites the line, turns it around, breaks it, clears the screen."""
SHOWN = r"\x1b]0;pwned\x07\r\u202e\u2028\x9b2J"

QUICKEST = [*QUICK, "--targets", "logits:0", "--trainer.max_steps", "1", "--model.size", "16"]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The lines that were written to both streams since the last call, in which nothing may control a terminal."""

    def read() -> list[str]:
        both = capsys.readouterr()
        lines = (both.out + both.err).split("\n")
        assert [line for line in lines if line != printable(line)] == []
        return lines

    return read


class Raises(pl.Callback):
    """Fails in the first step, with a message of two lines that is not safe either."""

    def on_train_batch_end(self, *args: object) -> None:
        raise ValueError(f"{TRICK} one\ntwo")


def test_names_of_classes_folders_and_settings(tmp_path: Path, told: Callable[[], list[str]]) -> None:
    classes = [TRICK, *(f"{TRICK}{number}" for number in range(23))]
    run = tmp_path / TRICK
    words = ["--out", str(run), *QUICKEST, "--categories"]
    failing = "--trainer.callbacks+=tests.faults.test_terminal.Raises"
    assert main([*words, json.dumps(classes), failing]) == 1
    lines = told()
    assert f"failed         logits:{SHOWN}" in lines
    assert f"contact sheet  {tmp_path / SHOWN / 'sheet.png'}" in lines
    (warning,) = [line for line in lines if line.startswith("lightning-fv: warning: job ")]
    assert f"(logits:{SHOWN}) failed: ValueError: {SHOWN[:16]}; traceback: " in warning
    assert main([*words, json.dumps(["\n  seed: 1", *classes[1:]]), failing]) == 2
    lines = told()
    assert lines[0].startswith(f"lightning-fv: error: {tmp_path / SHOWN} was started with other settings; ")
    assert lines[1].startswith("  categories: ")
    assert lines[2:] == [""]


@pytest.mark.parametrize(
    "words",
    [
        ["--targets", f"logits:{TRICK}"],
        ["--network", f"torchvision/{TRICK}"],
        [f"--{TRICK}"],
        ["--resume", "--out", TRICK],
        ["gallery", TRICK],
        ["gallery", "x", f"--{TRICK}"],
        ["layers", TRICK],
        ["layers", "demo", "--grep", TRICK],
        ["compare", "--networks", TRICK],
    ],
    ids=lambda words: " ".join(words).partition(TRICK)[0],
)
def test_mistakes_are_told_on_one_line(words: list[str], told: Callable[[], list[str]]) -> None:
    assert main(words) == 2
    error, end = told()
    assert error.startswith("lightning-fv: error: ")
    assert end == ""


def test_a_table_of_layers(told: Callable[[], list[str]]) -> None:
    class Named(nn.Identity):
        pass

    Named.__name__ = f"Type{TRICK}"
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module.add_module(f"{TRICK}\nname", Named())
    network = lightning_fv.VisionNetwork(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(8, 8))
    for columns in (None, 40):
        rows = table(network.layers(), columns).split("\n")
        assert rows == [printable(row) for row in rows]
        assert any(rf"  {SHOWN}\nname" in row for row in rows)
    with pytest.raises(FeatureVisualizationError) as refused:
        lightning_fv.render(network, f"{TRICK}x", steps=1)
    assert str(refused.value) == printable(str(refused.value))


def test_manifests_of_others(tmp_path: Path, told: Callable[[], list[str]]) -> None:
    run = tmp_path / f"run {TRICK}"
    assert main(["--out", str(run), *QUICKEST]) == 0
    manifest = run / "manifest.jsonl"
    line = manifest.read_text(encoding="utf-8")
    for damaged in (
        line.replace('"done"', f'"{TRICK}"'.replace("\x1b", "\\u001b")),
        line.replace('"size"', f'"{TRICK[-1]}\\u001b"'),
    ):
        manifest.write_text(damaged, encoding="utf-8")
        main(["gallery", str(run)])
        assert any(printable(f"run {TRICK}") in line for line in told())


# -- processes -----------------------------------------------------------------------------------------------------------

ENDLESS = [
    "--trainer.accelerator", "cpu", "--targets", "logits:0-3", "--batch_size", "1", "--trainer.max_steps", "1000000",
    "--checkpoint_seconds", "0.2",
]  # fmt: skip


def checkpoints(run: Path, count: int = 1) -> Callable[[], bool]:
    """Whether so many jobs have a checkpoint."""
    return lambda: len({file.parent for file in run.glob("jobs/*/checkpoints/*.ckpt")}) >= count


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize("devices", [1, 2])
def test_a_closed_terminal_stops_the_run_in_order(tmp_path: Path, devices: int) -> None:
    """Workers as well; none of them can write to it any more."""
    run = tmp_path / "run"
    with Terminal() as terminal:
        process = terminal.start_python(SCRIPTS / "fit.py", "--out", run, *ENDLESS, "--trainer.devices", devices)
        wait_for(checkpoints(run, devices), process)
    code, _ = finish(process)
    assert code == 128 + signal.SIGHUP
    assert statuses(run) == ["partial"] * devices + ["pending"] * (4 - devices)
    check_files(run)
    assert all(record.image for record in read_manifest(run / "manifest.jsonl")[:devices])


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS)
def test_nohup_outlives_the_terminal(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("--out", run, *ENDLESS, under=["nohup"])
    wait_for(checkpoints(run), process)
    process.send_signal(signal.SIGHUP)
    before = set(run.glob("jobs/*/checkpoints/*"))
    wait_for(lambda: set(run.glob("jobs/*/checkpoints/*")) - before, process)
    process.terminate()
    assert finish(process)[0] == 143
    assert statuses(run)[0] == "partial"


assert os.name == "posix", "these tests send signals"
