"""No optimizer makes the pictures of a batch depend on each other."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch.optim import LBFGS, SGD, Adafactor, Adam, AdamW, NAdam, Optimizer, RMSprop, Rprop

from lightning_fv import FeatureVisualizer, VisionNetwork, render
from lightning_fv.commands.main import main
from lightning_fv.engines.plan import Setup, batch_size_for, make_plan
from lightning_fv.errors import UsageError
from lightning_fv.optimization.coupling import behaviour, check_clipping, check_coupling
from tests.engines.runs import QUICK
from tests.helpers import TinyNet


def lbfgs(parameters: Iterable[Any]) -> Optimizer:
    return LBFGS(parameters, lr=0.5, max_iter=5, line_search_fn="strong_wolfe")


def network() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(24, 20))


@pytest.mark.parametrize("kind", [Adam, AdamW, NAdam, RMSprop, Rprop, SGD])
def test_optimizers_that_update_each_number_by_itself(kind: type[Optimizer]) -> None:
    found = behaviour(lambda parameters: kind(parameters, lr=0.1))  # type: ignore[call-arg]
    assert (found.name, found.couples, found.evaluates) == (kind.__name__, False, False)
    check_coupling(lambda parameters: kind(parameters, lr=0.1), 8)  # type: ignore[call-arg]


@pytest.mark.parametrize(("make", "evaluates"), [(lbfgs, True), (LBFGS, True), (lambda p: Adafactor(p, lr=0.1), False)])
def test_optimizers_that_do_not(make: Callable[[Iterable[Any]], Optimizer], evaluates: bool) -> None:
    assert behaviour(make).couples
    assert behaviour(make).evaluates == evaluates
    check_coupling(make, 1)
    with pytest.raises(
        UsageError, match=r"would make the 3 pictures of a batch depend on each other; .* --batch-size 1"
    ):
        check_coupling(make, 3)


def test_what_a_trial_cannot_run_is_left_to_the_render() -> None:
    class Picky(SGD):
        def step(self, closure: Any = None) -> Any:
            raise ValueError("not yours")

    assert not behaviour(lambda parameters: Picky(parameters, lr=1)).couples


def test_a_run_takes_one_picture_at_a_time_or_is_refused() -> None:
    setup = Setup(network(), FeatureVisualizer(optimizer=lbfgs), {**QUICK, "max_steps": 2, "callbacks": []})
    assert batch_size_for(setup, "logits:0-2", "auto") == 1
    assert len(make_plan(setup, "logits:0-2", 1).jobs) == 3
    with pytest.raises(UsageError, match="the 3 pictures of a batch"):
        make_plan(setup, "logits:0-2", 3)
    with pytest.raises(UsageError, match="the 2 pictures of a batch"):
        make_plan(setup, "logits:0 x2", 1)
    many = Setup(setup.network, setup.visualizer, {**setup.options, "accumulate_grad_batches": 2})
    with pytest.raises(UsageError, match="LBFGS evaluates the objective several times in a step"):
        make_plan(many, "logits:0", 1)


def test_a_picture_is_the_same_among_others() -> None:
    options: dict[str, Any] = {"optimizer": lbfgs, "steps": 6, "progress": False}
    several, alone = render(network(), "logits:0-2", **options), render(network(), "logits:2", **options)
    assert torch.equal(several.images[2], alone.images[0])


def test_it_climbs_faster_than_adam_without_transforms() -> None:
    """With the default transforms each step has another objective, and curvature means little."""
    options: dict[str, Any] = {"steps": 4, "progress": False, "transforms": []}
    start = render(network(), "logits:0", **{**options, "steps": 1}, optimizer=lambda p: SGD(p, lr=1e-9))
    newton, adam = render(network(), "logits:0", optimizer=lbfgs, **options), render(network(), "logits:0", **options)
    assert float(newton.scores - start.scores) > 2 * float(adam.scores - start.scores) > 0


def test_the_norm_of_a_batch_is_not_clipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--targets",
        "logits:0-1",
        "--trainer.max_steps",
        "1",
        "--trainer.gradient_clip_val",
        "1",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(words) == 2
    assert "all 2 pictures of a batch" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
    assert main([*words, "--batch-size", "1"]) == 0
    with pytest.raises(UsageError, match="gradient_clip_algorithm value"):
        check_clipping({"gradient_clip_val": 1.0, "gradient_clip_algorithm": GradClipAlgorithmType.NORM}, 2)


def test_other_clipping_is_per_picture() -> None:
    check_clipping({"gradient_clip_val": 1.0}, 1)
    check_clipping({"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}, 8)
    check_clipping({"gradient_clip_val": 0.0}, 8)
    check_clipping({}, 8)
