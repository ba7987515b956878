"""torch's own modes and defaults, whatever the caller has set."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from lightning_fv.functional import torch_defaults


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


MODES: dict[str, Any] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "device": lambda: torch.device("meta"),
    "set_default_device": lambda: default_device("meta"),
    "missing_device": lambda: default_device("cuda"),
}


def state() -> tuple[Any, ...]:
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    device = "missing"
    with contextlib.suppress(RuntimeError, AssertionError):
        device = str(torch.empty(0).device)
    return *modes, torch.get_default_dtype(), device


@pytest.mark.parametrize("name", MODES)
def test_nothing_of_a_mode_is_left_inside_and_all_of_it_afterwards(name: str) -> None:
    plain = state()
    with MODES[name]():
        changed = state()
        assert changed != plain or (name == "missing_device" and torch.cuda.is_available())
        with contextlib.suppress(ZeroDivisionError), torch_defaults():
            assert state() == plain
            weight = torch.ones(2, 2, requires_grad=True)
            made = (weight @ torch.ones(2, 2)).sum()
            made.backward()
            assert (made.dtype, made.device.type, made.item()) == (torch.float32, "cpu", 8.0)
            assert weight.grad is not None
            torch.set_grad_enabled(False)  # as Lightning and others do without undoing it
            raise ZeroDivisionError
        assert state() == changed
    assert state() == plain
