"""Which axis holds the channels, and what is said where that cannot be told."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_fv import VisionNetwork, render
from lightning_fv.errors import CaptureError, NetworkError
from lightning_fv.networks.capture import channel_axis
from lightning_fv.targets import resolve_targets
from tests.helpers import TinyNet
from tests.processes import run_python


class Layouts(nn.Module):
    """One layer of every layout; all hold the same numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.nhwc, self.nlc, self.cubes, self.windows = (nn.Identity() for _ in range(4))
        self.both = Both()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.nhwc(x.permute(0, 2, 3, 1))
        self.nlc(y.flatten(1, 2))
        self.cubes(x[:, :, None])
        self.windows(torch.cat([y, y]))
        return self.both(x)["logits"]


class Both(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"map": x, "logits": x.mean((2, 3))}


@pytest.fixture
def network() -> VisionNetwork:
    torch.manual_seed(0)
    return VisionNetwork(Layouts(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(12, 10))


def test_a_channel_is_the_same_in_every_layout(network: VisionNetwork) -> None:
    rendering = render(network, "conv:4+nhwc:4+nlc:4", steps=3, size=(12, 14), transforms=[], progress=False)
    assert rendering.scores[0] != 0
    objective = resolve_targets("conv:4+nhwc:4+nlc:4", network)
    images = torch.rand(2, 3, 12, 14)
    values = [t.objective(network.activations(images, t.objective.layers), images) for t in objective]
    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(values[2], values[0])


def test_what_cannot_be_told_is_asked_for(network: VisionNetwork) -> None:
    with pytest.raises(
        CaptureError, match=r"cannot tell the channel axis of layer 'cubes', which has 5 axes; .*1 to 4"
    ):
        resolve_targets("cubes:4", network)
    with pytest.raises(CaptureError, match=r"windows"):
        resolve_targets("windows:4", network)
    with pytest.raises(
        CaptureError, match=r"choose one of its items: both\[map\] \(1, 6, 12, 10\), both\[logits\] \(1, 6\)"
    ):
        resolve_targets("both:4", network)
    with pytest.raises(CaptureError, match="cannot tell the channel axis of layer 'both\\[map\\]'"):
        resolve_targets("both[map]:4", network)
    assert resolve_targets("both[logits]:5", network)[0].objective.unit == 5
    given = VisionNetwork(
        network.module,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        input_size=(12, 10),
        channel_axes={"cubes": 1, "both[map]": 1, "nlc": 4},
    )
    assert resolve_targets("cubes:5+both[map]:5", given)[1].objective.unit == 5
    with pytest.raises(CaptureError, match="its channel axis cannot be 4"):
        resolve_targets("nlc:1", given)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1, 7), 1), ((1, 50, 7), 2), ((1, 7, 16, 24), 1), ((1, 16, 24, 7), 3), ((1, 32, 32, 48), 1), ((1, 32, 48, 48), 3),
        ((1, 7, 1, 1), 1), ((1, 1, 1, 7), 3), ((1, 8, 5, 13), None), ((2, 7, 16, 24), None), ((7,), None), (None, None),
    ],
)  # fmt: skip
def test_rule_of_the_channel_axis(shape: tuple[int, ...] | None, axis: int | None) -> None:
    assert channel_axis(shape, (64, 96)) == axis


def test_pictures_for_a_network_of_fixed_size_are_resized_with_gradient(network: VisionNetwork) -> None:
    fixed = VisionNetwork(network.module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(12, 10), fixed_size=True)
    images = torch.rand(1, 3, 33, 47, requires_grad=True)
    assert fixed.preprocess(images).shape == (1, 3, 12, 10)
    fixed(images).sum().backward()
    assert images.grad is not None
    assert float(images.grad.abs().min(1).values.max()) > 0


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.2,) * 3), ((0.5,) * 3, (0.2, 0.0, 0.2))])
def test_mean_and_std_that_cannot_be(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(NetworkError, match="a number each per channel, such as three for RGB, std above 0"):
        VisionNetwork(nn.Identity(), mean=mean, std=std)


def test_mean_and_std_of_another_number_of_channels_than_the_network_has() -> None:
    grey = VisionNetwork(nn.Conv2d(3, 5, 3), mean=(0.5,), std=(0.2,), input_size=(8, 8), name="colour")
    with pytest.raises(NetworkError, match=r"\(--mean, --std\) with a number for each of its channels, now 1"):
        grey.layers()


def test_without_timm_the_package_works_and_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['timm'] = None\n"
        "import lightning_fv\n"
        "from lightning_fv.errors import NetworkError\n"
        "lightning_fv.load_network('demo')\n"
        "for name, more in (('timm/resnet18', {}), ('checkpoint:x', dict(architecture='timm/resnet18', mean=(0,)*3, std=(1,)*3))):\n"
        "    try:\n"
        "        lightning_fv.load_network(name, None, **more)\n"
        "    except (NetworkError, lightning_fv.errors.CheckpointError) as error:\n"
        "        print(error)\n"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.error_output
    assert "pip install 'lightning_fv[timm]'" in done.output


def test_mean_and_std_of_any_kind_of_number() -> None:
    for mean in (np.full(3, 0.5), np.float32([0.5] * 3), torch.full((3,), 0.5), [np.float32(0.5)] * 3):
        network = VisionNetwork(TinyNet(), mean=mean, std=mean)  # type: ignore[arg-type]
        assert network.mean == network.std == (0.5, 0.5, 0.5)
        assert {type(value) for value in network.mean} == {float}
    for wrong in (0.5, "abc", (0.5, None, 0.5), (0.5, 0.5, float("nan"))):
        with pytest.raises(NetworkError, match="mean and std need a number"):
            VisionNetwork(TinyNet(), mean=wrong, std=(0.2,) * 3)  # type: ignore[arg-type]


class Spectral(nn.Module):
    """A network with complex weights."""

    def __init__(self, dtype: torch.dtype = torch.complex64) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((5, 3), 1 + 2j, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight @ x.mean((2, 3)).to(self.weight.dtype).T).abs().T


def test_complex_weights_keep_their_imaginary_part() -> None:
    def of(module: nn.Module) -> VisionNetwork:
        return VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(8, 8))

    network, other = of(Spectral()), of(Spectral())
    assert network.digest() == other.digest()
    with torch.no_grad():
        other.module.get_parameter("weight").imag.zero_()
    assert network.digest() != other.digest()
    assert render(network, "logits:0", steps=2, progress=False).scores[0] > 0
    with pytest.raises(NetworkError, match="convert them to torch"):
        of(Spectral(torch.complex128))


class Volume(nn.Module):
    """Weights with five axes, and a filter that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 2, (1, 3, 3))
        self.register_buffer("filter", torch.ones(2, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv(x[:, :, None])[:, :, 0]
        self.seen = self.filter.is_contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(found, self.filter, groups=2).mean((2, 3))


def test_frozen_gives_back_the_same_tensors() -> None:
    module = Volume()
    network = VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(12, 10))
    shared = torch.zeros(module.conv.weight.numel())  # as an optimizer or another process may share it
    module.conv.weight.data = shared.view_as(module.conv.weight)
    held = module.filter
    with network.frozen():
        assert torch.is_grad_enabled()
        assert network(torch.rand(1, 3, 12, 10)).shape == (1, 2)
        assert module.seen
    shared += 1
    assert bool((module.conv.weight == 1).all())
    assert module.filter is held
    assert held.is_contiguous()
    assert module.training
    assert module.conv.weight.requires_grad


class Observer(nn.Module):
    """Statistics that each forward pass updates, in evaluation mode too, as those of quantization-aware training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.register_buffer("largest", torch.full((1, 3, 1, 1), -torch.inf))
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))

    def train(self, mode: bool = True) -> "Observer":
        super().train(mode)
        self.norm.train()
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        torch.maximum(self.largest, x.amax((0, 2, 3), keepdim=True), out=self.largest)
        return self.norm(self.conv(x)).mean((2, 3))


def test_frozen_gives_back_the_values_of_buffers_that_a_forward_pass_changes() -> None:
    module = Observer()
    network = VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(12, 10))
    held = dict(module.named_buffers())
    before = {name: buffer.clone() for name, buffer in held.items()}
    with network.frozen(), torch.no_grad():
        passes = int(module.passes)
        network(torch.rand(2, 3, 12, 10))
        assert module.passes == passes + 1
        assert not torch.equal(module.get_buffer("norm.running_mean"), before["norm.running_mean"])
    after = dict(module.named_buffers())
    assert all(after[name] is held[name] for name in held)
    assert [name for name in before if not torch.equal(after[name], before[name])] == []


def test_unknown_photos_are_refused() -> None:
    with pytest.raises(NetworkError, match="'places'; those known are imagenet and tiny_imagenet"):
        VisionNetwork(nn.Conv2d(3, 1, 1), mean=(0,) * 3, std=(1,) * 3, photos="places")  # type: ignore[arg-type]
