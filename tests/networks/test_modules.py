"""Kinds of Modules: each is rendered rightly, or refused in one line before any work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lightning_fv import VisionNetwork, render
from lightning_fv.errors import FeatureVisualizationError
from lightning_fv.parameterizations import Pixel
from tests.helpers import TinyNet


class Around(nn.Module):
    """Calls a function with a network and its input."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.function = TinyNet(), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.net, x)


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.LazyConv2d(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv(x).mean((2, 3))
        return logits


class TwoInputs(TinyNet):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x + y)


class Flat(nn.Module):
    """A head that accepts one size of pictures."""

    def __init__(self, side: int, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(4 * (side // 2) ** 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(x).relu().flatten(1))
        return logits


class AnyChannels(nn.Sequential):
    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class InPlace(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2))


def no_grad(network: nn.Module, x: Tensor) -> Any:
    with torch.no_grad():
        return network(x)


def inference(network: nn.Module, x: Tensor) -> Any:
    with torch.inference_mode():
        return network(x)


def made_in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return TinyNet()


def partly_meta() -> nn.Module:
    network = TinyNet()
    network.conv2.to("meta")
    return network


def hooked(hook: Callable[..., Any], backward: bool = False) -> nn.Module:
    network = TinyNet()
    if backward:
        network.conv2.register_full_backward_hook(hook)
    else:
        network.conv1.register_forward_hook(hook)
    return network


def compiled_in_place() -> nn.Module:
    network = TinyNet()
    network.compile(backend="eager")
    return network


def quantized() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    return torch.ao.quantization.quantize_dynamic(network, {nn.Linear})


def fail(*_: object) -> None:
    raise KeyError("its own")


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "detached": (lambda: Around(lambda net, x: net(x.detach())), "does not depend on the picture"),
    "no_grad": (lambda: Around(no_grad), "does not depend on the picture"),
    "inference mode": (lambda: Around(inference), "does not depend on the picture"),
    "constant": (lambda: Around(lambda net, x: net(torch.zeros_like(x))), "does not depend on the picture"),
    "integers": (lambda: Around(lambda net, x: net(x).long()), "does not depend on the picture"),
    "complex": (lambda: Around(lambda net, x: net(x).to(torch.complex64)), "outputs complex64 numbers"),
    "sparse": (lambda: Around(lambda net, x: net(x).to_sparse()), "outputs sparse_coo numbers"),
    "indices": (lambda: Around(lambda net, x: net(x).argmax(1)), "outputs 1 axes"),
    "a tuple": (lambda: Around(lambda net, x: (net(x), x)), "choose one of its items: logits[0] (1, 5), logits[1]"),
    "a dict": (lambda: Around(lambda net, x: {"out": net(x)}), "choose one of its items: logits[out] (1, 5)"),
    "lazy": (Lazy, "conv.weight of Lazy has no size yet; call the network once"),
    "scripted": (lambda: torch.jit.script(TinyNet().eval()), "is a TorchScript program"),
    "traced": (lambda: torch.jit.trace(TinyNet().eval(), torch.rand(1, 3, 8, 8)), "is a TorchScript program"),
    "frozen": (lambda: nn.Sequential(torch.jit.freeze(torch.jit.script(TinyNet().eval()))), "frozen TorchScript"),
    "quantized": (quantized, "as in a quantized network"),
    "meta": (partly_meta, "conv2.weight of TinyNet has no values"),
    "made in inference mode": (made_in_inference_mode, "was created in inference mode; create the network outside it"),
    "half": (lambda: TinyNet().half(), "parameters are torch.float16; call .float()"),
    "double": (lambda: TinyNet().double(), "parameters are torch.float64; call .float()"),
    "compiled in place": (compiled_in_place, "TinyNet in TinyNet is compiled"),
    "compiled inside": (lambda: nn.Sequential(torch.compile(TinyNet(), backend="eager")), "in Sequential is compiled"),
    "two inputs": (TwoInputs, "cannot process a picture of shape (1, 3, 224, 224): TypeError: TwoInputs.forward()"),
    "no forward": (lambda: nn.ModuleList([TinyNet()]), "missing the required"),
    "a hook that detaches": (lambda: hooked(lambda m, a, output: output.detach()), "does not depend on the picture"),
    "a hook that fails": (lambda: hooked(fail), "KeyError: 'its own'"),
    "a backward hook that fails": (lambda: hooked(fail, True), "no gradient flows back through TinyNet from logits"),
    "one channel, mean of three": (lambda: AnyChannels(1), "to have 1 channels, but got 3 channels instead"),
    "another size": (lambda: Flat(64), "give the size it was trained at"),
}


@pytest.mark.filterwarnings("ignore:.*(torch.jit|torch.ao)", "ignore:Lazy")
def test_refused_in_one_line_before_any_work(tmp_path: Path) -> None:
    for kind, (make, told) in REFUSED.items():
        with pytest.raises(FeatureVisualizationError) as error:
            render(make(), "logits:0", mean=(0.5,) * 3, std=(0.2,) * 3, size=16, out=tmp_path / "run", progress=False)
        assert told in str(error.value), kind
        assert "\n" not in str(error.value), kind
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("wrong", [TinyNet, None, "resnet18", {"conv1.weight": torch.zeros(1)}])
def test_what_is_no_module(wrong: Any) -> None:
    with pytest.raises(
        FeatureVisualizationError,
        match=r"a network is a Module, not (an object of type|the class) \w+; give an instance",
    ):
        VisionNetwork(wrong, mean=(0.5,) * 3, std=(0.2,) * 3)


def scores(module: nn.Module, targets: str = "logits:1") -> list[float]:
    rendering = render(module, targets, mean=(0.5,) * 3, std=(0.2,) * 3, size=16, steps=2, progress=False)
    assert [record.status for record in rendering.records] == ["done"] * len(rendering)
    return [float(score) for score in rendering.scores]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_what_is_wrapped_around_a_network_changes_nothing() -> None:
    both = "logits:1+conv1:2"
    plain = scores(TinyNet(), both)
    assert scores(nn.DataParallel(TinyNet()), both) == plain
    assert scores(torch.compile(TinyNet(), backend="eager"), both) == plain  # type: ignore[arg-type]
    assert scores(TinyNet().train().requires_grad_(True), both) == plain
    assert scores(nn.Sequential(torch.jit.script(TinyNet().eval())))[0] == pytest.approx(plain[0], rel=1e-4)
    assert scores(Around(lambda net, x: (net(x), x)), "logits[0]:1")[0] == pytest.approx(plain[0], rel=0.1)
    normed = TinyNet()
    nn.utils.parametrizations.weight_norm(normed.conv1)
    assert scores(normed)[0] == pytest.approx(plain[0], rel=1e-3)
    scores(InPlace())


def test_a_map_of_logits_is_averaged() -> None:
    rendering = render(
        nn.Conv2d(3, 5, 3), "logits:1", mean=(0.5,) * 3, std=(0.2,) * 3, size=16, steps=2, progress=False
    )
    assert rendering.records[0].status == "done"
    assert 0 < float(rendering.records[0].scores["probability"]) < 1


@pytest.mark.parametrize("channels", [1, 4])
def test_a_network_of_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = AnyChannels(channels)
    given: dict[str, Any] = {"mean": [0.5] * channels, "std": [0.2] * channels, "size": 24, "progress": False}
    begin = render(module, "logits:0+0:1", steps=1, **given)
    rendering = render(module, "logits:0+0:1", steps=12, out=tmp_path / "run", **given)
    assert rendering.images.shape == (2, channels, 24, 24)
    assert bool((rendering.scores > begin.scores).all())
    for record in rendering.records:
        with Image.open(tmp_path / "run" / str(record.image)) as picture:
            assert (picture.mode, picture.size) == ("RGB", (24, 24))
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
        shown = rendering.images[rendering.records.index(record)][[min(c, channels - 1) for c in range(3)]]
        torch.testing.assert_close(pixels, shown, rtol=0, atol=0.002)
    noise = [
        render(module, "logits:0", steps=1, parameterization=Pixel(), **given).images[0, c] for c in range(channels)
    ]
    assert not any(torch.equal(noise[0], other) for other in noise[1:])


def test_a_parameterization_of_another_number_of_channels_is_refused() -> None:
    class Grey(Pixel):
        def forward(self) -> Tensor:
            return super().forward()[:, :1]

    with pytest.raises(FeatureVisualizationError, match=r"takes pictures \(B, 3, H, W\), .* given \(1, 1, 16, 16\)"):
        render(TinyNet(), "logits:0", mean=(0.5,) * 3, std=(0.2,) * 3, size=16, parameterization=Grey(), progress=False)


def test_a_network_of_one_size_is_found_out() -> None:
    network = VisionNetwork(Flat(32), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(32, 32))
    rendering = render(network, "logits:0+conv:1", steps=2, size=20, progress=False)
    assert network.fixed_size
    assert rendering.images.shape == (2, 3, 20, 20)
    assert [record.status for record in rendering.records] == ["done", "done"]


def test_what_cannot_be_repeated_is_said_in_one_line() -> None:
    noisy = Around(lambda net, x: nn.functional.dropout(net(x), 0.1))
    with pytest.warns(UserWarning, match="Around draws random numbers in its forward") as told:
        scores(noisy, "net.conv1:0")
    mixing = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.AdaptiveAvgPool2d(1))
    with pytest.warns(UserWarning, match=r"1 of Sequential normalises over the batch.*size of 1") as told:
        scores(mixing, "0:0")
    assert all("\n" not in str(warning.message) for warning in told)
