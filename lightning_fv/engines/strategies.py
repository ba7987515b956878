"""Several devices: other jobs on each (`independent`), or one job that all of them share (`ddp`)."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities import rank_zero
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy, SingleDeviceStrategy, StrategyRegistry
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lightning_fv.engines.placement import Place
from lightning_fv.errors import UsageError


class IndependentStrategy(ParallelStrategy):
    """Every rank renders pictures of its own: no process group, no collective, nobody waits for anybody.

    For the Trainer each rank is a world of one, so each has its own logger, checkpoints and signals. What tells them
    apart is `rank` of `ranks`. A rank sits on the local device of its number; if ranks outnumber devices, they share.

    With a Trainer of one's own, in a script: ``Trainer(strategy="independent", devices=2)`` starts the script once more
    for the second device at the first ``fit``; give each `rank` other targets. Import this module first, it registers
    the name.
    """

    strategy_name = "independent"
    num_nodes = 1

    @property
    def rank(self) -> int:
        """Of this process, from 0, over all nodes."""
        environment = self.cluster_environment
        assert environment is not None
        if isinstance(environment, LightningEnvironment):
            return environment.node_rank() * len(self._devices) + environment.local_rank()
        return environment.global_rank()

    @property
    def ranks(self) -> int:
        """How many there are."""
        environment = self.cluster_environment
        assert environment is not None
        if isinstance(environment, LightningEnvironment):
            return self.num_nodes * len(self._devices)
        return environment.world_size()

    @property
    def root_device(self) -> torch.device:
        return self._devices[self.local_rank % len(self._devices)]

    @property
    def _devices(self) -> list[torch.device]:
        assert self.parallel_devices is not None
        return self.parallel_devices

    # -- what the Trainer sees: a world of one -----------------------------------------------------------------------

    global_rank = 0
    world_size = 1
    is_global_zero = True
    is_distributed = False

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        return {"num_replicas": 1, "rank": 0}

    def set_world_ranks(self) -> None:
        """Called by the Trainer: from here on each rank may log and write, which Lightning else allows the first only."""
        rank_zero.rank_zero_only.rank = 0  # type: ignore[attr-defined]

    def model_to_device(self) -> None:
        assert self.model is not None
        self.model.to(self.root_device)

    def barrier(self, name: str | None = None) -> None:
        pass

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return obj

    def reduce(self, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        return tensor

    def all_gather(self, tensor: Tensor, group: Any | None = None, sync_grads: bool = False) -> Tensor:
        return tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        return decision

    def _configure_launcher(self) -> None:
        environment = self.cluster_environment
        assert environment is not None
        if len(self._devices) > 1 and not environment.creates_processes_externally:
            self._launcher = _ScriptLauncher(environment, len(self._devices), self.num_nodes)


class _ScriptLauncher(_SubprocessScriptLauncher):
    """Lightning's, which starts the script again for each further device, less what only a process group needs.

    Lightning's sets the number of threads, on which sums and so bits depend, and kills all ranks when one ends.
    """

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        if not self.cluster_environment.creates_processes_externally:  # so at the first fit only: it sets LOCAL_RANK
            self._call_children_scripts()
        return function(*args, **kwargs)


class SharedStrategy(DDPStrategy):
    """``ddp`` for processes that run already: all ranks hold the same pictures, each draws other transforms."""

    def __init__(self) -> None:
        # The frozen network is outside of the module, and the guard sees to its own: nothing is sent around in every step.
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

    def _configure_launcher(self) -> None:
        pass


class PlacedEnvironment(ClusterEnvironment):
    """Tells Lightning the place that was found, once and for all jobs.

    Its own environments would look again for every Trainer, and check devices against what SLURM and torchrun say.

    Args:
        place: of this process.
        port: of rank 0 on this machine, where this package started the ranks.
    """

    def __init__(self, place: Place, port: int | None = None) -> None:
        super().__init__()
        self.place, self.port = place, port

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._rendezvous().main_address

    @property
    def main_port(self) -> int:
        return self.port if self.port is not None else self._rendezvous().main_port

    def _rendezvous(self) -> ClusterEnvironment:
        # Both read MASTER_ADDR and MASTER_PORT; SLURM's knows what to do without.
        return SLURMEnvironment(auto_requeue=False) if self.place.launcher == "SLURM" else LightningEnvironment()

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.place.ranks

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.place.local_rank

    def node_rank(self) -> int:
        return self.place.node


def strategy_name(strategy: object) -> Literal["auto", "independent", "ddp", "single_device"]:
    """Which of the strategies an option asks for.

    Raises:
        UsageError: another one.
    """
    if strategy is None or strategy == "auto":
        return "auto"
    if strategy == "independent" or isinstance(strategy, IndependentStrategy):
        return "independent"
    if strategy == "ddp":
        return "ddp"
    if strategy == "single_device" or isinstance(strategy, SingleDeviceStrategy):
        return "single_device"
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    raise UsageError(
        f"trainer.strategy {name} is not for pictures; give independent (other targets on every device), "
        "ddp (one hard target on all of them), or leave it out"
    )


StrategyRegistry.register(
    "independent", IndependentStrategy, description="other jobs on every rank, no process group", override=True
)
