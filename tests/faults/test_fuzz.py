"""The fuzzer finds nothing here, and would find something if it were there.

What is tried before an issue is called done takes a quarter to half an hour: ``python -m tests.faults.fuzz --seed 0 --count 2000``.
"""

import os
from pathlib import Path

import pytest

from tests.faults.fuzz import KINDS, case, fuzz, kind_of
from tests.faults.fuzzing.oracle import FaultError, check_ending, check_refusal, snapshot
from tests.faults.fuzzing.server import Command, Result, run
from tests.faults.fuzzing.templates import Template, make
from tests.processes import SECONDS, run_python

COUNT = 120


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return make(tmp_path_factory.mktemp("fuzz") / "runs", names=["done"])


def test_a_few_cases_of_each_kind(tmp_path: Path, templates: dict[str, Template]) -> None:
    numbers = range(8)
    tally = fuzz(1, numbers, tmp_path, templates)
    assert not tally.faults
    assert sum(counts.total() for counts in tally.words.values()) == len(numbers)


def test_a_case_is_a_function_of_its_seed_and_number(tmp_path: Path, templates: dict[str, Template]) -> None:
    def begun(seed: int, number: int, name: str) -> tuple[list[str], dict[str, str]]:
        told: list[str] = []
        next(case(seed, number, tmp_path / name / str(number), templates, 0, told))
        left = snapshot(tmp_path / name / str(number))
        return told, dict.fromkeys(left, "") if kind_of(number) == "weights" else left  # some of which name their place

    for number in range(15):
        assert begun(0, number, "once") == begun(0, number, "again")
        assert begun(0, number, "once more") != begun(1, number, "another seed")


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
def test_many_cases() -> None:
    done = run_python("-m", "tests.faults.fuzz", "--seed", "0", "--count", COUNT)
    assert done.returncode == 0, done.output
    assert {kind_of(number) for number in range(COUNT)} == set(KINDS)


def _ended(code: int = 0, out: str = "", err: str = "", memory: int = 0, hung: str = "") -> Result:
    return Result(code, out, err, 1.0, 1.0, memory, hung)


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (_ended(1, err="Traceback (most recent call last):\nValueError: x\n"), "traceback"),
        (_ended(-9, hung="ran for more than 600 s"), "hang"),
        (_ended(memory=8 << 30), "memory"),
        (_ended(-11), "exit code"),
        (_ended(err="/x/y.py:3: UserWarning: z\n"), "not one line"),
        (_ended(2, err="lightning-fv: error: no class '\x1b[2J'\n"), "control characters"),
    ],
)
def test_what_must_not_happen_is_found(result: Result, kind: str) -> None:
    with pytest.raises(FaultError) as found:
        check_ending(result, (0, 1, 2), 0)
    assert found.value.kind == kind


def test_a_refusal_is_one_line() -> None:
    good = "lightning-fv: error: --seed x: expected int (see --help)\n"
    check_refusal(_ended(2, err=good))
    for err in ("", good + good, "usage: lightning-fv\n" + good, "lightning-fv: error: 'x'\n"):
        with pytest.raises(FaultError):
            check_refusal(_ended(2, err=err))


def test_a_command_that_waits_for_nothing_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.fuzzing.server.IDLE", 0.1)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "cwd").mkdir()
    result = run(Command([], tmp_path / "cwd", lambda: len((tmp_path / "fifo").read_text())))
    assert result.hung.startswith("did nothing")
    assert result.code == -9
