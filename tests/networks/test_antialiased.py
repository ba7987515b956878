"""The antialiased ResNet-50 against a second writing of the paper's formula, and of the published files' entries."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from lightning_fv.errors import NetworkError
from lightning_fv.networks.antialiased import ANTIALIASED, BlurPool, antialiased_resnet50
from lightning_fv.networks.weights import load_strictly, read_weights

SIZES = (2, 3, 4, 5)
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


def binomial(size: int) -> np.ndarray:
    """By repeated convolution with (1/2, 1/2), which is how Pascal's triangle grows."""
    row = np.ones(1)
    for _ in range(size - 1):
        row = np.convolve(row, [0.5, 0.5])
    return np.outer(row, row)


def published_shapes(size: int) -> dict[str, tuple[int, ...]]:
    """Entries of a published file in their order, written out without any module."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        for entry in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{entry}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    shapes["conv1.weight"] = (64, 3, 7, 7)
    norm("bn1", 64)
    shapes["maxpool.1.filt"] = (64, 1, size, size)
    inputs = 64
    for stage, (width, blocks) in enumerate(STAGES, 1):
        for i in range(blocks):
            block = f"layer{stage}.{i}"
            blurred = i == 0 and stage > 1
            shapes[f"{block}.conv1.weight"] = (width, inputs, 1, 1)
            norm(f"{block}.bn1", width)
            shapes[f"{block}.conv2.weight"] = (width, width, 3, 3)
            norm(f"{block}.bn2", width)
            if blurred:
                shapes[f"{block}.conv3.0.filt"] = (width, 1, size, size)
            shapes[f"{block}.conv3.{'1.' if blurred else ''}weight"] = (4 * width, width, 1, 1)
            norm(f"{block}.bn3", 4 * width)
            if i == 0:
                if blurred:
                    shapes[f"{block}.downsample.0.filt"] = (inputs, 1, size, size)
                shapes[f"{block}.downsample.{'1' if blurred else '0'}.weight"] = (4 * width, inputs, 1, 1)
                norm(f"{block}.downsample.{'2' if blurred else '1'}", 4 * width)
            inputs = 4 * width
    shapes["fc.weight"] = (1000, 2048)
    shapes["fc.bias"] = (1000,)
    return shapes


def random_state(size: int) -> dict[str, Tensor]:
    """Such a file's entries: random, with every normalisation away from the identity, and signals of order one."""
    generator = torch.Generator().manual_seed(size)
    state = {}
    for name, shape in published_shapes(size).items():
        if name.endswith("filt"):
            state[name] = torch.from_numpy(binomial(size)).float().expand(shape).contiguous()
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1000)
        elif len(shape) == 1:
            low = -0.2 if name.endswith(("bias", "mean")) else 0.5
            state[name] = torch.rand(shape, generator=generator) + low
        else:
            state[name] = torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
    return state


def reference(state: dict[str, Tensor], size: int, x: Tensor) -> Tensor:
    """The whole forward from a state dict in float64, with filters of our own."""
    state = {name: tensor.double() for name, tensor in state.items()}
    taps = torch.from_numpy(binomial(size))

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, gain, bias = (
            state[f"{name}.{entry}"].view(-1, 1, 1) for entry in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * gain + bias

    def blur(x: Tensor) -> Tensor:  # by gathering rows and columns: no padding function, no grouped convolution
        index = [
            torch.tensor(np.pad(np.arange(n), ((size - 1) // 2, math.ceil((size - 1) / 2)), mode="reflect"))
            for n in x.shape[-2:]
        ]
        padded = x[..., index[0], :][..., index[1]]
        return torch.einsum("bchwij,ij->bchw", padded.unfold(2, size, 2).unfold(3, size, 2), taps)

    x = torch.relu(norm("bn1", F.conv2d(x, state["conv1.weight"], stride=2, padding=3)))
    x = blur(F.max_pool2d(x, 2, stride=1))
    for stage, (_, blocks) in enumerate(STAGES, 1):
        for i in range(blocks):
            block = f"layer{stage}.{i}"
            y = torch.relu(norm(f"{block}.bn1", F.conv2d(x, state[f"{block}.conv1.weight"])))
            y = torch.relu(norm(f"{block}.bn2", F.conv2d(y, state[f"{block}.conv2.weight"], padding=1)))
            if i == 0 and stage > 1:
                y = F.conv2d(blur(y), state[f"{block}.conv3.1.weight"])
                x = norm(f"{block}.downsample.2", F.conv2d(blur(x), state[f"{block}.downsample.1.weight"]))
            else:
                y = F.conv2d(y, state[f"{block}.conv3.weight"])
                if i == 0:
                    x = norm(f"{block}.downsample.1", F.conv2d(x, state[f"{block}.downsample.0.weight"]))
            x = torch.relu(x + norm(f"{block}.bn3", y))
    return x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.fixture(scope="module", params=SIZES)
def net(request: pytest.FixtureRequest) -> tuple[int, nn.Module]:
    return request.param, antialiased_resnet50(request.param).eval()


def test_entries_are_those_of_the_published_files(net: tuple[int, nn.Module]) -> None:
    size, module = net
    expected = published_shapes(size)
    assert len(expected) == 327
    assert [(name, tuple(t.shape)) for name, t in module.state_dict().items()] == list(expected.items())
    assert sum(p.numel() for p in module.parameters()) == 25_557_032
    buffers = {name: buffer for name, buffer in module.named_buffers() if name.endswith("filt")}
    assert list(buffers) == ["maxpool.1.filt"] + [
        f"layer{n}.0.{part}.0.filt" for n in (2, 3, 4) for part in ("conv3", "downsample")
    ]
    for buffer in buffers.values():
        np.testing.assert_array_equal(buffer.numpy(), np.broadcast_to(binomial(size), buffer.shape))


def test_a_published_file_gives_the_output_of_the_formula(net: tuple[int, nn.Module], tmp_path: Path) -> None:
    size, module = net
    state = random_state(size)
    if size == 4:  # through a file once: 100 MB
        file = tmp_path / "resnet50_lpf4.pth"
        torch.save({"epoch": 90, "arch": "resnet50", "state_dict": state}, file)
        state = read_weights(file)
        assert list(state) == list(published_shapes(size))
        file.unlink()
    load_strictly(module, state, "a file of the test")
    module.double()
    least = 19 if size < 4 else 35
    for height, width in ((97, 75), (least, least + 6)):
        images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        with torch.no_grad():
            expected = reference(state, size, images)
            output = module(images)
        assert expected.std() > 0.1
        assert (output - expected).abs().max() < 1e-6
    with pytest.raises(RuntimeError, match="Padding size"), torch.no_grad():
        module(images[:, :, : least - 1])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", [(12, 12), (13, 7), (3, 4)])
def test_blur_pool_is_a_strided_binomial_filter(size: int, stride: int, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, *shape))
    pool = BlurPool(3, size, stride).double()
    output = pool(torch.from_numpy(x)).numpy()
    assert output.shape == (2, 3, *(math.ceil(n / stride) for n in shape))
    # scipy's "mirror" is the reflection that does not repeat the border; for an even filter the centre of its window
    # lies right of the middle, ours left: one pixel on.
    centre = -1 if size % 2 == 0 else 0
    weights = binomial(size)
    for b in range(2):
        for c in range(3):
            full = ndimage.correlate(x[b, c], weights, mode="mirror", origin=centre)
            np.testing.assert_allclose(output[b, c], full[::stride, ::stride], atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_blur_pool_moves_with_even_shifts(size: int) -> None:
    pool = BlurPool(2, size).double()
    x = torch.randn(1, 2, 31, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shifted = torch.roll(x, (4, -6), (2, 3))
    torch.testing.assert_close(pool(shifted)[..., 4:-4, 4:-4], torch.roll(pool(x), (2, -3), (2, 3))[..., 4:-4, 4:-4])


@pytest.mark.parametrize("size", SIZES)
def test_blur_pool_removes_what_would_alias(size: int) -> None:
    """The fastest alternation, which subsampling alone turns into a constant, vanishes; a constant stays."""
    pool = BlurPool(1, size)
    ones = torch.ones(1, 1, 16, 16)
    torch.testing.assert_close(pool(ones), torch.ones(1, 1, 8, 8))
    alternating = ones * torch.tensor([1.0, -1.0]).repeat(8)
    assert pool(alternating)[..., 2:-2, 2:-2].abs().max() < 1e-6


@pytest.mark.parametrize("size", [0, 1, 6])
def test_other_filter_sizes_are_refused(size: int) -> None:
    with pytest.raises(NetworkError, match=f"2 to 5, not {size}"):
        antialiased_resnet50(size)


def test_the_table_of_published_files() -> None:
    assert set(ANTIALIASED) == {"lpf2", "lpf3", "lpf4", "lpf5", "lpf4_finetune"}
    for name, (size, file) in ANTIALIASED.items():
        assert name.startswith(f"lpf{size}")
        assert file.name == f"resnet50_{name}-{file.sha256}.pth"
        assert len(file.sha256) == 8
        assert int(file.sha256, 16) > 0
        assert file.url == f"https://antialiased-cnns.s3.us-east-2.amazonaws.com/weights_v0.1/{file.name}"
        assert "CC BY-NC-SA" in file.licence
        assert "Zhang" in file.citation
