"""A log that cannot be written ends, and the render goes on."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_fv.engines.logger import FaultTolerantLogger
from lightning_fv.runs.files import WriteErrors
from tests.callbacks.fits import fit


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
