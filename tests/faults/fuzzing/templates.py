"""The runs that are damaged: made once, then copied."""

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning_fv.callbacks.stop as stop
from lightning_fv.commands.main import main
from tests.faults.fuzzing.oracle import pictures
from tests.faults.fuzzing.server import Command, import_all, run
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


def _interrupted(call: Callable[[], int], batches: int, act: Callable[[], Any]) -> int:
    """Call something that does something to itself after so many batches, wherever that is."""
    before, seen = stop.GracefulStop.on_train_batch_end, [0]

    def on_train_batch_end(self: Any, *args: Any) -> None:
        seen[0] += 1
        if seen[0] == batches:
            act()
        before(self, *args)

    stop.GracefulStop.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]
    stop.GracefulStop.next_step = lambda self, step: step + 1  # type: ignore[method-assign]
    return call()


def _raise() -> None:
    raise RuntimeError("this step fails")


NAMES = ("done", "stopped", "killed", "failed", "grown", "python", "python stopped")


def make(place: Path, names: Sequence[str] = NAMES) -> dict[str, Template]:
    """The runs: done, stopped in the second job, killed in the first, failed in the second, grown and stopped, by Python, by
    Python and stopped.

    Whatever the first of them imports late, this process imports as well.

    Args:
        place: where.
        names: which; the first is always made.
    """
    (place / "cwd").mkdir(parents=True)

    def made(name: str, code: int, call: Callable[[], int]) -> Path:
        result = run(Command([], place / "cwd", call))
        assert result.code == code, (name, result)
        return place / name

    def start(name: str, own: list[str]) -> list[str]:
        return ["--out", str(place / name), *own]

    def send(number: int) -> Callable[[], None]:
        return lambda: os.kill(os.getpid(), number)

    import_all(lambda call: made("done", 0, call), lambda: main(start("done", WORDS)), place / "modules.json")
    plain = pictures(place / "done")
    assert len(plain) == COUNT
    templates = {"done": Template(place / "done", WORDS, plain)}
    ways = {
        "stopped": (143, lambda: _interrupted(lambda: main(start("stopped", WORDS)), 10, send(signal.SIGTERM))),
        "killed": (-9, lambda: _interrupted(lambda: main(start("killed", WORDS)), 5, send(signal.SIGKILL))),
        "failed": (1, lambda: _interrupted(lambda: main(start("failed", WORDS)), 8, _raise)),
    }
    for name, (code, call) in ways.items():
        if name in names:
            templates[name] = Template(made(name, code, call), WORDS, plain)
    if "grown" in names:
        whole = pictures(made("whole", 0, lambda: main(start("whole", GROWING))))
        grown = made(
            "grown", 143, lambda: _interrupted(lambda: main(start("grown", GROWING)), 11, send(signal.SIGTERM))
        )
        templates["grown"] = Template(grown, GROWING, whole)
    if "python" in names:
        python = made("python", 0, lambda: python_render(place / "python"))
        templates["python"] = Template(python, [], pictures(python))
    if "python stopped" in names:
        stopped = place / "python stopped"
        made(stopped.name, 130, lambda: _interrupted(lambda: python_render(stopped), 10, send(signal.SIGTERM)))
        templates["python stopped"] = Template(stopped, [], templates["python"].expected)
    return templates


def copy(template: Template, to: Path) -> Path:
    shutil.copytree(template.path, to, symlinks=True)
    return to
