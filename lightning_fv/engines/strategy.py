"""How Lightning uses devices: each worker its own one, or all of them for the same pictures (`ddp`)."""

import contextlib
import inspect
import os
import socket
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.distributed
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities import rank_zero
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # it is in the documentation
from torch.distributed.constants import default_pg_timeout
from torch.nn.parallel import DistributedDataParallel

from lightning_fv.engines.rank import RankInfo
from lightning_fv.errors import UsageError

LOOPBACK = "127.0.0.1"


class SharedStrategy(DDPStrategy):
    """``ddp`` for processes that are already running: all ranks hold the same pictures, each draws its own transforms."""

    def __init__(self) -> None:
        # The frozen network is outside the module, and the non-finite guard keeps its buffers equal on all ranks:
        # nothing needs to be broadcast in every step.
        known = inspect.signature(DistributedDataParallel).parameters  # torch 2.15 has renamed it
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {name: False}
        super().__init__(**options)

    @property
    def root_device(self) -> torch.device:
        assert self.parallel_devices is not None
        return self.parallel_devices[self.local_rank % len(self.parallel_devices)]

    def set_world_ranks(self) -> None:
        rank_zero.rank_zero_only.rank = self.global_rank  # type: ignore[attr-defined]

    def setup_distributed(self) -> None:
        """As in Lightning, but where all ranks are on this machine nothing listens beyond its loopback interface.

        Raises:
            UsageError: the port is in use.
        """
        environment = self.cluster_environment
        if isinstance(environment, RankEnvironment) and environment.on_this_machine:
            rank, ranks, port = environment.global_rank(), environment.world_size(), environment.main_port
            try:
                # torch's own socket would listen on all interfaces.
                listener = socket.create_server((LOOPBACK, port)).detach() if rank == 0 else None
            except OSError as error:
                raise UsageError(
                    f"the ddp ranks cannot rendezvous on port {port} ({os.strerror(error.errno or 0)}); "
                    "set MASTER_PORT to a free one"
                ) from None
            timeout = self._timeout or default_pg_timeout
            with _through_loopback():
                store = TCPStore(LOOPBACK, port, ranks, rank == 0, timeout, master_listen_fd=listener)
                torch.distributed.init_process_group(
                    self._get_process_group_backend(),
                    store=store,
                    rank=rank,
                    world_size=ranks,
                    timeout=timeout,
                    device_id=self.root_device if self.root_device.type != "cpu" else None,
                )
        super().setup_distributed()  # leaves a process group that exists as it is

    def _configure_launcher(self) -> None:
        pass


@contextlib.contextmanager
def _through_loopback() -> Iterator[None]:
    """Have the backends of a process group that is formed in this block connect through the loopback interface."""
    name = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    added = [variable for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if variable not in os.environ]
    if name is not None:
        os.environ.update(dict.fromkeys(added, name))
    try:
        yield
    finally:
        for variable in added:
            os.environ.pop(variable, None)


class RankEnvironment(ClusterEnvironment):
    """Gives Lightning the rank from `find_rank`, for all jobs.

    Lightning's own environments would detect it for every Trainer, and check the devices against SLURM's and torchrun's.

    Args:
        rank: of this process; by default that of a single process.
        port: of rank 0 on this machine, where this package started the ranks.
    """

    def __init__(self, rank: RankInfo | None = None, port: int | None = None) -> None:
        super().__init__()
        self.rank, self.port = rank if rank is not None else RankInfo(), port

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def on_this_machine(self) -> bool:
        """Whether this machine alone is asked for, and no launcher has its own meeting place."""
        return self.rank.launcher == "self" and self.main_address in (LOOPBACK, "localhost")

    @property
    def main_address(self) -> str:
        return LOOPBACK if self.port is not None else self._rendezvous().main_address

    @property
    def main_port(self) -> int:
        return self.port if self.port is not None else self._rendezvous().main_port

    def _rendezvous(self) -> ClusterEnvironment:
        # Both read MASTER_ADDR and MASTER_PORT; SLURM's can do without.
        return SLURMEnvironment(auto_requeue=False) if self.rank.launcher == "SLURM" else LightningEnvironment()

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.rank.ranks

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.rank.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.rank.local_rank

    def node_rank(self) -> int:
        return self.rank.node


def strategy_name(strategy: object) -> Literal["auto", "independent", "ddp", "single_device"]:
    """The name of the strategy that an option asks for.

    Raises:
        UsageError: the strategy is not supported.
    """
    if strategy is None or strategy == "auto":
        return "auto"
    if strategy == "independent":
        return "independent"
    if strategy == "ddp":
        return "ddp"
    if strategy == "single_device" or isinstance(strategy, SingleDeviceStrategy):
        return "single_device"
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    raise UsageError(
        f"trainer.strategy {name} is not supported; give independent (different targets on every device), "
        "ddp (the same targets on all of them), or leave it out"
    )
