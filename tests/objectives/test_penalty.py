"""What the penalties have in common."""

import importlib
from collections.abc import Callable

import pytest
import torch
import yaml
from torch import Tensor

from lightning_fv import FeatureVisualizer
from lightning_fv.objectives import L1, L2, Blur, Boundary, Linf, Penalty, TotalVariation
from lightning_fv.runs.init_args import init_args
from lightning_fv.runs.settings import settings_of
from tests.engines.runs import plan_of
from tests.helpers import noise

ALL = [L1, L2, Linf, TotalVariation, Blur, Boundary]
IMAGES = noise(4, 3, 7, 5, seed=1).sigmoid()


@pytest.mark.parametrize("make", ALL)
def test_is_at_least_zero_and_zero_for_grey(make: Callable[[], Penalty], device: torch.device) -> None:
    pictures = torch.stack([torch.full((3, 7, 5), 0.5), torch.zeros(3, 7, 5), torch.ones(3, 7, 5), IMAGES[0]])
    value = make()({}, pictures.to(device)).cpu()
    assert value[0] == 0
    assert (value >= 0).all()
    assert value[3] > 0


@pytest.mark.parametrize("make", ALL)
def test_does_not_depend_on_batch_mates_or_on_the_number_of_pixels(make: Callable[[], Penalty]) -> None:
    together = make()({}, IMAGES)
    for row in range(4):
        torch.testing.assert_close(make()({}, IMAGES[row : row + 1])[0], together[row])
    if make in (L1, L2, Linf):  # tiling adds edges, and moves the border
        torch.testing.assert_close(make()({}, IMAGES.repeat(1, 1, 3, 2)), together)


@pytest.mark.parametrize("make", [one for one in ALL if one is not Blur])  # part of which counts as a constant
def test_gradients(make: Callable[[float], Penalty], device: torch.device) -> None:
    images = IMAGES[:2, :, :3, :4].double().to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: make(0.7)({}, x), images)


@pytest.mark.parametrize("make", ALL)
def test_reads_no_layer(make: Callable[[], Penalty]) -> None:
    assert make().layers == frozenset()


@pytest.mark.parametrize("make", ALL)
def test_weight_is_a_factor(make: Callable[[float], Penalty]) -> None:
    torch.testing.assert_close(make(0.3)({}, IMAGES), 0.3 * make(1.0).measure(IMAGES))


class Mean(Penalty):
    def __init__(self, weight: float = 1.0, power: int = 1) -> None:
        super().__init__(weight)
        self.power = power

    def measure(self, images: Tensor) -> Tensor:
        return images.flatten(1).mean(1) ** self.power


def test_a_penalty_of_ones_own_shows_all_its_settings() -> None:
    """Its repr goes into the job id: two different penalties must not give one job."""
    assert [repr(one) for one in (Mean(), Mean(0.5), Mean(power=2))] == ["Mean()", "Mean(0.5)", "Mean(1.0, power=2)"]


def test_what_it_measures_must_be_said() -> None:
    with pytest.raises(TypeError, match="measure"):
        Penalty()  # type: ignore[abstract]


class Masked(Penalty):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def measure(self, images: Tensor) -> Tensor:
        return (images * self.mask).square().flatten(1).mean(1)


def test_a_penalty_that_holds_a_tensor_is_told_apart_by_its_values() -> None:
    ids = []
    for scale in (1.0, 1.0, 2.0):
        plan = plan_of("logits:0", recipe=FeatureVisualizer(penalties=[Masked(scale * torch.ones(64, 64))]))
        ids.append(plan.jobs[0].id)
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("make", ALL)
def test_a_config_file_constructs_an_equal_one(make: Callable[[float], Penalty]) -> None:
    config = yaml.safe_load(yaml.safe_dump(init_args(make(0.25))))
    module, _, name = config["class_path"].rpartition(".")
    again = getattr(importlib.import_module(module), name)(**config["init_args"])
    assert again.same_as(make(0.25))
    assert settings_of(again) == settings_of(make(0.25)) != settings_of(make(0.5))
