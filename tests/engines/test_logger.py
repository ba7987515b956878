"""A log that cannot be written ends, and the render goes on."""

from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_fv.commands.main import main
from lightning_fv.engines.logger import FaultTolerantLogger, job_loggers, job_profiler
from lightning_fv.runs.files import WriteErrors
from lightning_fv.runs.folder import RunFolder
from tests.callbacks.fits import fit
from tests.processes import QUICK


def test_scalars_and_settings_are_logged(tmp_path: Path) -> None:
    logger = FaultTolerantLogger(tmp_path / "jobs" / "abc", WriteErrors())
    logger.log_hyperparams({"seed": 3})
    fit(3, logger=logger, log_every_n_steps=1)
    read = EventAccumulator(str(tmp_path / "jobs" / "abc"))
    read.Reload()
    assert len(read.Scalars("objective")) == 3
    assert "seed: 3" in (tmp_path / "jobs" / "abc" / "hparams.yaml").read_text()


def test_a_log_that_cannot_be_written_ends_with_one_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "jobs").touch()  # a file stands in the place of its folder
    errors = WriteErrors()
    logger = FaultTolerantLogger(tmp_path / "jobs" / "abc", errors)
    logger.log_hyperparams({"seed": 3})
    trainer = fit(3, logger=logger, log_every_n_steps=1)
    assert trainer.global_step == 3
    assert list(errors.reasons) == ["TensorBoard logs"]
    assert len([w for w in recwarn if "TensorBoard logs: cannot be written" in str(w.message)]) == 1
    logger.experiment.add_scalar("a", 1.0)  # a callback of one's own that uses the writer does not fail either
    (tmp_path / "jobs").unlink()
    logger.log_metrics({"a": 1.0}, 3)
    assert not (tmp_path / "jobs").exists()  # it has ended: a log with a hole would mislead


def test_what_is_not_the_disks_fault_is_raised(tmp_path: Path) -> None:
    errors = WriteErrors()
    logger = FaultTolerantLogger(tmp_path / "abc", errors)
    with pytest.raises(ValueError, match="you tried to log"):
        logger.log_metrics({"a": object()}, 0)  # type: ignore[dict-item]
    assert not errors
    logger.log_metrics({"a": 1.0}, 1)
    logger.finalize("success")
    read = EventAccumulator(str(tmp_path / "abc"))
    read.Reload()
    assert [event.value for event in read.Scalars("a")] == [1.0]


def test_loggers_and_profilers_of_users_write_into_the_folder_of_each_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        *QUICK,
        "--targets",
        "logits:0-1",
        "--batch_size",
        "1",
        "--trainer.max_steps",
        "2",
        "--model.size",
        "16",
        "--out",
        "run",
    ]
    words += ["--trainer.profiler", "simple", "--trainer.log_every_n_steps", "1", "--trainer.logger", "CSVLogger"]
    assert main([*words, "--trainer.logger.save_dir", "csv"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    tables = list(tmp_path.glob("run/jobs/*/csv/lightning_logs/version_0/metrics.csv"))
    assert [len(table.read_text().splitlines()) for table in tables] == [3, 3]
    reports = [file.read_text() for file in tmp_path.glob("run/jobs/*/fit-profile.txt")]
    assert [report.count("FIT Profiler Report") for report in reports] == [1, 1]


def test_where_a_user_s_logs_go(tmp_path: Path) -> None:
    job = RunFolder(tmp_path / "run").job("abc")
    given = [CSVLogger("csv"), TensorBoardLogger("csv", version="x")]
    csv, board = job_loggers(given, job)
    assert Path(csv.log_dir) == job.path / "csv" / "lightning_logs" / "version_0"
    assert Path(board.log_dir) == job.path / "csv" / "lightning_logs" / "x"
    assert given[0].save_dir == "csv"
    (other,) = job_loggers(object(), job)
    assert type(other) is object
    advanced, unknown, named = (job_profiler(p, job) for p in ("Advanced", "xla", SimpleProfiler(filename="mine")))
    assert unknown == "xla"
    assert isinstance(advanced, AdvancedProfiler)
    assert (advanced.dirpath, advanced.filename) == (str(job.path), "profile")
    assert isinstance(named, SimpleProfiler)
    assert (named.dirpath, named.filename) == (str(job.path), "mine")
