"""What every network must do, whatever it is made of; used by the matrices of torchvision and timm."""

import copy

import numpy as np
import torch

from lightning_fv import VisionNetwork, render
from lightning_fv.networks.capture import LayerInfo, parse_layer
from lightning_fv.objectives import Channel, Logit
from lightning_fv.optimization.visualizer import FeatureVisualizer


def hidden_layer(network: VisionNetwork) -> LayerInfo:
    """A layer from the middle that ran once and has channels."""
    usable = [i for i in network.layers() if i.calls == 1 and i.axis is not None and (i.units or 0) >= 4]
    usable = [i for i in usable if i.name != "logits" and i.shape is not None and len(i.shape) > 2]
    return usable[len(usable) // 2]


def reference(network: VisionNetwork, images: torch.Tensor, layer: str) -> np.ndarray:
    """The layer's output in a copy without in-place modules, copied out of torch's memory when it appears."""
    module = copy.deepcopy(network.module)
    for part in module.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    seen: list[np.ndarray] = []
    name = parse_layer(layer)[0]
    module.get_submodule(name).register_forward_hook(lambda m, a, output: seen.append(output.detach().numpy().copy()))
    with torch.no_grad():
        module(network.preprocess(images))
    return seen[0]


def liven(network: VisionNetwork, size: tuple[int, int]) -> None:
    """Give an untrained network signals as a trained one has: heads that are not zero, normalised activations."""
    for parameter in network.module.parameters():
        if parameter.ndim == 2 and not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.02)
    norms = [m for m in network.module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # an average over all batches seen
        norm.train()
    smooth = torch.nn.functional.interpolate(0.35 + 0.3 * torch.rand(8, 3, 6, 6), size, mode="bilinear")
    with torch.no_grad():
        network(smooth)  # of the contrast that pictures start with: else all ReLUs of some layer are shut for those
    network.module.eval()


def check(network: VisionNetwork, size: tuple[int, int], steps: int) -> None:
    """Layers are listed, captured values are right, a hidden channel and a logit rise."""
    liven(network, size)
    infos = network.layers()
    assert infos[-1].name == "logits"
    assert infos[-1].units == len(network.categories) or not network.categories
    hidden = hidden_layer(network)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        captured = network.capture(images, [hidden.name, "logits"])
        activations = network.activations(images, [hidden.name])[hidden.name]
    assert np.array_equal(captured[hidden.name].numpy(), reference(network, images, hidden.name))
    assert activations.shape[:2] == (2, hidden.units)
    torch.testing.assert_close(captured["logits"], network(images), rtol=1e-4, atol=1e-5)

    # The brightest channel: of an untrained network many are dead or nearly constant.
    unit = int(activations.flatten(2).std((0, 2)).argmax())
    # Small steps: the landscape of a network of random weights is rough.
    visualizer = FeatureVisualizer(transforms=[], size=size, optimizer=lambda p: torch.optim.Adam(p, lr=0.02))
    objectives = [Channel(hidden.name, unit), Logit(3)]
    begin = render(network, objectives, visualizer=visualizer, steps=1, progress=False)
    end = render(network, objectives, visualizer=visualizer, steps=steps, progress=False)
    assert bool((end.scores > begin.scores).all()), (hidden.name, unit, begin.scores, end.scores)
    assert end.images.shape == (2, 3, *size)
