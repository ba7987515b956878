"""Damaged run folders, and records with anything in them."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

from lightning_fv.commands.main import _warnings_of_one_line
from lightning_fv.errors import FeatureVisualizationError
from tests.faults.fuzzing import damage
from tests.faults.fuzzing.oracle import (
    FaultError,
    check_ending,
    check_refusal,
    check_report,
    pictures,
    records,
    snapshot,
)
from tests.faults.fuzzing.server import Case, Command, Result
from tests.faults.fuzzing.templates import COUNT, Template, copy, python_render
from tests.processes import QUICK

KINDS = {
    "config": ["config.yaml"], "report": ["manifest.jsonl", "sheet.png", "progress.webp", "gallery.html"],
    "picture": ["images/*.png"], "partial": ["partial/*.png"], "done": ["jobs/*/done.jsonl"],
    "unfinished": ["jobs/*/unfinished.jsonl"], "checkpoint": ["jobs/*/checkpoints/*.ckpt"],
    "log": ["jobs/*/events*", "jobs/*/hparams.yaml", "jobs/*/frames/*.jpg", "jobs/*/error.txt"],
    "state": [".run/*"], "folder": ["images", "partial", "jobs", ".run", "jobs/*", "jobs/*/checkpoints", "jobs/*/frames"],
}  # fmt: skip
"""Files of a run by what they are for; a kind is chosen first, so that many frames do not hide one done.jsonl."""
WEIGHTS = {"picture": 3, "done": 3, "checkpoint": 4, "config": 2, "state": 2}


def choose(chance: Random, run: Path, wanted: Sequence[str] = ()) -> Path | None:
    """A file or folder of the run."""
    found = {
        kind: sorted(path for pattern in patterns for path in run.glob(pattern) if not path.is_symlink())
        for kind, patterns in KINDS.items()
        if not wanted or kind in wanted
    }
    kinds = [kind for kind, paths in found.items() if paths]
    if not kinds:
        return None
    (kind,) = chance.choices(kinds, [WEIGHTS.get(kind, 1) for kind in kinds])
    return chance.choice(found[kind])


def break_one(chance: Random, run: Path, outside: Path) -> str:
    """One damage; returns what was done."""
    if chance.random() < 0.08:
        return damage.odd_files(chance, run)
    path = choose(chance, run)
    if path is None or not os.path.lexists(path):
        return "nothing left to damage"
    name = re.sub(r"tfevents\.\d+\.[^.]+\.\d+", "tfevents", str(path.relative_to(run)))
    how = chance.random()
    if path.is_dir() or how < 0.22:
        return f"{name}: {_structure(chance, run, path, outside)}"
    if not path.is_file():
        return f"{name} is no file any more"
    if path.suffix == ".ckpt" and how < 0.6:
        try:
            return f"{name}: {damage.rewrite_checkpoint(chance, path)}"
        except Exception:
            pass  # damaged before
    if path.suffix in (".jsonl", ".json") and how < 0.6:
        try:
            return f"{name}: {damage.mutate_json(chance, path)}"
        except (ValueError, IndexError, RecursionError):
            pass
    if path.suffix == ".yaml" and how < 0.5:
        return f"{name}: {damage.change_yaml(chance, path)}"
    if path.suffix == ".lock" and how < 0.7:
        text = chance.choice(["attempt 3", "attempt 99", "attempt " + "9" * 5000, "process 1 on x", "\x00" * 20])
        path.write_text(text)
        return f"{name}: {damage.shown(text)}"
    ways = damage.BYTES | (damage.TEXT if path.suffix in (".yaml", ".jsonl", ".json", ".html", ".txt") else {})
    way = chance.choice(sorted(ways))
    before = path.read_bytes()
    path.write_bytes(ways[way](chance, path, before))
    return f"{name}: {way}"


def _structure(chance: Random, run: Path, path: Path, outside: Path) -> str:
    """Delete, move, replace or protect a file or folder."""
    how = chance.choice(
        ["deleted", "deleted", "special", "special", "swapped", "swapped", "renamed", "copied", "mode", "time"]
    )
    if how == "deleted":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif how == "special":
        return damage.special(chance, path, outside)
    elif how == "swapped":
        alike = [other for other in sorted(run.rglob(f"*{path.suffix}")) if other.is_dir() == path.is_dir()]
        alike = [other for other in alike if other != path and other not in path.parents and path not in other.parents]
        if not alike:
            return "left as it is"
        other = chance.choice(alike)
        hold = outside.parent / "hold"
        path.rename(hold)
        other.rename(path)
        hold.rename(other)
        return f"swapped with {other.relative_to(run)}"
    elif how == "renamed":
        new = path.with_name(chance.choice([path.name + "~", path.name.upper(), "x" + path.name, path.stem]))
        if os.path.lexists(new):
            return "left as it is"
        path.rename(new)
        return f"renamed to {new.name}"
    elif how == "copied":
        other = choose(chance, run)
        if path.is_file() and other is not None and other.is_file():
            other.write_bytes(path.read_bytes())
            return f"copied over {other.relative_to(run)}"
        return "left as it is"
    elif how == "mode":
        mode = chance.choice([0o000, 0o444, 0o555, 0o777])
        path.chmod(mode)
        return f"mode {mode:o}"
    else:
        stamp = chance.choice([0, 2**31, 4_000_000_000, 10**10])
        os.utime(path, (stamp, stamp))
        return f"time {stamp}"
    return how


class FolderCase:
    """A copy of a run that is damaged, and what must hold whatever is done with it then."""

    def __init__(self, place: Path, template: Template, inherited: int) -> None:
        self.place, self.template, self.inherited = place, template, inherited
        self.outside, self.cwd = place / "outside", place / "cwd"
        self.outside.mkdir(parents=True)
        self.cwd.mkdir()
        (self.outside / "note.txt").write_text("not the run's")
        self.run = copy(template, place / "run")

    def note(self) -> None:
        """Remember what has to stay, once the damage is done."""
        self.around = snapshot(self.outside)
        self.whole = {name: had for name, had in pictures(self.run).items() if self.template.expected.get(name) == had}
        self.stamps = self._stamps()
        self.logs = len(list(self.run.glob("jobs/*/events*")))

    def check(self, result: Result, python: bool = False) -> str:
        """Hold a command that renders against the rules; returns what came of it in a word."""
        check_ending(result, (0, 1, 2), self.inherited)
        if result.code == 2:
            check_refusal(result)
        if snapshot(self.outside) != self.around:
            raise FaultError("wrote outside", f"exit {result.code}: {snapshot(self.outside)}")
        if list(self.cwd.iterdir()):
            raise FaultError("wrote outside", f"exit {result.code}, in the working folder: {list(self.cwd.iterdir())}")
        now = pictures(self.run)
        lost = [name for name, had in self.whole.items() if now.get(name) != had]
        if lost:
            raise FaultError("lost a finished picture", f"exit {result.code}: {', '.join(lost)}; {result.err[-300:]!r}")
        expected = self.template.expected
        if result.code == 0:
            wrong = [name for name in expected if now.get(name) != expected[name]]
            if wrong:
                what = "damaged or missing" if any(name not in now for name in wrong) else "other pixels"
                raise FaultError("wrong picture called done", f"{what}: {', '.join(wrong)}; {result.err[-300:]!r}")
            check_report(self.run, COUNT, config=not python)
        elif result.code == 1:
            done = [r for r in records(self.run / "manifest.jsonl") if r.status == "done" and isinstance(r.id, str)]
            wrong = [r.id for r in done if now.get(f"{r.id}.png") not in (None, expected.get(f"{r.id}.png"))]
            if wrong and self._written("manifest.jsonl"):
                raise FaultError("wrong picture called done", f"exit 1: {', '.join(wrong)}; {result.err[-300:]!r}")
            return "not done (1)"
        if result.code == 2:
            return "refused (2)"
        again = {
            name for name, stamp in self._stamps().items() if name.endswith(".png") and self.stamps.get(name) != stamp
        }
        return "made again" if {name for name in again if name.startswith("images/")} else "survived"

    def _stamps(self) -> dict[str, tuple[int, int]]:
        files = [*self.run.glob("images/*.png"), *self.run.glob("manifest.jsonl")]
        return {str(f.relative_to(self.run)): (f.lstat().st_ino, f.lstat().st_mtime_ns) for f in files}

    def _written(self, name: str) -> bool:
        return self._stamps().get(name) != self.stamps.get(name)


def resume(run: Path, cwd: Path) -> Command:
    return Command(["--resume", "--out", str(run), *QUICK], cwd)


def _python(run: Path) -> int:
    try:
        with _warnings_of_one_line():
            return python_render(run)
    except FeatureVisualizationError as error:
        import sys

        print(f"lightning-fv: error: {error}", file=sys.stderr)
        return 2


def folder_case(chance: Random, place: Path, templates: dict[str, Template], inherited: int, told: list[str]) -> Case:
    """One to three damages in a run folder, then it is resumed, started again, or shown; see `FolderCase.check`."""
    known = [
        "done",
        "done",
        "stopped",
        "stopped",
        "stopped",
        "killed",
        "killed",
        "failed",
        "grown",
        "python",
        "python stopped",
    ]
    name = chance.choice([name for name in known if name in templates])
    case = FolderCase(place, templates[name], inherited)
    told.append(f"run '{name}'")
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        told.append(damage.plain(break_one(chance, case.run, case.outside)))
    case.note()
    python = name.startswith("python")
    what = chance.choices(["resume", "again", "gallery"], [6, 3, 1])[0]
    ways = {"resume": "--resume", "again": "render(out=) again" if python else "the same command", "gallery": "gallery"}
    told.append(ways[what])
    if what == "gallery":
        result = yield Command(["gallery", str(case.run)], case.cwd)
        return check_gallery(case, result)
    if what == "again" and python:
        result = yield Command([], case.cwd, lambda: _python(case.run))
    elif what == "again":
        result = yield Command(["--out", str(case.run), *case.template.words], case.cwd)
    else:
        result = yield resume(case.run, case.cwd)
    word = case.check(result, python)
    if word != "refused (2)" and not python and chance.random() < 0.2:
        told.append("--resume again")
        case.note()
        second = case.check((yield resume(case.run, case.cwd)))
        if result.code == 0 and second != "survived":
            raise FaultError("not the same twice", f"first {word}, then {second}")
    return word


def check_gallery(case: FolderCase, result: Result) -> str:
    """A page, or one line."""
    check_ending(result, (0, 2), case.inherited)
    if snapshot(case.outside) != case.around or list(case.cwd.iterdir()):
        raise FaultError("wrote outside", f"exit {result.code}")
    if result.code == 2:
        check_refusal(result)
        return "refused (2)"
    page = case.run / "gallery.html"
    if not page.is_file() or not page.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise FaultError("damaged file after exit 0", "gallery.html")
    return "survived"


def manifest_case(chance: Random, place: Path, templates: dict[str, Template], inherited: int, told: list[str]) -> Case:
    """Records of any structure, then the gallery or a resumed run."""
    name = chance.choice([name for name in ("done", "stopped", "failed") if name in templates])
    case = FolderCase(place, templates[name], inherited)
    told.append(f"run '{name}'")
    gallery = chance.random() < 0.5
    kinds = ["report", "report", "done"] if gallery else ["done", "done", "unfinished", "state", "report"]
    for _ in range(chance.choice([1, 1, 2])):
        file = choose(chance, case.run, [chance.choice(kinds)])
        if file is None or file.suffix not in (".jsonl", ".json"):
            file = case.run / ("manifest.jsonl" if gallery else ".run/plan.json")
        try:
            what = damage.mutate_json(chance, file)
        except (ValueError, IndexError, RecursionError):  # changed before, into what is no JSON
            what = "left as it is"
        told.append(damage.plain(f"{file.relative_to(case.run)}: {what}"))
    case.note()
    told.append("gallery" if gallery else "--resume")
    if gallery:
        return check_gallery(case, (yield Command(["gallery", str(case.run)], case.cwd)))
    return case.check((yield resume(case.run, case.cwd)))
