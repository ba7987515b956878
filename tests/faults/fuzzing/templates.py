"""The runs that are damaged: made once, then copied."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning_fv.callbacks.stop as stop
from lightning_fv.commands.main import main
from tests.faults.fuzzing.oracle import pictures
from tests.faults.fuzzing.server import Command, run
from tests.processes import QUICK

TARGETS = "layer3:3+layer3:5+logits:0+logits:pizza"
SHORT = [*QUICK, "--batch_size", "2", "--model.size", "16", "--trainer.max_steps", "6", "--checkpoint_seconds", "1e-6"]
WORDS = [*SHORT, "--model.stage_steps", "2", "--targets", TARGETS]
"""Two jobs of two pictures, a second of work."""
GROWING = [
    *WORDS, "--trainer.callbacks+=ProgressiveUpscale", "--trainer.callbacks.to=24", "--trainer.callbacks.every=2",
    "--trainer.callbacks.factor=1.3", "--trainer.callbacks+=PeriodicBlur", "--trainer.callbacks.every=3",
]  # fmt: skip
COUNT = 4


@dataclass
class Template:
    """A run.

    Attributes:
        path: its folder.
        words: the options that it was started with.
        expected: the pixels of its pictures when it is done, by file name.
    """

    path: Path
    words: list[str]
    expected: dict[str, bytes]


def python_render(out: Path) -> int:
    """As `WORDS`, with `lightning_fv.render`."""
    import lightning_fv

    lightning_fv.render("demo", TARGETS, steps=6, size=16, batch_size=2, out=out, accelerator="cpu", progress=False)
    return 0


def _interrupted(words: list[str], batches: int, act: Callable[[], Any]) -> int:
    """Run a command that does something to itself after so many batches, wherever that is."""
    before, seen = stop.GracefulStop.on_train_batch_end, [0]

    def on_train_batch_end(self: Any, *args: Any) -> None:
        seen[0] += 1
        if seen[0] == batches:
            act()
        before(self, *args)

    stop.GracefulStop.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]
    return main(words)


def _raise() -> None:
    raise RuntimeError("this step fails")


def make(place: Path) -> dict[str, Template]:
    """The runs: done, stopped in the second job, killed in the first, failed in the second, grown and stopped, by Python."""
    (place / "cwd").mkdir(parents=True)

    def made(name: str, code: int, call: Callable[[Path], int]) -> Path:
        folder = place / name
        result = run(Command([], place / "cwd", lambda: call(folder)))
        assert result.code == code, (name, result)
        return folder

    def words(folder: Path, own: list[str]) -> list[str]:
        return ["--out", str(folder), *own]

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def terminate() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    folders = {
        "done": (made("done", 0, lambda f: main(words(f, WORDS))), WORDS),
        "stopped": (made("stopped", 143, lambda f: _interrupted(words(f, WORDS), 10, terminate)), WORDS),
        "killed": (made("killed", -9, lambda f: _interrupted(words(f, WORDS), 5, kill)), WORDS),
        "failed": (made("failed", 1, lambda f: _interrupted(words(f, WORDS), 8, _raise)), WORDS),
        "grown": (made("grown", 143, lambda f: _interrupted(words(f, GROWING), 11, terminate)), GROWING),
    }
    plain = pictures(folders["done"][0])
    whole = pictures(made("whole", 0, lambda f: main(words(f, GROWING))))
    python = made("python", 0, python_render)
    assert len(plain) == len(whole) == COUNT
    templates = {
        name: Template(path, own, whole if own is GROWING else plain) for name, (path, own) in folders.items()
    }
    return {**templates, "python": Template(python, [], pictures(python))}


def copy(template: Template, to: Path) -> Path:
    shutil.copytree(template.path, to, symlinks=True)
    return to
