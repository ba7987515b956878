"""The plain parts compute what the fast ones do, and take their places."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_fv.networks import base
from lightning_fv.optimization import redirected_relu
from lightning_fv.optimization.redirected_relu import RedirectedReLU
from lightning_fv.transforms import RandomWarp, warp
from tests.helpers import noise

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from benchmark_pictures import PlainRedirected, plain, plain_inverted, plain_sampled, run


@pytest.mark.parametrize("rows", [None, torch.tensor([True, False, True])])
@pytest.mark.parametrize("layer", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6()])
def test_redirected_gradients(layer: nn.Module, rows: Tensor | None) -> None:
    """Of pictures that are blocked everywhere, somewhere and nowhere."""
    x = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0)) * 4
    x[0] = -x[0].abs()
    weight = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(1))

    def gradient() -> Tensor:
        start = x.clone().requires_grad_()
        with RedirectedReLU(rows):
            (layer(start * 1.0) * weight).sum().backward()
        assert start.grad is not None
        return start.grad

    fast = gradient()
    with plain():
        assert redirected_relu._Redirected is PlainRedirected  # type: ignore[comparison-overlap]
        assert torch.equal(gradient(), fast)
    assert fast[0].any()


def test_the_warp() -> None:
    transform, images = RandomWarp(pad=0.1, rotate=30.0), noise(2, 3, 40, 32)
    transform.unit = 40
    matrices = transform.matrices(torch.rand(2, 4, generator=torch.Generator().manual_seed(0)), (40, 32))
    window = transform.window((40, 32))
    found = plain_sampled(images, plain_inverted(matrices, (40, 32), window), window, "reflection")
    expected = warp.sampled(images, warp.inverted(matrices, (40, 32), window), window, "reflection")
    assert found.shape[-2:] == window != (40, 32)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_all_of_them_are_replaced_and_put_back() -> None:
    before = base.memory_efficient_layers, redirected_relu._Redirected, warp.sampled, warp.inverted
    with plain():
        inside = base.memory_efficient_layers, redirected_relu._Redirected, warp.sampled, warp.inverted
    assert not set(before) & set(inside)
    assert (base.memory_efficient_layers, redirected_relu._Redirected, warp.sampled, warp.inverted) == before


def test_a_run() -> None:
    found = run(["--trainer.max_steps", "24"], "logits:pizza+logits:goldfish")
    assert len(found.scores) == 2
    assert found.seconds > 0
    assert set(found.named) == {"mixer", "dense"}
    assert max(found.rating.values()) > 1 / 24


def test_a_run_of_a_unit_that_has_no_name() -> None:
    found = run(["--trainer.max_steps", "2"], "layer4:1")
    assert found.seconds > 0
    assert found.named == {}
