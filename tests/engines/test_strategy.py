"""What Lightning is told about devices and ranks."""

import os
import socket

import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from lightning_fv.engines.rank import RankInfo
from lightning_fv.engines.strategy import RankEnvironment, SharedStrategy, strategy_name
from lightning_fv.engines.trainer import check_trainer
from lightning_fv.errors import UsageError


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("independent", "independent"),
        ("ddp", "ddp"),
        ("single_device", "single_device"),
        (SingleDeviceStrategy(), "single_device"),
    ],
)
def test_strategies_for_pictures(asked: object, name: str) -> None:
    assert strategy_name(asked) == name


@pytest.mark.parametrize(
    ("asked", "told"),
    [("fsdp", "strategy fsdp is"), ("ddp_spawn", "ddp_spawn is"), (DDPStrategy(), "DDPStrategy is"), (3, "int is")],
)
def test_others_are_refused_with_the_choices(asked: object, told: str) -> None:
    with pytest.raises(UsageError, match=rf"{told} not supported; give independent .* ddp "):
        strategy_name(asked)


def test_the_rank_is_what_was_found_whatever_lightning_sets() -> None:
    environment = RankEnvironment(RankInfo(5, 8, 1, 2, "NODE_RANK"), port=1234)
    environment.set_global_rank(0)
    environment.set_world_size(1)
    found = (environment.global_rank(), environment.world_size(), environment.local_rank(), environment.node_rank())
    assert found == (5, 8, 1, 2)
    assert environment.creates_processes_externally
    assert not RankEnvironment.detect()  # used where it is given, nowhere else
    alone = RankEnvironment()
    assert (alone.global_rank(), alone.world_size()) == (0, 1)


def test_where_ranks_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    started_here = RankEnvironment(RankInfo(1, 2, 1), port=1234)
    assert (started_here.main_address, started_here.main_port) == ("127.0.0.1", 1234)
    monkeypatch.setenv("SLURM_NODELIST", "node[07-09]")
    monkeypatch.setenv("SLURM_JOB_ID", "123456")
    assert RankEnvironment(RankInfo(1, 2, 0, 1, "SLURM")).main_address == "node07"
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.7")
    monkeypatch.setenv("MASTER_PORT", "4321")
    for launcher in ("torchrun", "NODE_RANK"):
        given = RankEnvironment(RankInfo(1, 2, 0, 1, launcher))  # type: ignore[arg-type]
        assert (given.main_address, given.main_port) == ("10.0.0.7", 4321)


def test_ranks_that_share_pictures_start_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run already: Lightning's own launcher would start them once more."""
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # put back what the Trainer makes of it, for the tests to come
    rank = RankInfo(1, 2, 1)
    trainer = check_trainer(
        {"accelerator": "cpu", "devices": 2, "strategy": SharedStrategy(), "plugins": [RankEnvironment(rank, 1234)],
         "max_steps": 1}
    )  # fmt: skip
    assert trainer.strategy.launcher is None
    assert (trainer.world_size, trainer.global_rank, trainer.is_global_zero) == (2, 1, False)


def test_a_process_group_of_one_machine_listens_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        taken = made(RankEnvironment(RankInfo(0, 1), port))
        with pytest.raises(
            UsageError, match=rf"cannot rendezvous on port {port} \(Address already in use\); set MASTER_PORT"
        ):
            taken.setup_distributed()
    before = dict(os.environ)
    shared = made(RankEnvironment(RankInfo(0, 1), port))
    try:
        shared.setup_distributed()
        with socket.create_connection(("127.0.0.1", port)):
            pass
        for other in ("127.0.0.2", "::1"):  # a socket for all interfaces would answer here as well
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((other, port))
        assert {name: os.environ[name] for name in before} == before
        assert "GLOO_SOCKET_IFNAME" not in os.environ
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("launcher", ["torchrun", "SLURM", "NODE_RANK"])
def test_ranks_of_launchers_meet_where_those_say(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert not RankEnvironment(RankInfo(0, 2, launcher=launcher)).on_this_machine  # type: ignore[arg-type]
    assert RankEnvironment(RankInfo(0, 2)).on_this_machine
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.7")
    assert not RankEnvironment(RankInfo(0, 2)).on_this_machine
    assert RankEnvironment(RankInfo(0, 2), port=1234).on_this_machine


def made(environment: RankEnvironment) -> SharedStrategy:
    strategy = SharedStrategy()
    strategy.cluster_environment = environment
    strategy.parallel_devices = [torch.device("cpu")]
    return strategy
