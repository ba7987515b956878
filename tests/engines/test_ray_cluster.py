"""What can stand against Ray, without a cluster, and a Ray of our own; with a cluster: test_ray."""

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_fv.engines.ray_cluster import RayOptions, check_ray
from lightning_fv.errors import UsageError
from tests.engines.ray_nodes import STORE
from tests.processes import QUICK, finish, listening, start, statuses, wait_for


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gpus_per_job": -0.5}, "give 0 to 1"),
        ({"gpus_per_job": 2}, "--ray.gpus_per_job 2: a job renders on one device"),
        ({"cpus_per_job": 0}, "give a whole number, or a fraction above 0"),
        ({"cpus_per_job": -1}, "--ray.cpus_per_job -1"),
        ({"cpus_per_job": 1.5}, "--ray.cpus_per_job 1.5"),
        ({"address": "ray://head:10001"}, "give HOST:PORT of the cluster's head"),
    ],
)
def test_numbers_that_ray_could_not_give(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        RayOptions(**options)


@pytest.mark.parametrize(
    "options", [{}, {"gpus_per_job": 0}, {"gpus_per_job": 0.25}, {"cpus_per_job": 4}, {"cpus_per_job": 0.5}]
)
def test_numbers_that_it_can(options: dict[str, Any]) -> None:
    made = RayOptions(**options)
    assert {name: getattr(made, name) for name in options} == options


@pytest.mark.parametrize(
    "trainer", [{"devices": 2}, {"devices": [0, 1]}, {"strategy": "ddp"}, {"strategy": "independent"}, {"num_nodes": 2}]
)
def test_devices_are_the_clusters(trainer: dict[str, Any]) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match=r"leave out trainer.strategy, trainer.devices and trainer.num_nodes"):
        check_ray(RayOptions(), trainer)


@pytest.mark.parametrize("trainer", [{}, {"devices": 1}, {"devices": "auto", "strategy": "auto", "num_nodes": 1}])
def test_one_device_each_is_what_jobs_get(trainer: dict[str, Any]) -> None:
    pytest.importorskip("ray")
    check_ray(RayOptions(), trainer)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_is_tried(host: str) -> None:
    """Ray itself would try for minutes."""
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as head:
        options = RayOptions(address=f"{host}:{head.getsockname()[1]}")
        check_ray(options, {})
    with pytest.raises(UsageError, match=rf"--ray.address {options.address}: no answer .* ray start --head printed"):
        check_ray(options, {})


@pytest.mark.parametrize("address", ["127.0.0.1:port", "127.0.0.1:", "127.0.0.1:99999"])
def test_an_address_that_is_none(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="no answer"):
        check_ray(RayOptions(address=address), {})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_ray_of_our_own_is_for_this_machine_and_ends_with_its_terminal(tmp_path: Path) -> None:
    """Whoever can reach Ray's ports can run code. A closed terminal signals Ray's processes, too, but they wait for ours."""
    pytest.importorskip("ray")
    run = tmp_path / "run"
    words = [
        *QUICK,
        "--engine",
        "ray",
        "--targets",
        "logits:0-3",
        "--batch_size",
        "1",
        "--trainer.max_steps",
        "1000000",
    ]
    process = start("--out", run, *words, RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES=str(STORE))
    wait_for(lambda: [pid for pid in process.family() if b"run_task" in title(pid) or b"job " in title(pid)], process)
    time.sleep(20)  # into the steps of the first job
    addresses = listening(process)
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
    for pid in process.family():
        os.kill(pid, signal.SIGHUP)
    code, told = finish(process)
    assert code == 128 + signal.SIGHUP, told
    assert "partial" in statuses(run)


def title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
