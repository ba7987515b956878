"""The Trainer's options for the one device of a process."""

from typing import Any

import lightning.pytorch as pl
import pytest

from lightning_fv.engines import trainer
from lightning_fv.engines.rank import RankInfo
from lightning_fv.engines.strategy import RankEnvironment, SharedStrategy
from lightning_fv.engines.trainer import check_trainer, count_devices, trainer_options
from lightning_fv.errors import UsageError


@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, 1), (1, 1), ("auto", 1), (-1, 1), ("2", 1), ([3], [3]), ([2, 3], [2]), ("3,", [3]), ("2,3", [2])],
)
def test_one_of_the_devices_that_are_named(asked: Any, given: Any) -> None:
    assert trainer_options({"devices": asked}, RankInfo(), False, None)["devices"] == given


@pytest.mark.parametrize("rank", range(3))
def test_a_worker_is_alone_for_its_trainer(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    """Whatever the variables of a launcher say."""
    for name, value in {
        "SLURM_NTASKS": "3",
        "SLURM_PROCID": str(rank),
        "SLURM_JOB_NAME": "fv",
        "RANK": str(rank),
    }.items():
        monkeypatch.setenv(name, value)
    options = trainer_options({"devices": 3, "accelerator": "cpu"}, RankInfo(rank, 3, rank, 0, "SLURM"), False, None)
    made = check_trainer({**options, "max_steps": 1})
    assert (made.world_size, made.global_rank, made.is_global_zero, made.num_nodes) == (1, 0, True, 1)


def test_ranks_that_share_pictures_know_each_other() -> None:
    options = trainer_options({"devices": 2, "accelerator": "cpu"}, RankInfo(1, 2, 1, 0, "self"), True, 1234)
    assert isinstance(options["strategy"], SharedStrategy)
    (environment,) = options["plugins"]
    assert isinstance(environment, RankEnvironment)
    assert (environment.global_rank(), environment.world_size(), environment.main_port) == (1, 2, 1234)


@pytest.mark.parametrize(("asked", "count"), [("1", 1), ("3", 3), (" 3 ", 3), ("auto", 1)])
def test_devices_may_be_written_as_text(asked: str, count: int) -> None:
    assert count_devices({"devices": asked, "accelerator": "cpu"}) == count


@pytest.mark.parametrize("asked", ["two", "'8'", "", ",", "0;1"])
def test_text_that_names_no_devices_is_refused_in_one_line(asked: str) -> None:
    with pytest.raises(UsageError, match=r"is not understood; give a number of devices, .* or auto") as told:
        count_devices({"devices": asked, "accelerator": "cpu"})
    assert repr(asked) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("asked", [1, "1"])
def test_under_a_launcher_one_device_means_its_own(monkeypatch: pytest.MonkeyPatch, asked: int | str) -> None:
    seen: list[Any] = []

    def all_devices(options: dict[str, Any]) -> pl.Trainer:
        seen.append(options["devices"])
        return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)

    monkeypatch.setattr(trainer, "_all_devices", all_devices)
    trainer_options({"devices": asked}, RankInfo(1, 2, 1, 0, "torchrun"), False, None)
    shared = trainer_options({"devices": asked}, RankInfo(1, 2, 1, 0, "torchrun"), True, None)
    assert [*seen, shared["devices"]] == ["auto", "auto"]


def test_devices_are_counted_or_refused_in_one_line() -> None:
    assert count_devices({}) == 1
    assert count_devices({"devices": 3, "accelerator": "cpu"}) == 3
    with pytest.raises(UsageError, match="invalid Trainer options: ") as told:
        count_devices({"devices": 2, "accelerator": "cuda"})
    assert "\n" not in str(told.value)
    assert str(told.value).endswith("; leave out trainer.devices and trainer.accelerator to use what this machine has")
