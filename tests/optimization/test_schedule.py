from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from lightning_fv import FeatureVisualizer, render
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.commands.main import main
from lightning_fv.errors import UsageError
from lightning_fv.optimization.schedule import check_schedule
from lightning_fv.runs.settings import scheduler_settings
from tests.engines.runs import Signal, again, plan_of, work
from tests.processes import pictures

WORDS = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "6"]


def adam(parameters: Any) -> Optimizer:
    return Adam(parameters, lr=0.1)


def halves(optimizer: Optimizer) -> LRScheduler:
    return StepLR(optimizer, step_size=3)


def warm(step: int) -> float:
    return min(1.0, step / 4)


class Rates(pl.Callback):
    """Notes the learning rate of every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def settings(self) -> None:
        return None

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])


def test_the_rate_follows_the_schedule_step_by_step_also_while_pictures_grow() -> None:
    rates = Rates()
    callbacks = [rates, ProgressiveUpscale(to=64, factor=1.5, every=2)]
    with pytest.raises(UsageError, match="lambda"):  # which no run could be told apart by
        FeatureVisualizer(lr_scheduler=lambda optimizer: LambdaLR(optimizer, lambda step: 1.0)).describe()
    recipe = FeatureVisualizer(size=24, optimizer=adam, lr_scheduler=lambda optimizer: CosineAnnealingLR(optimizer, 8))
    render("demo", "logits:3", visualizer=recipe, steps=8, callbacks=callbacks, progress=False)
    reference = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, expected = CosineAnnealingLR(reference, 8), []
    for _ in range(8):
        expected.append(reference.param_groups[0]["lr"])
        reference.step()
        schedule.step()
    assert rates.rates == expected


def test_an_interrupted_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    found = {}
    for schedule in (halves, None):
        for name, callbacks in (("whole", []), ("stopped", [Signal(4)])):
            recipe = FeatureVisualizer(size=24, optimizer=adam, lr_scheduler=schedule)
            folder = tmp_path / f"{name} {schedule}"
            plan = plan_of("logits:3-4", 2, folder, callbacks, recipe, max_steps=8)
            work(plan)
            if callbacks:
                work(again(plan, setup=replace(plan.setup, options={**plan.setup.options, "callbacks": []})))
            found[name, schedule] = pictures(folder)
    assert found["stopped", halves] == found["whole", halves] != found["whole", None]


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs_resumes_in_the_same_bits_too(tmp_path: Path, line_search: str | None) -> None:
    def make(parameters: Any) -> Optimizer:
        return LBFGS(parameters, lr=0.2, max_iter=3, line_search_fn=line_search)

    found = []
    for callbacks in ([], [Signal(4)]):
        recipe = FeatureVisualizer(size=24, optimizer=make)
        folder = tmp_path / f"run{len(callbacks)}"
        plan = plan_of("logits:3", 1, folder, [*callbacks, ProgressiveUpscale(to=32, every=3)], recipe, max_steps=6)
        work(plan)
        if callbacks:
            rest = [ProgressiveUpscale(to=32, every=3)]
            work(again(plan, setup=replace(plan.setup, options={**plan.setup.options, "callbacks": rest})))
        found.append(pictures(folder))
    assert found[0] == found[1] != {}


def test_by_class_path_and_in_a_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--model.lr_scheduler", "StepLR", "--model.lr_scheduler.step_size", "3"]
    assert main(["--targets", "logits:3", *WORDS, *short, "--out", "words"]) == 0
    schedule = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 3}}
    Path("own.yaml").write_text(yaml.safe_dump({"targets": "logits:3", "model": {"lr_scheduler": schedule}}))
    assert main(["--config", "own.yaml", *WORDS, "--out", "file"]) == 0
    assert main(["--targets", "logits:3", *WORDS, "--out", "constant"]) == 0
    options: dict[str, Any] = {"steps": 6, "progress": False, "accelerator": "cpu"}
    recipe = FeatureVisualizer(lr_scheduler=halves)
    render("demo", "logits:3", visualizer=recipe, out="python", **options)
    assert pictures(Path("words")) == pictures(Path("file")) != pictures(Path("constant"))
    for done in Path("python").glob("jobs/*/done.jsonl"):
        done.unlink()
    before = pictures(Path("python"))
    assert main(["--resume", "--out", "python"]) == 0
    assert pictures(Path("python")) == before


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda o: OneCycleLR(o, max_lr=1.0, total_steps=4), "model.lr_scheduler: Tried to step 5 times"),
        (lambda o: ReduceLROnPlateau(o), "ReduceLROnPlateau follows the mean objective of a batch"),
        (lambda o: LambdaLR(o, lambda step: -1.0), "the learning rate of LambdaLR is -0.1 at step 0"),
        (lambda o: ExponentialLR(o, 1e200), "the learning rate of ExponentialLR is inf at step 2"),
        (lambda o: CosineAnnealingLR(o), "missing 1 required positional argument: 'T_max'"),
        (lambda o: o, "it must make an LRScheduler, not an object of type Adam"),
    ],
)
def test_schedules_that_are_refused_before_the_first_step(make: Callable[[Any], Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_schedule(adam, make, 8)
    check_schedule(adam, lambda o: OneCycleLR(o, max_lr=1.0, total_steps=8), 8)
    check_schedule(adam, None, 8)
    check_schedule(LBFGS, halves, 8)


def test_what_is_no_schedule() -> None:
    with pytest.raises(UsageError, match="lr_scheduler is an object of type str"):
        FeatureVisualizer(lr_scheduler="StepLR").describe()  # type: ignore[arg-type]


def test_settings_tell_schedules_apart() -> None:
    def settings(make: Callable[[Optimizer], LRScheduler]) -> dict[str, Any]:
        return scheduler_settings(make(adam([torch.nn.Parameter(torch.zeros(1))])))

    makes: list[Callable[[Optimizer], LRScheduler]] = [
        lambda o: StepLR(o, 3),
        lambda o: StepLR(o, 4),
        lambda o: StepLR(o, 3, gamma=0.5),
        lambda o: OneCycleLR(o, 1.0, 10),
        lambda o: OneCycleLR(o, 2.0, 10),
        lambda o: OneCycleLR(o, 1.0, 10, anneal_strategy="linear"),
        lambda o: SequentialLR(o, [StepLR(o, 3), ExponentialLR(o, 0.5)], [2]),
        lambda o: SequentialLR(o, [StepLR(o, 3), ExponentialLR(o, 0.4)], [2]),
        lambda o: LambdaLR(o, warm),
    ]
    found = [repr(settings(make)) for make in makes]
    assert len(set(found)) == len(makes)
    assert found == [repr(settings(make)) for make in makes]
