"""Signals at random moments of a run's life, again and again, until it is let through."""

import shutil
import signal
from pathlib import Path
from random import Random

from tests.faults.fuzzing.folder import FolderCase
from tests.faults.fuzzing.oracle import FaultError, check_ending, pictures
from tests.faults.fuzzing.server import Case, Command, Result
from tests.faults.fuzzing.templates import Template
from tests.processes import QUICK

ENDS = {
    signal.SIGINT: {130},
    signal.SIGTERM: {143, -signal.SIGTERM},
    signal.SIGHUP: {129, -signal.SIGHUP},
    signal.SIGKILL: {-signal.SIGKILL},
}
"""Exit codes by signal; that of a process that has not installed its handlers yet, or no longer, is the kernel's."""

LIFE = 2.0
"""Seconds that such a run takes here, when another runs beside it."""


def signals_case(chance: Random, place: Path, templates: dict[str, Template], inherited: int, told: list[str]) -> Case:
    """Up to three stops, then a resumed run, which makes the same bits."""
    name = chance.choice([name for name in ("done", "done", "stopped", "grown") if name in templates])
    case = FolderCase(place, templates[name], inherited)
    words = case.template.words
    if name == "done":  # from the beginning
        for path in sorted(case.run.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        told.append("a new run")
    else:
        told.append(f"run '{name}' resumed")
    if chance.random() < 0.2:
        return (yield from _disturbed(chance, case, told))
    for _ in range(chance.choice([1, 1, 2, 3])):
        sent = _draw(chance)
        told.append("; ".join(f"{signal.Signals(number).name} after {after:.2f} s" for after, number in sent))
        case.note()
        begun = (case.run / "config.yaml").exists()
        args = ["--resume", "--out", str(case.run), *QUICK] if begun else ["--out", str(case.run), *words]
        result = yield Command(args, case.cwd, signals=sent)
        _check(case, result, [number for _, number in sent])
    begun = (case.run / "config.yaml").exists()
    case.note()
    last = yield Command(
        ["--resume", "--out", str(case.run), *QUICK] if begun else ["--out", str(case.run), *words], case.cwd
    )
    word = case.check(last)
    if last.code != 0:
        raise FaultError("not resumed", f"exit {last.code}: {last.err[-300:]!r}")
    left = [path.name for path in (case.run / "jobs").rglob("*.partial")]
    if left:
        raise FaultError("rests", ", ".join(left))
    return word


def _disturbed(chance: Random, case: FolderCase, told: list[str]) -> Case:
    """Something is damaged while a process works on it: what it then reports is honest, and another can go on."""
    after = chance.uniform(0, LIFE)
    begun = (case.run / "config.yaml").exists()
    case.note()

    def act() -> None:
        if case.run.is_dir() and any(case.run.iterdir()):
            if how == "the folder deleted":
                shutil.rmtree(case.run, ignore_errors=True)
            elif how == "the folder moved":
                case.run.rename(case.place / "moved")
            else:
                folder = chance.choice(sorted(path for path in [case.run, *case.run.rglob("*")] if path.is_dir()))
                told.append(folder.name)
                shutil.rmtree(folder, ignore_errors=True)

    how = chance.choice(["the folder deleted", "the folder moved", "a folder in it deleted", "a folder in it deleted"])
    told.append(f"{how} after {after:.2f} s")
    args = ["--resume", "--out", str(case.run), *QUICK] if begun else ["--out", str(case.run), *case.template.words]
    result = yield Command(args, case.cwd, signals=[(after, act)])
    check_ending(result, (0, 1, 2), case.inherited)
    if not (case.run / "config.yaml").exists():
        return "gone"
    case.note()
    return case.check((yield Command(["--resume", "--out", str(case.run), *QUICK], case.cwd)))


def _draw(chance: Random) -> list[tuple[float, int]]:
    kinds = [signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
    after, number = chance.uniform(0, LIFE), chance.choice(kinds)
    how = chance.random()
    if how < 0.15:
        return [(after, signal.SIGSTOP), (after + chance.uniform(0, 0.5), signal.SIGCONT)]
    if how < 0.25:
        return [(after, signal.SIGSTOP), (after, number), (after + chance.uniform(0, 0.3), signal.SIGCONT)]
    if how < 0.5:
        return [(after, number), (after + chance.choice([0, 0.001, 0.05, 0.3]), chance.choice(kinds))]
    return [(after, number)]


def _check(case: FolderCase, result: Result, sent: list[int]) -> None:
    """The signal's exit code, or 0 if it came too late; no finished picture is lost, and no file is half."""
    codes = set.union({0}, *(ENDS.get(signal.Signals(number), set()) for number in sent))
    check_ending(result, tuple(codes), case.inherited)
    logs = len(list(case.run.glob("jobs/*/events*")))
    whole = len(pictures(case.run)) == len(case.template.expected)
    if result.code in (-signal.SIGTERM, -signal.SIGHUP) and logs > case.logs and not whole:
        raise FaultError("exit code", f"{result.code} instead of a graceful stop")
    now = pictures(case.run)
    lost = [name for name, had in case.whole.items() if now.get(name) != had]
    wrong = [name for name, had in now.items() if case.template.expected.get(name) != had]
    half = [file.name for file in case.run.glob("images/*.png") if file.name not in now]
    if lost or wrong or half:
        raise FaultError("lost a finished picture", f"exit {result.code}: lost {lost}, wrong {wrong}, half {half}")
