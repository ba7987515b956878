"""The rank of this process, from the environment variables that launchers set; needs no process group."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lightning_fv.errors import UsageError

Launcher = Literal["self", "torchrun", "SLURM", "NODE_RANK"]


@dataclass(frozen=True)
class RankInfo:
    """One process among those that were started for a run.

    Attributes:
        rank: from 0, over all nodes.
        ranks: how many there are.
        local_rank: from 0, on this node.
        node: from 0.
        launcher: what starts the processes: the first one itself, torchrun, SLURM, or the user on each node.
        starts: number of further processes that this one has to start on its node.
    """

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    node: int = 0
    launcher: Launcher = "self"
    starts: int = 0


def find_rank(devices: int, nodes: int, environ: Mapping[str, str] = os.environ) -> RankInfo:
    """Find the rank of this process.

    Args:
        devices: number of devices to use on this machine; not used under torchrun and SLURM.
        nodes: number of machines; likewise.
        environ: environment variables.

    Raises:
        UsageError: variables are not numbers or contradict the options.
    """
    if "TORCHELASTIC_RUN_ID" in environ:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK")
        rank, ranks, local, node = (_number(environ, name) for name in names)
        return RankInfo(rank, ranks, local, node, "torchrun")
    # As in Lightning: in interactive sessions, named so, the variables describe the allocation.
    if "SLURM_NTASKS" in environ and environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        ranks = _number(environ, "SLURM_NTASKS")
        if ranks > 1:  # a single task is an ordinary process, and may start further ones itself
            rank, local, node = (_number(environ, f"SLURM_{name}") for name in ("PROCID", "LOCALID", "NODEID"))
            return RankInfo(rank, ranks, local, node, "SLURM")
    node, local = _number(environ, "NODE_RANK", 0), _number(environ, "LOCAL_RANK", 0)
    if nodes > 1 and "NODE_RANK" not in environ:
        raise UsageError(
            f"trainer.num_nodes is {nodes}, but NODE_RANK is not set; set it to this node's number, 0 to {nodes - 1}, "
            "or give --trainer.num_nodes 1"
        )
    if node >= nodes:
        raise UsageError(
            f"NODE_RANK={node}, but trainer.num_nodes is {nodes}; give --trainer.num_nodes {node + 1} or more, "
            "or unset NODE_RANK"
        )
    if local >= devices:
        raise UsageError(
            f"LOCAL_RANK={local}, but trainer.devices is {devices}; give --trainer.devices {local + 1} or more, "
            "or unset LOCAL_RANK"
        )
    return RankInfo(
        rank=node * devices + local,
        ranks=nodes * devices,
        local_rank=local,
        node=node,
        launcher="NODE_RANK" if nodes > 1 else "self",
        starts=devices - 1 if "LOCAL_RANK" not in environ else 0,
    )


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise UsageError(f"the variable {name} must be a whole number, not {text!r}; check the launcher")
    return int(text)
