"""Ranks from launchers' variables."""

import pytest

from lightning_fv.engines.rank import RankInfo, find_rank
from lightning_fv.errors import UsageError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "GROUP_RANK": "1"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}


@pytest.mark.parametrize(
    ("devices", "nodes", "environ", "rank"),
    [
        (1, 1, {}, RankInfo()),
        (8, 1, {}, RankInfo(0, 8, 0, 0, "self", starts=7)),
        (8, 1, {"LOCAL_RANK": "3", "NODE_RANK": "0"}, RankInfo(3, 8, 3, 0, "self")),
        (2, 3, {"NODE_RANK": "2"}, RankInfo(4, 6, 0, 2, "NODE_RANK", starts=1)),
        (2, 3, {"NODE_RANK": "2", "LOCAL_RANK": "1"}, RankInfo(5, 6, 1, 2, "NODE_RANK")),
        (1, 1, TORCHRUN, RankInfo(5, 8, 1, 1, "torchrun")),
        (1, 1, TORCHRUN | SLURM, RankInfo(5, 8, 1, 1, "torchrun")),
        (1, 1, SLURM, RankInfo(3, 4, 1, 1, "SLURM")),
        (2, 1, {"SLURM_NTASKS": "1"}, RankInfo(0, 2, 0, 0, "self", starts=1)),
        (1, 1, SLURM | {"SLURM_JOB_NAME": "interactive"}, RankInfo()),
    ],
)
def test_ranks(devices: int, nodes: int, environ: dict[str, str], rank: RankInfo) -> None:
    assert find_rank(devices, nodes, environ) == rank


def test_a_launcher_that_says_half() -> None:
    with pytest.raises(UsageError, match="SLURM_PROCID must be a whole number"):
        find_rank(1, 1, {"SLURM_NTASKS": "4"})
