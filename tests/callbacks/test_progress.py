"""What the line of progress says: in a log file, where each state of it is a line for good."""

import copy
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest

from lightning_fv.callbacks import RenderProgress
from lightning_fv.callbacks.progress import INTERVAL, LOG_INTERVAL
from tests.callbacks.fits import fit

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What was written to standard error since the last call: the states of lines, without empty ones."""
    return lambda: [line.rstrip() for line in capsys.readouterr().err.replace("\r", "\n").split("\n") if line.strip()]


def jobs_in(line: str) -> str:
    return line.rpartition("| ")[2].partition(" jobs")[0]


def test_a_render_tells_steps_score_and_size(lines: Lines) -> None:
    fit(4, RenderProgress(interval=0.0))
    shown = lines()
    assert " 4/4 steps, " in shown[-1]
    assert ", score " in shown[-1]
    assert shown[-1].endswith("16x20 px")
    assert any(" 2/4 steps, " in line for line in shown)


def test_a_refresh_takes_its_time(lines: Lines) -> None:
    """Asking the device for the score in every step would make it wait."""
    fit(20, RenderProgress(interval=3600.0))
    assert sum(", score " in line for line in lines()) <= 2  # the first and the last


def test_a_log_file_gets_a_line_now_and_then_a_terminal_and_a_notebook_are_drawn_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def intervals() -> tuple[float, float]:
        return RenderProgress().interval, RenderProgress(interval=0.0).interval

    assert intervals() == (LOG_INTERVAL, 0.0)
    kernel = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    assert intervals() == (INTERVAL, 0.0)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))  # imported by some library
    assert intervals() == (LOG_INTERVAL, 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert intervals() == (INTERVAL, 0.0)


def test_several_renders_share_a_line_that_counts_jobs(lines: Lines) -> None:
    progress = RenderProgress(jobs=2, pictures=4, interval=0.0)
    for _ in range(2):
        fit(3, progress)
        progress.job_done()
    progress.close()
    shown = lines()
    assert [jobs_in(line) for line in shown] == ["0/2", "1/2", "2/2", "2/2"]  # the last again with the line's end
    assert shown[-1].startswith("100%")
    assert "pictures/s, 00:00 left" in shown[-1]
    assert "steps" not in "".join(shown)


def test_a_log_file_does_not_fill_with_equal_lines(lines: Lines) -> None:
    progress = RenderProgress(jobs=2, pictures=4, interval=0.0)
    fit(8, progress)
    for _ in range(50):
        progress.refresh()
    assert len(lines()) == 1
    progress.close()


def test_a_job_that_fails_leaves_the_line_as_it_was(lines: Lines) -> None:
    class Fails(pl.Callback):
        def on_train_batch_end(self, *args: object) -> None:
            raise ValueError("x")

    done = 1
    progress = RenderProgress(jobs=3, pictures=6, count_done=lambda: done, interval=0.0)
    with pytest.raises(ValueError, match="x"):
        fit(2, progress, Fails())
    progress.job_done()  # one more is over, and no more are done
    for _ in range(2):
        fit(2, progress)
        done += 1
        progress.job_done()
    progress.close()
    shown = lines()
    assert list(dict.fromkeys(map(jobs_in, shown))) == ["1/3", "2/3", "3/3"]


def test_jobs_of_other_processes_count_and_earlier_ones_do_not_make_the_pace(lines: Lines) -> None:
    done = 6
    progress = RenderProgress(jobs=10, pictures=40, count_done=lambda: done, interval=0.0)
    time.sleep(0.2)
    done = 8  # two jobs of four pictures in not less than 0.2 s
    progress.refresh()
    progress.close()
    line = lines()[-1]
    assert " 8/10 jobs, " in line
    assert line.startswith(" 80%")
    assert 10 < float(line.partition("jobs, ")[2].partition(" pictures/s")[0]) <= 40


def test_what_is_left_is_not_known_before_the_first_job_is_done(lines: Lines) -> None:
    progress = RenderProgress(jobs=2, pictures=4, interval=0.0)
    progress.refresh()
    progress.close()
    assert lines()[-1].endswith("0/2 jobs, 0 pictures/s, ? left")


def test_a_disabled_line_says_nothing(lines: Lines) -> None:
    for jobs in (1, 2):
        progress = RenderProgress(jobs=jobs, pictures=4, interval=0.0)
        progress.disable()
        fit(2, progress)
        progress.job_done()
        progress.refresh()
        progress.close()
    assert lines() == []


def test_a_terminal_has_one_line() -> None:
    """Jobs get copies of the callbacks; this one stays the same."""
    progress = RenderProgress()
    assert copy.deepcopy([progress]) == [progress]


def test_a_line_that_cannot_be_written_does_not_end_the_render(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In Python as well: a pipe that nobody reads, a closed stream, a process without standard error."""
    reading, writing = os.pipe()
    with open(writing, "w", buffering=1) as unread, open(tmp_path / "closed", "w") as closed:
        os.close(reading)
        closed.close()
        for jobs, stream in ((1, unread), (2, closed), (1, None)):
            monkeypatch.setattr(sys, "stderr", stream)
            progress = RenderProgress(jobs=jobs, pictures=4, interval=0.0)
            assert fit(2, progress).global_step == 2
            progress.job_done()
            progress.close()
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), writing)  # what is left in its buffer would be an error again
