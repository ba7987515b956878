"""Finds the code blocks of a page and runs them, with the few settings changed that make them quick.

A block is fenced, or indented by four spaces. Before it may stand comments that no reader of the page sees::

    <!-- not run: REASON -->
    <!-- not run (TEXT): REASON -->

The first is about the whole block, the second about the lines in which TEXT occurs. Fenced blocks without a language are output: of the
last `lightning-fv ...` in the text above, if there is one in the same section.
"""

import contextlib
import functools
import io
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import lightning.pytorch as pl
import pytest

import lightning_fv
from lightning_fv.commands.main import COMMANDS, main
from lightning_fv.runs.record import read_manifest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

OUTPUT, SHELL = "output", "shell"
STEPS = 1
"""The longest that a render of an example is."""

EPOCHS = 5
"""The longest that a training of an example is."""

_NOT_RUN = re.compile(r"^<!-- not run(?: \((.+?)\))?: (.+?) -->$")
_MANY = re.compile(r"(?<=:)0-\d{2,}\b")
_SLOW = re.compile(r"--trainer\.devices|--engine ray|lightning-fv compare|train_sae")


@dataclass
class Block:
    """A code block.

    Attributes:
        page: the file.
        line: number of its first line, from 1.
        language: as behind the fence, `SHELL` or `OUTPUT`.
        text: without fence and indent.
        skipped: reasons not to run lines, by a text that occurs in them; an empty text is in all lines.
        command: of output, the command that printed it.
    """

    page: Path
    line: int
    language: str
    text: str
    skipped: dict[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return "" not in self.skipped

    def lines(self, slow: bool) -> list[str]:
        """The commands of a shell block that are run, continued lines joined."""
        found = [line for line in commands(self.text) if not any(text in line for text in self.skipped)]
        return [line for line in found if bool(_SLOW.search(line)) == slow]

    def left_out(self) -> list[str]:
        """The commands of a shell block that are not run."""
        return [line for line in commands(self.text) if any(text in line for text in self.skipped)]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    lines = page.read_text().split("\n")
    found: list[Block] = []
    skipped: dict[str, str] = {}
    command, before, number = "", "", 0
    while number < len(lines):
        line, start = lines[number], number + 1
        if marker := _NOT_RUN.match(line):
            skipped[marker[1] or ""] = marker[2]
        elif line.startswith("```"):
            end = lines.index("```", number + 1)
            language = line[3:].strip() or OUTPUT
            text = "\n".join(lines[number + 1 : end])
            found.append(Block(page, start, language, text, skipped, command if language == OUTPUT else ""))
            skipped, number = {}, end
        elif line.startswith("    ") and not before:
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end]):
                end += 1
            text = "\n".join(line[4:] for line in lines[number:end]).rstrip("\n")
            found.append(Block(page, start, "yaml" if text.startswith("base:") else SHELL, text, skipped))
            skipped, number = {}, end - 1
        elif line.startswith("#"):
            command = ""
        elif line:
            assert not skipped, f"{page}:{start}: no code block after a comment 'not run'"
            inline = re.findall(r"`(lightning-fv [^`]+)`", line)
            command = inline[-1] if inline else command
        before = "" if _NOT_RUN.match(line) else lines[number]
        number += 1
    assert not skipped, f"{page}: no code block after the last comment 'not run'"
    return found


def inline_commands(page: Path) -> list[str]:
    """The command lines with options among a page's text, outside of its code blocks; not those with a placeholder for a value."""
    text = re.sub(r"^```.*?^```$|^    [^\n]*$", "", page.read_text(), flags=re.M | re.S)
    found = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]
    found = [code for code in found if not re.search(r"\b(N|NAME|FOLDER|FILE)\b|>", code)]
    return [
        part
        for code in found
        for part in commands(code)
        if re.match(r"(lightning-fv|\S*python scripts/\S+) .*--", part)
    ]


def commands(text: str) -> list[str]:
    """The command lines of a shell block: those that a backslash or an open quote continues are joined, comments and ``&&`` taken apart."""
    found, open_ = [], ""
    for line in text.split("\n"):
        open_ += line
        if open_.endswith("\\"):
            open_ = open_[:-1]
            continue
        try:
            words = shlex.shlex(open_, posix=True, punctuation_chars=";&")
            words.whitespace_split = True
            parts: list[list[str]] = [[]]
            for word in words:
                if word in ("&&", ";"):
                    parts.append([])
                else:
                    parts[-1].append(word)
        except ValueError:  # an open quote
            open_ += " "
            continue
        found += [shlex.join(part) for part in parts if part]
        open_ = ""
    assert not open_, f"a quote stays open in {open_}"
    return found


def argv(line: str) -> list[str]:
    """The words of a command line without variables, the interpreter and its folder; ``python -m lightning_fv`` and fit.py are lightning-fv."""
    words = shlex.split(line)
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    words[0] = words[0].removeprefix(".venv/bin/")
    if words[:2] == ["python", "scripts/fit.py"] or words[:3] == ["python", "-m", "lightning_fv"]:
        words = ["lightning-fv", *words[2 if words[1] == "scripts/fit.py" else 3 :]]
    for name in ("compare", "gallery", "layers"):
        if words[:2] == ["python", f"scripts/{name}.py"]:
            words = ["lightning-fv", name, *words[2:]]
    return words


def run(line: str) -> str:
    """Run a command line in this process and return what it prints.

    Renders have `STEPS` steps and no progress bar, run on the CPU, of a range from 0 only the first four units, and start two workers in place of
    more. A folder named by ``--out`` is removed first, unless the run is resumed.

    Raises:
        AssertionError: the exit code is not 0, for another reason than units that so few steps have not woken.
    """
    words, _, file = line.partition(" '>' ")
    given = argv(words)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if given[0] == "lightning-fv":
            args = _quick(given[1:])
            code = main(args)
            assert code == 0 or (code == 1 and _asleep()), f"exit code {code} of {shlex.join(['lightning-fv', *args])}"
        elif given[0] == "cp":
            shutil.copy(*given[1:])
        elif given[:2] == ["python", "-c"]:
            exec(given[2], {"__name__": "__main__"})
        elif given[0] == "python" and given[1].startswith("scripts/"):
            run_script(given[1], given[2:])
        else:
            pytest.fail(f"nobody knows how to run {line!r}: mark it with <!-- not run: REASON -->")
    if file:
        Path(file).write_text(said.getvalue())
    return said.getvalue()


def printed(line: str) -> str:
    """What a command line prints to both streams, as it is, whatever its exit code."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        main(argv(line)[1:])
    return said.getvalue()


def _asleep() -> bool:
    """Whether the latest run below the working folder has no target that is worse than dead."""
    latest = max(Path().rglob("manifest.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    return {record.status for record in read_manifest(latest)} <= {"done", "dead", "pending"}


def _quick(args: list[str]) -> list[str]:
    command = args[0] if args and args[0] in COMMANDS else "fit"
    if command not in ("fit", "compare") or any(word in ("--help", "--help-all", "--print_config") for word in args):
        return args
    args = [_MANY.sub("0-3", word) for word in args]
    if "--out" in args and "--resume" not in args:
        shutil.rmtree(args[args.index("--out") + 1], ignore_errors=True)
    if "--trainer.devices" in args:
        args[args.index("--trainer.devices") + 1] = "2"
    steps = ["--trainer.max_steps", str(STEPS)]
    return [
        *args,
        *([] if "--resume" in args else steps),
        "--trainer.accelerator",
        "cpu",
        "--trainer.enable_progress_bar",
        "false",
    ]


def run_script(script: str, args: list[str]) -> None:
    """Run a script of the repository in this process, as Python would."""
    before, path = sys.argv, list(sys.path)
    sys.argv = [script, *args]
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as exit_:
        if exit_.code:
            pytest.fail(f"{script} ended with {exit_.code}")
    finally:
        sys.argv, sys.path[:] = before, path


@contextlib.contextmanager
def short_renders() -> Iterator[None]:
    """Python's renders with at most `STEPS` steps, trainings with at most `EPOCHS` epochs, on the CPU, without progress bars and checkpoints."""
    render, trainer, during = lightning_fv.render, pl.Trainer, lightning_fv.VisualizeDuringTraining

    def short_render(*args: Any, steps: int = STEPS, **options: Any) -> Any:
        return render(*args, steps=min(steps, STEPS), **options | {"progress": False, "accelerator": "cpu"})

    def short_training(*args: Any, max_epochs: int = EPOCHS, **options: Any) -> Any:
        quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_checkpointing": False}
        return trainer(*args, max_epochs=min(max_epochs, EPOCHS), **options | quiet)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightning_fv, "render", short_render, raising=False)
        patch.setattr(lightning_fv, "VisualizeDuringTraining", functools.partial(during, steps=STEPS), raising=False)
        # A render makes its own Trainer, of Lightning's other name.
        patch.setattr(lightning, "Trainer", short_training)
        yield
