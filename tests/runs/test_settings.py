"""Settings: everything that changes a picture is in them, and what cannot be described is refused."""

import dataclasses
import enum
import functools
import io
import json
import random
from pathlib import Path
from typing import Any

import kornia.augmentation
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torchvision.transforms.v2
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    StochasticWeightAveraging,
    TQDMProgressBar,
)
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, VisionNetwork, resolve_targets
from lightning_fv.callbacks import ArtifactWriter, GracefulStop, ImageLogger, PeriodicBlur, RenderProgress
from lightning_fv.engines.plan import Setup
from lightning_fv.errors import UsageError
from lightning_fv.objectives import L1, L2, Activations, Function, Logit, Objective
from lightning_fv.runs.job import make_jobs
from lightning_fv.runs.settings import callback_settings, objective_settings, optimizer_settings, settings_of
from tests.helpers import TinyNet, noise


class Holder(nn.Module):
    """A transform that holds anything."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, images: Tensor) -> Tensor:
        return images


def text(part: object) -> str:
    """What a job's id hashes."""
    return json.dumps(settings_of(part), sort_keys=True, allow_nan=False)


def ids(*transforms: nn.Module) -> list[str]:
    network = VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))
    targets = resolve_targets("logits:0", network)
    setups = [Setup(network, FeatureVisualizer(transforms=[t]), {"max_steps": 3}) for t in transforms]
    return [make_jobs(targets, 1, setup.settings)[0].id for setup in setups]


class Masked(Holder):
    """Holds its mask in one way or another."""

    def __init__(self, mask: Tensor, how: str) -> None:
        super().__init__()
        if how == "attribute":
            self.mask = mask
        elif how == "private":
            self._mask = mask
        elif how == "list":
            self.masks = [{"mask": mask}]
        elif how == "parameter":
            self.mask = nn.Parameter(mask)
        elif how == "child":
            self._inner = Masked(mask, "buffer")
        elif how == "hidden":
            self._what = mask
        elif how == "private buffer":
            self.register_buffer("_table", mask, persistent=False)
        else:
            self.register_buffer("mask", mask, persistent=how == "buffer")


@pytest.mark.parametrize(
    "how",
    ["attribute", "private", "list", "parameter", "child", "buffer", "derived buffer", "hidden", "private buffer"],
)
def test_five_masks_give_five_ids(how: str) -> None:
    masks = [noise(3, 4, seed=seed) for seed in range(4)]
    masks.append(masks[0].view(4, 3))
    assert len(set(ids(*(Masked(mask, how) for mask in masks)))) == 5
    assert len(set(ids(*(Masked(masks[0].clone(), how) for _ in range(3))))) == 1


class Kind(enum.Enum):
    ONE = "one"
    TWO = "two"


@dataclasses.dataclass
class Range:
    low: float
    high: float


class Slotted:
    __slots__ = ("_high", "low")

    def __init__(self, low: int, high: int) -> None:
        self.low, self._high = low, high

    def settings(self) -> dict[str, object]:
        return {"low": self.low, "high": self._high}


class Described:
    def __init__(self, value: int) -> None:
        self._anything, self._handle = value, object()

    def settings(self) -> dict[str, object]:
        return {"value": self._anything}


def double(x: Tensor) -> Tensor:
    return 2 * x


def times(factor: float) -> Any:
    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def wrapped(x: Tensor) -> Tensor:
            return factor * function(x)

        return wrapped

    return decorate


@times(3.0)
def decorated(x: Tensor) -> Tensor:
    return x


DIFFERENT: list[Any] = [
    None, True, 1, 2, 1.5, float("nan"), float("inf"), -float("inf"), "", "1", "None", b"1", b"2", [], [1], [1, [2]], [[1], 2],
    {}, {"a": 1}, {"a": None}, {1: "a"}, {"1": "a"}, {"b": 1}, {1, 2}, Path("mask.png"), Path("other.png"), Kind.ONE, Kind.TWO,
    torch.float32, torch.float64, torch.device("cpu"), torch.channels_last, torch.relu, torch.sigmoid, torch.Tensor.relu,
    nn.functional.relu, double, decorated, functools.partial(double, 1), functools.partial(double, 2), functools.partial(double, x=2),
    nn.ReLU, nn.GELU, Range(0.0, 1.0), Range(0.0, 2.0), L1(), L1(center=0.4), L2(), 0.5 * L1(), L1() + L2(), Described(1),
    Described(2), torch.zeros(2), torch.zeros(3), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int32), np.ones(2),
    np.ones(2, dtype=np.float32), torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(0.0, 2.0), Slotted(1, 2),
    Slotted(1, 3), random.Random,
]  # fmt: skip


def test_different_values_of_an_attribute_are_different_settings() -> None:
    texts = [text(Holder(value=value)) for value in DIFFERENT] + [text(Holder()), text(Holder(other=None))]
    same = [(a, b) for a in range(len(texts)) for b in range(a) if texts[a] == texts[b]]
    assert same == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, 2), [1, 2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1: "a", "1": 2}, {"1": 2, 1: "a"}),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        (torch.ones(2, 3).T, torch.ones(3, 2)),
        (torch.ones(2), nn.Parameter(torch.ones(2))),
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
    ],
)
def test_equal_values_are_equal_settings(one: object, other: object) -> None:
    assert text(Holder(value=one)) == text(Holder(value=other))


def a_closure() -> Any:
    strength = 3.0
    return lambda x: strength * x


def an_inner_function() -> Any:
    def double(x: Tensor) -> Tensor:
        return 2 * x

    return double


REFUSED = {
    "lambda": (lambda x: x, "Holder.value is a lambda"),
    "closure": (a_closure(), "Holder.value is a lambda"),
    "inner function": (an_inner_function(), "Holder.value is a function defined inside a function"),
    "closure by its own name": (times(4.0)(double), "Holder.value is a closure"),
    "partial": (functools.partial(an_inner_function()), "Holder.value is a function defined inside"),
    "file": (io.StringIO(), "Holder.value is an object of type"),
    "object": (object(), "Holder.value is an object of type object"),
    "generator": (torch.Generator(), "Holder.value is an object of type Generator"),
    "method": (Range(0.0, 1.0).__eq__, "Holder.value is a method of an object of type Range"),
    "nested": ([{"a": object()}], r"Holder.value\[0\]\['a'\] is an object"),
    "in a partial": (functools.partial(double, object()), r"Holder.value.args\[0\] is an object"),
    "inside of a part": (Holder(inner=object()), "Holder.value.inner is an object"),
    "array of objects": (np.array([object()]), "Holder.value is an array of objects"),
    "sparse": (torch.eye(3).to_sparse(), "Holder.value is a tensor without plain values"),
    "no data": (torch.empty(3, device="meta"), "Holder.value is a tensor without plain values"),
    "complex": (1j, "Holder.value is an object of type complex"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_described_is_refused_in_one_line(what: str) -> None:
    value, told = REFUSED[what]
    with pytest.raises(UsageError, match=f"^the setting {told}.* give Holder a method settings") as raised:
        ids(Holder(value=value))
    assert "\n" not in str(raised.value)


def test_more_that_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(UsageError, match="settings of Holder contain themselves"):
        settings_of(Holder(value=endless))
    with pytest.raises(UsageError, match="a TorchScript module"):
        settings_of(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)))

    class Wrong(Holder):
        def settings(self) -> object:
            return [1]

    with pytest.raises(UsageError, match=r"Wrong.settings\(\) returns a list; it must return a mapping"):
        settings_of(Wrong())


def test_mode_caches_and_plain_private_attributes_are_no_settings() -> None:
    one, other = Holder(), Holder()
    one.eval()
    one._cache = object()
    assert text(one) == text(other)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: kornia.augmentation.RandomAffine(10.0 * x),
        lambda x: kornia.augmentation.RandomGaussianNoise(std=x),
        lambda x: nn.Sequential(kornia.augmentation.ColorJitter(x, 0.1, 0.1, 0.1)),
        lambda x: kornia.augmentation.RandomRotation(20.0 * x),
        lambda x: torchvision.transforms.v2.RandomRotation(20.0 * x),
        lambda x: torchvision.transforms.v2.Compose([torchvision.transforms.v2.GaussianBlur(3, x)]),
        lambda x: nn.Conv2d(3, 3, 1, padding=int(10 * x)).requires_grad_(False).apply(lambda m: m.weight.data.fill_(1)),
        lambda x: nn.Dropout(x),
    ],
)
def test_transforms_of_others_are_described_by_value(make: Any) -> None:
    def of(x: float) -> dict[str, Any]:
        torch.manual_seed(0)
        return settings_of(make(x))

    assert of(0.2) == of(0.2) != of(0.3)


def test_optimizers_are_described_with_all_their_options() -> None:
    parameters = [nn.Parameter(torch.zeros(1))]
    made = [
        torch.optim.Adam(parameters, lr=0.1),
        torch.optim.AdamW(parameters, lr=0.1),
        torch.optim.Adam(parameters, lr=0.1, betas=(0.8, 0.999)),
        torch.optim.Adam(parameters, lr=torch.tensor(0.1)),
        torch.optim.Adam(parameters, lr=torch.tensor(0.2)),
        torch.optim.Adam([{"params": parameters, "lr": 0.3}], lr=0.1),
        torch.optim.LBFGS(parameters),
    ]
    texts = [json.dumps(optimizer_settings(optimizer), sort_keys=True) for optimizer in made]
    assert len(set(texts)) == len(texts)
    assert optimizer_settings(made[0])["class"] == "torch.optim.adam.Adam"
    assert optimizer_settings(made[5])["lr"] == 0.3


class Watch(pl.Callback):
    def __init__(self, every: int, told: object = None) -> None:
        self._every, self.told = every, told


def test_callbacks_that_only_observe_are_left_out() -> None:
    observers: list[pl.Callback] = [
        TQDMProgressBar(), ModelCheckpoint(), RenderProgress(interval=1.0), ImageLogger(side=50), ArtifactWriter(),
        GracefulStop(lambda: None),
    ]  # fmt: skip
    blur = PeriodicBlur(3)
    assert callback_settings([*observers, blur]) == callback_settings([blur]) == [settings_of(blur)]


def test_other_callbacks_are_described_or_refused() -> None:
    different = [
        PeriodicBlur(3), PeriodicBlur(4), EarlyStopping("objective"), EarlyStopping("objective", patience=9),
        StochasticWeightAveraging(0.1), StochasticWeightAveraging(0.2), Watch(1), Watch(2), LambdaCallback(),
    ]  # fmt: skip
    texts = [json.dumps(callback_settings([callback])) for callback in different]
    assert len(set(texts)) == len(texts)
    with pytest.raises(UsageError, match=r"the setting LambdaCallback\.on_fit_start is a lambda"):
        callback_settings([LambdaCallback(on_fit_start=lambda *_: None)])
    with pytest.raises(UsageError, match=r"the setting Watch.told is an object .* give Watch a method settings\(\)"):
        callback_settings([Watch(1, object())])


class Weighted(Objective):
    """Holds any plain value, and is as large as its number of letters."""

    strength = 1.0

    def __init__(self, value: object = []) -> None:
        self.value = value

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return len(repr(self.value)) * images.flatten(1).mean(1)


class Hidden(nn.Module):
    """Holds its factor where nobody looks for it."""

    strength = 1.0

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._f = factor

    def forward(self, images: Tensor) -> Tensor:
        return self._f * images


class Bound:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return self.factor * images.flatten(1).mean(1)


class Boosted(torch.optim.Adam):
    def __init__(self, parameters: Any, boost: float) -> None:
        super().__init__(parameters, lr=0.1)
        self._b = boost


def contrast(spread: bool) -> Any:
    if spread:

        def measure(activations: Activations, images: Tensor) -> Tensor:
            return images.flatten(1).std(1)
    else:

        def measure(activations: Activations, images: Tensor) -> Tensor:
            return images.flatten(1).mean(1)

    return measure


def times_mean(factor: Any) -> Any:
    return lambda activations, images: factor * images.flatten(1).mean(1)


def scaled(activations: Activations, images: Tensor, factor: float) -> Tensor:
    return factor * images.flatten(1).mean(1)


def local(factor: float) -> nn.Module:
    class Local(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return factor * images

    return Local()


def same_name(module: str) -> Objective:
    made: Objective = type("Same", (Weighted,), {"__module__": module})(1)
    return made


def grown(count: int) -> Objective:
    """The default of its argument, longer than it was."""
    made = Weighted()
    made.value[:] = [1] * count  # type: ignore[index]
    return made


def net(change: Any = None, **options: Any) -> VisionNetwork:
    module = TinyNet()
    if change is not None:
        change(module)
    return VisionNetwork(module, **{"mean": (0.5,) * 3, "std": (0.2,) * 3, "input_size": (24, 20), **options})


def hooked(part: nn.Module, factor: float) -> nn.Module:
    part.register_forward_hook(lambda module, inputs, output: factor * output)
    return part


PAIRS: dict[str, Any] = {
    "precision": lambda x: {"targets": Weighted(np.float32(0.1) if x else 0.1)},
    "sign of zero": lambda x: {"targets": Weighted(-0.0 if x else 0.0)},
    "weight of a term": lambda x: {"targets": Logit(0) + (1e-17 if x else 2e-17) * Logit(1)},
    "tuple or list": lambda x: {"targets": Weighted((1,) if x else [1])},
    "default that changed": lambda x: {"targets": grown(x)},
    "class of the same name": lambda x: {"targets": same_name("here" if x else "there")},
    "function of the same name": lambda x: {"targets": Function(contrast(bool(x)), layers=[])},
    "captured number": lambda x: {"targets": Function(times_mean(x), layers=[], name="f")},
    "in a sum": lambda x: {"targets": 2.0 * Function(times_mean(x), layers=[], name="f") + Logit(0)},
    "captured tensor": lambda x: {"targets": Function(times_mean(torch.tensor(x)), layers=[], name="f")},
    "partial": lambda x: {"targets": Function(functools.partial(scaled, factor=x), layers=[], name="f")},
    "callable object": lambda x: {"targets": Function(Bound(x), layers=[], name="f")},
    "bound method": lambda x: {"targets": Function(Bound(x).__call__, layers=[], name="f")},
    "hidden argument": lambda x: {"transforms": [Hidden(x)]},
    "local class": lambda x: {"transforms": [local(x)]},
    "hook": lambda x: {"transforms": [hooked(nn.Identity(), x)]},
    "optimizer's hidden argument": lambda x: {"optimizer": lambda parameters: Boosted(parameters, x)},
    "length of a stage": lambda x: {"stage_steps": x + 1},
    "size in pixels or a fraction": lambda x: {"size": 1.0 if x else 1, "transforms": []},
    "mean": lambda x: {"network": net(mean=np.full(3, 0.4 + x))},
    "fixed size": lambda x: {"network": net(fixed_size=bool(x)), "size": 20},
    "training size": lambda x: {"network": net(input_size=(24 + x, 20)), "size": 20},
    "activation": lambda x: {"network": net(lambda m: setattr(m, "relu", nn.Tanh() if x else nn.ReLU()))},
    "slope of an activation": lambda x: {"network": net(lambda m: setattr(m, "relu", nn.LeakyReLU(0.1 + x)))},
    "network's factor": lambda x: {"network": net(lambda m: setattr(m, "factor", x))},
    "network's hook": lambda x: {"network": net(lambda m: hooked(m.conv1, x))},
    "network's buffer": lambda x: {"network": net(lambda m: m.register_buffer("b", torch.tensor(x), persistent=False))},
}


@pytest.mark.filterwarnings("ignore:.*lead to incorrect.*")
@pytest.mark.parametrize("what", PAIRS)
def test_what_differs_has_other_ids(what: str) -> None:
    found = []
    for x in (0, 1, 0):
        recipe = dict(PAIRS[what](x))
        network, targets = recipe.pop("network", None) or net(), recipe.pop("targets", "logits:0")
        setup = Setup(network, FeatureVisualizer(**recipe), {"max_steps": 3})
        details = [objective_settings(target.objective) for target in resolve_targets(targets, network)]
        found.append(make_jobs(resolve_targets(targets, network), 1, setup.settings, details)[0].id)
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("kind", [Weighted, Hidden])
def test_attributes_of_a_class_are_settings(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = text(kind(1.0))
    monkeypatch.setattr(kind, "strength", 2.0)
    assert text(kind(1.0)) != before


def test_a_whole_number_is_a_float_where_one_is_declared() -> None:
    assert text(L1(1)) == text(L1(1.0))
    assert repr(L1(2)) == repr(L1(2.0)) == "L1(2.0)"
    assert text(Holder(value=1)) != text(Holder(value=1.0))
    parameters = [nn.Parameter(torch.zeros(1))]
    of_whole, of_float = (optimizer_settings(torch.optim.Adam(parameters, lr=lr)) for lr in (1, 1.0))
    assert json.dumps(of_whole) == json.dumps(of_float)
