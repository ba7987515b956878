"""A real Ray cluster on this machine: its nodes are processes of their own."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch

STORE = 100 * 2**20


@contextlib.contextmanager
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    made = Cluster()
    try:
        for _ in range(2):
            added(made)
        yield made
    finally:
        made.shutdown()


def added(cluster: Any) -> Any:
    """A node more. Ray gives one 30 s to start, which a busy machine may exceed."""
    for _ in range(4):
        with contextlib.suppress(Exception):
            return cluster.add_node(**node())
    return cluster.add_node(**node())


def node() -> dict[str, Any]:
    return {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False, "include_log_monitor": False}


class TellThreads(pl.Callback):
    """Appends the number of torch's threads to the file that a variable names."""

    def on_fit_end(self, *args: Any) -> None:
        with open(os.environ["TELL_THREADS"], "a") as file:
            file.write(f"{torch.get_num_threads()} ")


def on(cluster: Any) -> list[str]:
    return ["--engine", "ray", "--ray.address", cluster.address]
