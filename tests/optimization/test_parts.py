"""Recipes of the wrong parts are refused before any work, in one line."""

import inspect
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, VisionNetwork, render
from lightning_fv.callbacks import PeriodicBlur
from lightning_fv.errors import UsageError
from lightning_fv.objectives import L1
from lightning_fv.optimization.parts import check_parts, describe_recipe
from lightning_fv.parameterizations import Pixel
from lightning_fv.transforms import KeyedTransform
from tests.helpers import TinyNet


class Hollow(nn.Module):
    """Without super().__init__(), as the next two."""

    def __init__(self) -> None:
        pass


class HollowTransform(KeyedTransform):
    def __init__(self) -> None:
        pass


class HollowPixel(Pixel):
    def __init__(self) -> None:
        nn.Module.__init__(self)


class OtherDecode(Pixel):
    def decode(self, values: Tensor) -> Tensor:  # type: ignore[override]
        return values


class OtherShape(Pixel):
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return 3, 8, 8


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"parameterization": 3}, "parameterization is an object of type int"),
        ({"parameterization": Pixel}, "parameterization is the class Pixel"),
        ({"transforms": [nn.ReLU(), lambda x: x]}, "transforms holds an object of type function; give a list of inst"),
        ({"transforms": 3}, "transforms holds an object of type int"),
        ({"penalties": [L1]}, "penalties holds the class L1; give a list of instances of Objective"),
        ({"optimizer": 3}, "optimizer is an object of type int"),
        (
            {"optimizer": lambda parameters: None},
            "model.optimizer must make an Optimizer, not an object of type NoneType",
        ),
        ({"diversity": -0.5}, "diversity is a weight, 0 or more, such as 1.0; got -0.5"),
        ({"transforms": [Hollow()]}, r"the constructor of Hollow must call super\(\).__init__\(\)"),
        ({"transforms": [HollowTransform()]}, "the constructor of HollowTransform must call"),
        ({"parameterization": HollowPixel()}, "the constructor of HollowPixel must call"),
        (
            {"parameterization": OtherDecode()},
            r"the parameterization OtherDecode cannot make pictures: .*decode\(\) takes",
        ),
        (
            {"parameterization": OtherShape()},
            r"the parameterization OtherShape cannot make pictures: .*shape\(\) takes",
        ),
        ({"callbacks": [3]}, "trainer.callbacks must be Callbacks, got int"),
        ({"callbacks": 3}, "trainer.callbacks must be Callbacks, got int"),
        (
            {"callbacks": PeriodicBlur},
            "trainer.callbacks must be Callbacks, got the class PeriodicBlur; give an instance",
        ),
        ({"visualizer": TinyNet()}, "visualizer is an object of type TinyNet"),
    ],
)
def test_wrong_parts(parts: dict[str, Any], told: str) -> None:
    network = VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))
    with pytest.raises(UsageError, match=f"^{told}") as raised:
        render(network, "logits:0", steps=1, progress=False, **parts)
    assert "\n" not in str(raised.value)


def test_right_parts() -> None:
    check_parts(None, (nn.ReLU(),), [L1() + L1()], torch.optim.Adam)
    assert len(FeatureVisualizer(transforms=nn.ModuleList([nn.ReLU()])).transforms) == 1  # type: ignore[arg-type]


def test_the_description_of_a_recipe_is_plain_and_has_all_settings() -> None:
    recipe = FeatureVisualizer(size=20, diversity=1, diversity_layer="conv1", stage_steps=3)
    described = describe_recipe(recipe)
    assert json.loads(json.dumps(described)) == described == recipe.describe()
    assert (described["diversity"], described["diversity_layer"]) == (1.0, "conv1")
    assert (described["size"], described["stage_steps"], described["penalties"]) == (20, 3, [])
    settings = set(inspect.signature(FeatureVisualizer).parameters) - {
        "chunk",
        "cuda_graph",
    }  # which change pictures by rounding
    assert described.keys() == settings | {"visualizer"}
