"""The mock device itself: what a CUDA device would do, and nothing of it afterwards."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers import TinyNet, noise
from tests.mock_device.cuda import mocked_cuda
from tests.mock_device.hooks import Unavailable
from tests.mock_device.ledger import source_line
from tests.mock_device.tensors import DeviceState, MockTensor

INDEX = torch.tensor([0, 2])


def test_numbers_and_gradients_are_those_of_the_cpu(mock_cuda: DeviceState) -> None:
    network, images = TinyNet().eval(), noise(2, 3, 9, 7)
    expected = torch.autograd.grad(network(here := images.clone().requires_grad_()).square().sum(), here)[0]
    there = images.to("cuda").requires_grad_()
    network.to("cuda")(there).square().sum().backward()
    assert there.grad is not None
    assert there.grad.device == torch.device("cuda:0")
    assert torch.allclose(there.grad.cpu(), expected, atol=1e-6)


def test_backward_passes_are_in_the_thread_that_asks_for_them(mock_cuda: DeviceState) -> None:
    """Also where a mode allows others: the process may have had a backward pass before there was a device."""
    x = noise(3).to("cuda").requires_grad_()
    seen: list[str] = []
    with torch.inference_mode(False):
        y = x * x
        y.register_hook(lambda _: seen.append(threading.current_thread().name))
        y.sum().backward()
    assert seen == [threading.current_thread().name]


WAITS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool((x > 0).all()),
    "float": lambda x: float(x[0]),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "print": lambda x: torch.equal(x, x + 1),
    "nonzero": lambda x: x.nonzero(),
    "by bool": lambda x: x[x > 0],
    "assign by bool": lambda x: x.__setitem__(x > 0, 1.0),
    "by list": lambda x: x[[0, 2]],
    "by index of the host": lambda x: x[INDEX],
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "as_tensor": lambda x: torch.as_tensor([1.0], device="cuda"),
    "new_tensor": lambda x: x.new_tensor([1.0]),
    "to": lambda x: torch.ones(3).to(x.device),
    "cuda": lambda x: torch.ones(3).cuda(),
    "copy_": lambda x: x.copy_(torch.ones(3)),
    "copy_ back": lambda x: torch.ones(3).copy_(x),
    "assign a tensor of the host": lambda x: x.__setitem__(0, torch.ones(())),
    "assign a number to a single one": lambda x: x.__setitem__(0, 1.0),  # torch copies it there from the host
    "unique": lambda x: x.unique(),
    "masked_select": lambda x: x.masked_select(x > 0),
    "inverse": lambda x: torch.diag(x + 2).inverse(),
    "synchronize": lambda x: torch.cuda.synchronize(),
}


@pytest.mark.parametrize("name", WAITS)
def test_what_makes_the_host_wait_is_counted(mock_cuda: DeviceState, name: str) -> None:
    x = noise(3).to("cuda")
    with mock_cuda.ledger.counting() as counts:
        WAITS[name](x)
    assert counts.waits.total() == 1


NO_WAITS: dict[str, Callable[[Tensor], Any]] = {
    "arithmetic": lambda x: (x * 2 + x.sum()).clamp(0, 1),
    "a number of the host": lambda x: x * torch.tensor(2.0),
    "assign a number": lambda x: x.__setitem__(slice(1, None), 1.0),
    "by position": lambda x: x[1:][0],
    "by index of the device": lambda x: x[torch.arange(2, device=x.device)],
    "made there": lambda x: torch.zeros(3, device="cuda") + torch.full((3,), 0.5, device="cuda"),
    "random": lambda x: torch.rand(3, device="cuda") + torch.randn_like(x),
    "where": lambda x: torch.where(x > 0, x, torch.nan).masked_fill(x > 1, 0.0),
    "a copy there": lambda x: x.to("cuda").to(torch.float64),
    "shape": lambda x: (len(x), x.shape, x.numel(), repr(x)),
}


@pytest.mark.parametrize("name", NO_WAITS)
def test_what_does_not_make_the_host_wait_is_not(mock_cuda: DeviceState, name: str) -> None:
    x = noise(3).to("cuda")
    with mock_cuda.ledger.counting() as counts:
        NO_WAITS[name](x)
    assert counts.waits == {}


MIXED: dict[str, Callable[[Tensor], Any]] = {
    "add": lambda x: x + torch.ones(3),
    "cat": lambda x: torch.cat([x, torch.ones(3)]),
    "matmul": lambda x: x @ torch.ones(3),
    "where": lambda x: torch.where(torch.ones(3) > 0, x, x),
    "conv": lambda x: nn.functional.conv2d(x.view(1, 3, 1, 1), torch.ones(2, 3, 1, 1)),
    "index of the device": lambda x: torch.ones(3)[torch.arange(2, device="cuda")],
    "stack of numbers": lambda x: torch.stack([x[0], torch.ones(())]),
}


@pytest.mark.parametrize("name", MIXED)
def test_devices_do_not_mix(mock_cuda: DeviceState, name: str) -> None:
    x = noise(3).to("cuda")
    with pytest.raises(RuntimeError, match="same device"):
        MIXED[name](x)


def test_operations_are_counted_by_line(mock_cuda: DeviceState) -> None:
    x = noise(3, 4).to("cuda")
    with mock_cuda.ledger.counting() as counts:
        (x * 2).exp()
        here = source_line()
        x.T[0].view(3, 1).expand(3, 2)
    assert counts.operations == {here: 2}
    assert counts.names == {"mul": 1, "exp": 1}


def test_memory_is_that_of_living_tensors(mock_cuda: DeviceState) -> None:
    before = mock_cuda.allocated
    x = torch.zeros(1000, device="cuda")
    view = x[10:]
    del x
    assert mock_cuda.allocated == before + 4000
    del view
    assert (mock_cuda.allocated, mock_cuda.peak) == (before, before + 4000)
    mock_cuda.capacity = before + 3999
    with pytest.raises(torch.OutOfMemoryError):
        torch.zeros(1000, device="cuda")
    assert torch.cuda.mem_get_info() == (3999, before + 3999)


def test_random_numbers_are_not_those_of_the_cpu(mock_cuda: DeviceState) -> None:
    host = torch.get_rng_state()
    torch.cuda.manual_seed(3)
    first = torch.rand(4, device="cuda").tolist()
    with torch.random.fork_rng(["cuda:0"]):
        torch.rand(4, device="cuda")
    torch.cuda.manual_seed(3)
    assert torch.rand(4, device="cuda").tolist() == first
    assert torch.equal(torch.get_rng_state(), host)


def test_a_module_that_is_moved_keeps_its_parameters(mock_cuda: DeviceState) -> None:
    network = TinyNet()
    before, weights = list(network.parameters()), network.conv1.weight.detach().clone()
    network.to("cuda")
    assert all(one is other for one, other in zip(before, network.parameters(), strict=True))
    assert all(isinstance(parameter, MockTensor) and parameter.requires_grad for parameter in before)
    network.to("cpu")
    assert all(one is other for one, other in zip(before, network.parameters(), strict=True))
    assert torch.equal(network.conv1.weight, weights)


def test_everything_is_as_before_afterwards() -> None:
    watched = ("is_available", "device_count", "current_device", "mem_get_info", "get_rng_state", "_lazy_init")
    before = [getattr(torch.cuda, name) for name in watched]
    try:
        with mocked_cuda():
            assert torch.cuda.is_available()
            assert torch.zeros(1, device="cuda").device.type == "cuda"
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert [getattr(torch.cuda, name) for name in watched] == before
    assert not torch.cuda.is_available()
    assert not torch.__future__.get_swap_module_params_on_conversion()
    with pytest.raises((RuntimeError, AssertionError)):
        torch.zeros(1, device="cuda")
    x = torch.ones(2, requires_grad=True)
    (x * x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2]
