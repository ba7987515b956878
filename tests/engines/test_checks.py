"""What is checked of options before any work. Each line here once was a traceback, a failed job, or a wrong picture."""

import math
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch.callbacks as callbacks_of_lightning
import pytest
import torch
from lightning.pytorch.callbacks import (
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
    Timer,
)
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.profilers import AdvancedProfiler
from torch import nn

from lightning_fv import VisionNetwork, load_network
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.engines import checks
from lightning_fv.engines.isolation import isolated
from lightning_fv.engines.plan import Setup, batch_size_for, make_plan
from lightning_fv.errors import FeatureVisualizationError, NetworkError, UsageError
from lightning_fv.objectives import L1, L2, TotalVariation
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.parameterizations import Fourier, Pixel
from lightning_fv.transforms import RandomNoise, RandomWarp
from tests.engines.runs import QUICK, tiny_plan, work
from tests.helpers import TinyNet

LENGTH = "the length of a render is set by trainer.max_steps alone"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_steps": 0}, "the length of a render, trainer.max_steps"),
        ({"max_steps": -1}, "must be at least 1, got -1"),
        ({"max_steps": 10**23}, "must be at most 2147483647, got 1000"),
        ({"max_epochs": 3}, "max_epochs is not supported"),
        ({"max_time": "00:01:00:00"}, "max_time is not supported"),
        ({"min_steps": 2}, LENGTH),
        ({"min_epochs": 1}, LENGTH),
        ({"overfit_batches": 1}, LENGTH),
        ({"fast_dev_run": True}, LENGTH),
        ({"fast_dev_run": 1}, LENGTH),
        ({"limit_train_batches": 0}, "limit_train_batches is not supported"),
        ({"limit_train_batches": "0"}, LENGTH),
        ({"limit_train_batches": 0.5}, LENGTH),
        ({"limit_train_batches": 1.0}, LENGTH),
        ({"barebones": True}, "it would leave out logs and checkpoints"),
        ({"precision": "16-true"}, "would round the pictures; use 32-true or bf16-mixed"),
        ({"strategy": "fsdp"}, "strategy fsdp is not supported"),
        ({"default_root_dir": "x"}, "the run's folder is given by --out"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches must be at least 1, got 0"),
        ({"accumulate_grad_batches": -1}, "must be at least 1, got -1"),
        ({"gradient_clip_val": math.nan}, "gradient_clip_val must be a finite number of at least 0, or null, got nan"),
        ({"gradient_clip_val": -1}, "got -1"),
        ({"callbacks": [Timer("00:00:00:01")]}, f"the callback Timer cannot be used: {LENGTH}"),
        ({"callbacks": EarlyStopping("objective")}, f"the callback EarlyStopping cannot be used: {LENGTH}"),
        ({"callbacks": [3]}, "trainer.callbacks must be Callbacks, got int"),
        ({"callbacks": [PeriodicBlur(sigma=5.0)]}, "PeriodicBlur blurs 300 px to each side"),
        ({"callbacks": [ProgressiveUpscale(to=8)]}, "ProgressiveUpscale grows to 8 px, but the pictures start at 20 px"),
        ({"callbacks": [ModelCheckpoint(dirpath="elsewhere")]}, "leave dirpath out"),
        ({"logger": CSVLogger("/tmp/elsewhere")}, "CSVLogger would write to /tmp/elsewhere: what a run writes stays inside"),
        ({"logger": [CSVLogger("logs"), TensorBoardLogger("../logs")]}, "TensorBoardLogger would write to ../logs"),
        ({"logger": TensorBoardLogger("logs", version="a/../../b")}, "give version as a relative path"),
        ({"logger": TensorBoardLogger("logs", name="~")}, "give name as a relative path"),
        ({"logger": MLFlowLogger.__new__(MLFlowLogger)}, "MLFlowLogger would write outside of the run folder"),
        ({"plugins": TorchCheckpointIO()}, "trainer.plugins must not hold a CheckpointIO"),
        ({"profiler": AdvancedProfiler(dirpath="/tmp/elsewhere")}, "AdvancedProfiler would write to /tmp/elsewhere"),
    ],
)  # fmt: skip
def test_options_that_would_not_be_followed_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as raised:
        tiny_plan(**options)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_determinism_that_torch_does_not_have_on_a_gpu_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda:0")))
    monkeypatch.setattr(checks, "check_trainer", lambda options: gpu)
    with (
        isolated(),
        pytest.raises(
            UsageError, match=r"deterministic true cannot be followed on a GPU: .*write --trainer.deterministic warn"
        ),
    ):
        tiny_plan(deterministic=True)
    for allowed in ("warn", False, None):
        with isolated():
            tiny_plan(deterministic=allowed)
    monkeypatch.undo()
    with isolated():
        tiny_plan(deterministic=True, accelerator="cpu")


NEED_A_FOLDER = (DeviceStatsMonitor, LearningRateMonitor, ModelCheckpoint)


def made(name: str) -> Callback:
    arguments: dict[str, dict[str, Any]] = {
        "EarlyStopping": {"monitor": "objective"},
        "GradientAccumulationScheduler": {"scheduling": {0: 2}},
        "ModelPruning": {"pruning_fn": "l1_unstructured"},
        "OnExceptionCheckpoint": {"dirpath": "x"},
        "StochasticWeightAveraging": {"swa_lrs": 0.1},
        "ThroughputMonitor": {"batch_size_fn": len},
        "Timer": {"duration": "00:00:00:01"},
    }
    callback: Callback = getattr(callbacks_of_lightning, name)(**arguments.get(name, {}))
    return callback


@pytest.mark.filterwarnings("ignore:.*overriding .LightningModule.optimizer")  # of GradientAccumulationScheduler
def test_every_callback_of_lightning_works_or_is_refused_in_one_line() -> None:
    """Refused at once; the others all together in a render, which has all its steps."""
    works, refused = dict[str, Callback](), dict[str, str]()
    for name in callbacks_of_lightning.__all__:
        try:
            callback = made(name)
            tiny_plan("logits:0", 1, callbacks=[callback])
        except ModuleNotFoundError:  # rich
            continue
        except UsageError as error:
            refused[name] = str(error)
        else:
            works[name] = callback
    assert works.keys() >= {
        "BasePredictionWriter", "Callback", "Checkpoint", "GradientAccumulationScheduler", "LambdaCallback", "ModelCheckpoint",
        "ModelSummary", "ProgressBar", "TQDMProgressBar",
    }  # fmt: skip
    others = [callback for name, callback in works.items() if not isinstance(callback, NEED_A_FOLDER)]
    one_bar = [callback for callback in others if type(callback) is not ProgressBar]  # Lightning allows one
    (result,) = work(tiny_plan("logits:0", 1, max_steps=3, callbacks=one_bar))
    assert (result.records[0].status, result.records[0].steps) == ("done", 3)
    assert refused.keys() >= {
        "BackboneFinetuning", "BatchSizeFinder", "EMAWeightAveraging", "EarlyStopping", "LearningRateFinder", "ModelPruning",
        "OnExceptionCheckpoint", "SpikeDetection", "StochasticWeightAveraging", "ThroughputMonitor", "Timer", "WeightAveraging",
    }  # fmt: skip
    assert all(name in told and "\n" not in told for name, told in refused.items())


def test_options_that_contradict_each_other_stop_the_run_in_one_line() -> None:
    plan = tiny_plan("logits:0", 1, callbacks=[LearningRateMonitor()], logger=False)
    with pytest.raises(UsageError, match=r"the Trainer cannot start: Cannot use `LearningRateMonitor`"):
        work(plan)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 10**4000}, "the seed must be a whole number from 0 to 9223372036854775807, got a number of about 4001 digits"),
        ({"seed": -1}, "got -1"),
        ({"seed": 0.5}, "got 0.5"),
        ({"checkpoint_seconds": 0.0}, "time between checkpoints must be above 0 s"),
        ({"checkpoint_seconds": math.nan}, "must be above 0 s, got nan"),
        ({"checkpoint_seconds": math.inf}, "must be at most 1e+09 s, got inf"),
    ],
)  # fmt: skip
def test_numbers_of_a_run(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_plan(replace(tiny_plan().setup, **changes), "logits:0", 1)
    assert told in str(raised.value)


def not_an_optimizer(parameters: Any) -> Any:
    return list(parameters)


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        (partial(torch.optim.Adam, lr=-1.0), "model.optimizer: Invalid learning rate: -1.0"),
        (partial(torch.optim.Adam, lr=math.inf), "the learning rate of Adam must be finite and above 0, got inf"),
        (partial(torch.optim.SGD, lr=0.0), "the learning rate of SGD must be finite and above 0, got 0"),
        (partial(torch.optim.SGD, lr=0.1, momentum=math.nan), "momentum of SGD must be finite, got nan"),
        (partial(torch.optim.Adam, nope=1), "unexpected keyword argument 'nope'"),
        (not_an_optimizer, "must make an Optimizer, not an object of type list"),
    ],
)
def test_optimizers_are_made_once_before_any_work(optimizer: Any, told: str) -> None:
    setup = replace(tiny_plan().setup, visualizer=FeatureVisualizer(optimizer=optimizer))
    with pytest.raises(UsageError) as raised:
        make_plan(setup, "logits:0", 1)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    "make",
    [
        *(partial(PeriodicBlur, sigma=value) for value in (math.nan, math.inf, 0.0)),
        *(
            partial(ProgressiveUpscale, **{name: value})
            for name in ("to", "factor", "blur")
            for value in (math.nan, math.inf, -1.0)
        ),
        *(partial(RandomNoise, std=value) for value in (math.nan, math.inf, -1.0)),
        *(
            partial(RandomWarp, **{name: value})
            for name in ("pad", "crop", "rotate")
            for value in (math.nan, math.inf, -1.0)
        ),
        *(partial(RandomWarp, scale=scale) for scale in ((math.nan, 1.0), (1.0, math.inf), (0.0, 1.0))),
        *(partial(kind, weight=value) for kind in (L1, L2, TotalVariation) for value in (math.nan, math.inf)),
        *(partial(kind, center=value) for kind in (L1, L2) for value in (math.nan, 2.0)),
        *(partial(kind, sd=value) for kind in (Fourier, Pixel) for value in (math.nan, math.inf, -1.0)),
        *(partial(Fourier, decay=value) for value in (math.nan, math.inf)),
        *(partial(FeatureVisualizer, stage_steps=value) for value in (0, 10**25)),
    ],
)
def test_parts_of_a_recipe_refuse_numbers_that_are_none(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


@pytest.mark.parametrize("size", [math.nan, math.inf, -math.inf, -5, 0, 10**9, "64x64", (16, 0), (16,), (16, 16, 16)])
def test_sizes_that_are_none(size: Any) -> None:
    setup = replace(tiny_plan().setup, visualizer=FeatureVisualizer(size=size))
    with pytest.raises(UsageError, match=r"^the size "):
        make_plan(setup, "logits:0", 1)


def network(**options: Any) -> VisionNetwork:
    return VisionNetwork(TinyNet().eval(), **{"mean": (0.5,) * 3, "std": (0.2,) * 3, "input_size": (16, 20), **options})


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"input_size": size}
            for size in ((0, 0), (-1, 5), (64, 10**8), (16,), 0, "16", "ab", ("16", "20"), None, 2.5)
        ),
        *({"mean": (value, 0, 0)} for value in (math.nan, math.inf)),
        *({"std": (value, 1, 1)} for value in (math.nan, math.inf, 0)),
    ],
)
def test_networks_with_impossible_preprocessing(options: dict[str, Any]) -> None:
    with pytest.raises(NetworkError):
        network(**options)


def test_one_number_is_a_square() -> None:
    assert network(input_size=16).input_size == (16, 16)
    loaded = load_network("demo/plain", None, input_size=48)
    assert loaded.source is not None
    assert loaded.input_size == loaded.source["input_size"] == (48, 48)
    with pytest.raises(NetworkError, match=r"the input size needs .*, or one number for a square, got '64'$"):
        load_network("demo/plain", None, input_size="64")  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match=r"got 0$"):
        load_network("demo/plain", None, input_size=0)


def test_an_input_size_that_the_network_cannot_process() -> None:
    small = VisionNetwork(nn.Conv2d(3, 5, 9), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(4, 4), name="large kernels")
    with pytest.raises(
        NetworkError, match=r"large kernels cannot process a picture of shape \(1, 3, 4, 4\): .+--input"
    ):
        make_plan(Setup(small, FeatureVisualizer(), QUICK), "logits:0", 1)


@pytest.mark.parametrize(
    ("count", "told"), [(1, "has 5 classes, but 1 class name;"), (4, "4 class names"), (6, "6 class")]
)
def test_class_names_are_as_many_as_logits(count: int, told: str) -> None:
    named = network(categories=[f"class {number}" for number in range(count)])
    for targets in ("logits:0", "conv1:2"):
        with pytest.raises(FeatureVisualizationError, match=told):
            make_plan(Setup(named, FeatureVisualizer(), QUICK), targets, 1)
    with pytest.raises(UsageError, match=told):  # before the names are looked up
        batch_size_for(Setup(named, FeatureVisualizer(), QUICK), "logits:cat", "auto")
    for categories in ((), [f"class {number}" for number in range(5)]):
        assert make_plan(Setup(network(categories=categories), FeatureVisualizer(), QUICK), "logits:0", 1).jobs


def test_what_is_allowed_but_rarely_meant_is_said_once() -> None:
    setup = replace(tiny_plan().setup, visualizer=FeatureVisualizer(size=0.2, penalties=[L1(-0.5), L2(0.5)]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        make_plan(setup, "logits:0", 1)
    assert [str(warning.message) for warning in told] == [
        "the size 0.2 gives pictures of 3x4 px",
        "the penalty L1 has the negative weight -0.5: it rewards what it measures",
    ]


def test_pictures_of_a_few_pixels_are_refused_unless_the_network_is_as_small() -> None:
    setup = tiny_plan().setup
    with pytest.raises(
        UsageError, match=r"the size 7 gives pictures of 7x7 px, .*at least 8 pixels, or 7\.0 for 7 times"
    ):
        make_plan(replace(setup, visualizer=FeatureVisualizer(size=7)), "logits:0", 1)
    assert make_plan(replace(setup, visualizer=FeatureVisualizer(size=8)), "logits:0", 1).jobs
    small = replace(setup, network=network(input_size=(4, 5)))
    assert make_plan(replace(small, visualizer=FeatureVisualizer(size=5)), "logits:0", 1).jobs
    with pytest.raises(UsageError, match="at least 5 pixels"):
        make_plan(replace(small, visualizer=FeatureVisualizer(size=(4, 4))), "logits:0", 1)


def test_one_callback_needs_no_list(tmp_path: Path) -> None:
    plan = tiny_plan("logits:0", 1, callbacks=[])
    alone = replace(plan.setup, options={**plan.setup.options, "callbacks": PeriodicBlur(every=2)})
    listed = replace(plan.setup, options={**plan.setup.options, "callbacks": [PeriodicBlur(every=2)]})
    assert make_plan(alone, "logits:0", 1).jobs[0].id == make_plan(listed, "logits:0", 1).jobs[0].id
    (result,) = work(replace(make_plan(alone, "logits:0", 1)))
    assert result.records[0].status == "done"
