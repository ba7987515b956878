"""Random faults: damaged run folders, options, records, weight files and signals, each a function of its seed and number.

    python -m tests.faults.fuzz --seed 0 --count 2000                  # all kinds
    python -m tests.faults.fuzz --seed 0 --count 2000 --kind weights   # those of the 2,000 that are of this kind
    python -m tests.faults.fuzz --seed 0 --only 1234 --keep /tmp/case  # one again, and its files

Each case must end as `tests/faults/fuzzing/oracle.py` says: no traceback, hang or wild use of memory; exit code 2 comes with one
line; after exit code 0 all pictures have the bits of an undisturbed run; and no finished picture is ever lost.
"""

import argparse
import functools
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch

from tests.faults.fuzzing.folder import folder_case, manifest_case
from tests.faults.fuzzing.interrupted import signals_case
from tests.faults.fuzzing.oracle import FaultError
from tests.faults.fuzzing.server import Case, Running, run_cases
from tests.faults.fuzzing.templates import Template, make
from tests.faults.fuzzing.typed import options_case
from tests.faults.fuzzing.weights import weights_case

KINDS: dict[str, Callable[[Random, Path, dict[str, Template], int, list[str]], Case]] = {
    "folder": folder_case,
    "options": options_case,
    "manifest": manifest_case,
    "weights": weights_case,
    "signals": signals_case,
}
_CYCLE = [
    *["folder", "options"] * 3, "manifest", "weights", *["folder", "options"] * 2, "manifest", "weights", "signals"
]  # fmt: skip
"""The kinds of successive cases."""


@dataclass
class Tally:
    """What came of the cases: by kind, how often each word; and a line per fault."""

    words: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    faults: list[str] = field(default_factory=list)

    def table(self) -> str:
        """A row per kind."""
        columns = sorted(
            {word for counts in self.words.values() for word in counts}, key=lambda w: (w.startswith("FAULT"), w)
        )
        rows = [["kind", "tried", *(column.removeprefix("FAULT ") for column in columns)]]
        for kind, counts in self.words.items():
            rows.append([kind, str(counts.total()), *(str(counts[column] or "-") for column in columns)])
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def kind_of(number: int) -> str:
    """The kind of a case."""
    return _CYCLE[number % len(_CYCLE)]


def case(seed: int, number: int, place: Path, templates: dict[str, Template], inherited: int, told: list[str]) -> Case:
    """One case, which is a function of seed and number.

    Args:
        seed, number: say which.
        place: a folder to create for it.
        templates: the runs that are damaged.
        inherited: bytes of memory that a forked process has from the beginning.
        told: what is done is added here.
    """
    return KINDS[kind_of(number)](Random(f"{seed} {number}"), place, templates, inherited, told)


def fuzz(
    seed: int,
    numbers: Sequence[int],
    place: Path,
    templates: dict[str, Template],
    at_once: int = 2,
    keep: bool = False,
) -> Tally:
    """Try cases.

    Args:
        seed: of all of them.
        numbers: which.
        place: a folder to work in.
        templates: the runs that are damaged; with fewer of them, the cases are others.
        at_once: how many at a time.
        keep: whether to leave each case's files.
    """
    environment = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # nothing is downloaded
    environment |= dict.fromkeys(("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"), str(place / "cache"))
    Running.environment = environment | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    tally = Tally()
    told: dict[int, list[str]] = {number: [] for number in numbers}

    def start(number: int) -> Case:
        return case(seed, number, place / str(number), templates, inherited, told[number])

    def done(number: int, end: object) -> None:
        kind, what = kind_of(number), ", ".join(told[number])
        if isinstance(end, Exception):
            fault = end.kind if isinstance(end, FaultError) else "fuzzer"
            tally.words[kind][f"FAULT {fault}"] += 1
            line = f"{kind} {number}: {fault.upper()}: {what}: {_line(str(end) or repr(end))}"
            tally.faults.append(line)
            print(f"{line}\n    python -m tests.faults.fuzz --seed {seed} --only {number}", flush=True)
            if not isinstance(end, FaultError):
                traceback.print_exception(end)
        else:
            tally.words[kind][str(end)] += 1
            if len(numbers) == 1:
                print(f"{kind} {number}: {end}: {what}", flush=True)
        if not keep:
            shutil.rmtree(place / str(number), ignore_errors=True)

    run_cases([(number, functools.partial(start, number)) for number in numbers], at_once, done)
    return tally


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:600]


def main() -> int:
    parser = argparse.ArgumentParser(description="Try random faults.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--kind", choices=list(KINDS), action="append")
    parser.add_argument("--only", type=int, action="append", help="the numbers of single cases")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the files of all cases, which are kept")
    options = parser.parse_args()
    numbers = options.only or range(options.first, options.first + options.count)
    chosen = [number for number in numbers if options.kind is None or kind_of(number) in options.kind]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        place = options.keep or Path(folder)
        torch.set_num_threads(1)  # so that there is no pool of threads, which a fork would lose
        tally = fuzz(options.seed, chosen, place, make(place / "runs"), options.at_once, options.keep is not None)
    print(tally.table())
    print(f"{len(chosen)} cases of seed {options.seed} in {time.monotonic() - start:.0f} s, {len(tally.faults)} faults")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
