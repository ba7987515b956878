"""Parts as configuration files name them."""

import enum
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kornia.augmentation import RandomAffine, RandomCrop, RandomElasticTransform, RandomGaussianBlur
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_fv.objectives import L1, Function, Logit, Neuron
from lightning_fv.parameterizations import Fourier
from lightning_fv.runs.init_args import NotInConfigError, import_path, init_args, optimizer_init_args
from lightning_fv.transforms import RandomWarp


class Kind(enum.Enum):
    ONE = 1


class Part(nn.Module):
    def __init__(self, value: Any = None, hidden: Any = 1) -> None:
        super().__init__()
        self.value, self._hidden = value, hidden

    def forward(self, images: Tensor) -> Tensor:
        return images


class Forgets(Part):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self._f = factor


def mean(activations: Any, images: Tensor) -> Tensor:
    return images.flatten(1).mean(1)


def test_arguments_construct_an_equal_part() -> None:
    assert init_args(Fourier(decay=2)) == {
        "class_path": "lightning_fv.parameterizations.fourier.Fourier",
        "init_args": {"decay": 2.0, "sd": 0.01, "decorrelate": True, "lowest": 1.0},
    }
    assert init_args(RandomWarp(scale=(1, 2)))["init_args"]["scale"] == [1.0, 2.0]
    value = [Kind.ONE, Path("a"), np.float64(0.5), {"a": (1,)}, {3, 2}, mean, Kind, nn.ReLU()]
    found = init_args(Part(value, hidden=None))["init_args"]
    here = f"{__name__}."
    module = {"class_path": "torch.nn.modules.activation.ReLU", "init_args": {"inplace": False}}
    assert found == {
        "value": ["ONE", "a", 0.5, {"a": [1]}, [2, 3], f"{here}mean", f"{here}Kind", module],
        "hidden": None,
    }
    assert init_args(Function(mean, layers=["b", "a"]))["init_args"] == {
        "fn": f"{here}mean",
        "layers": ["a", "b"],
        "name": "mean",
    }
    assert init_args(Neuron("layer4", 12, 1, 2, of=(4, 4)))["init_args"] == {
        "layer": "layer4", "unit": 12, "y": 1, "x": 2, "of": [4, 4],
    }  # fmt: skip
    terms = init_args(Logit(1) - 0.5 * L1())["init_args"]["terms"]
    assert [term["init_args"]["weight"] for term in terms] == [1.0, -0.5]
    assert init_args(ModelCheckpoint(filename="x", every_n_train_steps=3))["init_args"]["every_n_train_steps"] == 3


def test_arguments_of_kornias_augmentations() -> None:
    affine = init_args(RandomAffine(10.0, translate=(0.1, 0.2), padding_mode="border", p=1.0))["init_args"]
    assert {name: affine[name] for name in ("degrees", "translate", "padding_mode", "resample", "p")} == {
        "degrees": 10.0, "translate": [0.1, 0.2], "padding_mode": "BORDER", "resample": "BILINEAR", "p": 1.0,
    }  # fmt: skip
    assert init_args(RandomElasticTransform((9, 9), (3.0, 3.0)))["init_args"]["kernel_size"] == [9, 9]
    assert init_args(RandomGaussianBlur((5, 5), (0.1, 2.0)))["init_args"]["sigma"] == [0.1, 2.0]
    with pytest.raises(NotInConfigError, match="RandomCrop cannot be made again"):  # it holds p as p_batch
        init_args(RandomCrop((20, 20), p=0.5))


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (Part(torch.ones(2)), "Part.value is of type Tensor"),
        (Part(lambda x: x), "the setting Part.value is a lambda|<lambda> is not defined at the top level"),
        (Forgets(2.0), "Forgets cannot be made again from its attributes"),
        (nn.Linear(2, 2), "Linear.bias is of type Parameter"),
        (type("Local", (Part,), {})(), "Local is not defined at the top level of a module that can be imported"),
        (Part({1: 2}), "Part.value is of type dict"),
    ],
)
def test_what_no_file_can_name(part: object, told: str) -> None:
    with pytest.raises(NotInConfigError, match=told):
        init_args(part)


def test_optimizers_by_what_they_hold() -> None:
    made = optimizer_init_args(lambda parameters: torch.optim.SGD(parameters, lr=1, momentum=0.5))
    assert made["class_path"] == "torch.optim.sgd.SGD"
    assert made["init_args"]["lr"] == 1.0
    assert made["init_args"]["momentum"] == 0.5
    with pytest.raises(NotInConfigError, match=r"Adam\.lr is of type Tensor"):
        optimizer_init_args(functools.partial(torch.optim.Adam, lr=torch.tensor(0.1)))


def test_import_paths() -> None:
    assert import_path(nn.ReLU) == "torch.nn.modules.activation.ReLU"
    with pytest.raises(NotInConfigError):
        import_path(lambda: None)
