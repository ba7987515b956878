"""Ranks from launchers' variables."""

import pytest

from lightning_fv.engines.placement import Place, find_place, was_restarted
from lightning_fv.errors import UsageError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "GROUP_RANK": "1"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}


@pytest.mark.parametrize(
    ("devices", "nodes", "environ", "place"),
    [
        (1, 1, {}, Place()),
        (8, 1, {}, Place(0, 8, 0, 0, "self", starts=7)),
        (8, 1, {"LOCAL_RANK": "3", "NODE_RANK": "0"}, Place(3, 8, 3, 0, "self")),
        (2, 3, {"NODE_RANK": "2"}, Place(4, 6, 0, 2, "NODE_RANK", starts=1)),
        (2, 3, {"NODE_RANK": "2", "LOCAL_RANK": "1"}, Place(5, 6, 1, 2, "NODE_RANK")),
        (1, 1, TORCHRUN, Place(5, 8, 1, 1, "torchrun")),
        (1, 1, TORCHRUN | SLURM, Place(5, 8, 1, 1, "torchrun")),
        (1, 1, SLURM, Place(3, 4, 1, 1, "SLURM")),
        (2, 1, {"SLURM_NTASKS": "1"}, Place(0, 2, 0, 0, "self", starts=1)),
        (1, 1, SLURM | {"SLURM_JOB_NAME": "interactive"}, Place()),
    ],
)
def test_places(devices: int, nodes: int, environ: dict[str, str], place: Place) -> None:
    assert find_place(devices, nodes, environ) == place


@pytest.mark.parametrize("ranks", range(1, 12))
def test_each_job_has_one_rank(ranks: int) -> None:
    jobs = list(range(7))
    shares = [Place(rank, ranks).share(jobs) for rank in range(ranks)]
    assert sorted(job for share in shares for job in share) == jobs
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_restarts() -> None:
    assert not was_restarted({})
    assert not was_restarted({"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "0", "SLURM_JOB_ID": "1"})
    assert not was_restarted({"SLURM_RESTART_COUNT": "1"})
    assert was_restarted({"SLURM_JOB_ID": "1", "SLURM_RESTART_COUNT": "1"})
    assert was_restarted({"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "2"})


def test_a_launcher_that_says_half() -> None:
    with pytest.raises(UsageError, match="SLURM_PROCID must be a whole number"):
        find_place(1, 1, {"SLURM_NTASKS": "4"})
