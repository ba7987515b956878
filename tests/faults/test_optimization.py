"""Faults that a render meets by itself or by what it is given."""

import gc
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, RandomWarp, VisionNetwork, load_network, render
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.commands.main import main
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.errors import TargetError, TransformError, UsageError
from lightning_fv.objectives import LOGITS, Objective
from lightning_fv.objectives.base import Activations
from lightning_fv.parameterizations import Fourier, Pixel
from lightning_fv.runs.picture import write_picture
from lightning_fv.runs.record import Record, read_manifest
from lightning_fv.transforms import KeyedTransform
from tests.engines.runs import plan_of, work
from tests.helpers import TinyNet


def tiny() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))


def test_divergence_is_told_by_the_command_and_fail_fast_stops_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step of this size overflows."""
    run, quick = tmp_path / "run", ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    broken = [
        "--model.optimizer.lr",
        "1e60",
        "--trainer.max_steps",
        "12",
        "--targets",
        "logits:0-2",
        "--batch-size",
        "1",
    ]
    assert main(["--out", str(run), *quick, *broken, "--fail-fast"]) == 1
    assert "0 of 3 targets done, 1 diverged, 2 pending" in capsys.readouterr().out
    records = read_manifest(run / "manifest.jsonl")
    assert [(record.status, record.steps) for record in records] == [("diverged", 12), ("pending", 0), ("pending", 0)]
    assert (run / str(records[0].image)).is_file()  # the last that was finite
    assert main(["--out", str(run), *quick, "--resume"]) == 1  # goes on to the end: what was asked once holds once
    told = capsys.readouterr().out
    assert "0 of 3 targets done, 3 diverged in" in told
    assert "\ndiverged       logits:goldfish, logits:jellyfish, logits:ladybug\n" in told


def test_fail_fast_in_python() -> None:
    recipe = FeatureVisualizer(optimizer=lambda p: torch.optim.Adam(p, lr=1e60, fused=True))
    rendering = render(tiny(), "logits:0-2", visualizer=recipe, batch_size=1, steps=12, fail_fast=True, progress=False)
    assert [record.status for record in rendering.records] == ["diverged", "pending", "pending"]
    assert rendering.images.isfinite().flatten(1).all(1).tolist() == [True, False, False]
    assert len(rendering.scores) == len(rendering.targets) == 3


def test_steps_that_are_too_large_are_said_in_one_line() -> None:
    recipe = FeatureVisualizer(Pixel(), optimizer=lambda p: torch.optim.Adam(p, lr=100.0))
    with pytest.warns(
        UserWarning, match=r"more than 90% .* in 2 of 2 pictures \(logits:0, logits:1\).*learning rate"
    ) as told:
        rendering = render(tiny(), "logits:0-1", visualizer=recipe, steps=10, progress=False)
    assert [len(str(warning.message).splitlines()) for warning in told] == [1]
    assert all(float(record.scores["saturated"]) > 0.9 for record in rendering.records)


def test_bfloat16_is_for_the_network_alone() -> None:

    def go(precision: str) -> Any:
        recipe = FeatureVisualizer(Fourier(decay=1.5))
        (result,) = work(plan_of("logits:0-2", 8, recipe=recipe, network=network, max_steps=12, precision=precision))
        return result

    network = load_network("demo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact, rough = go("32-true"), go("bf16-mixed")
    assert rough.pictures.dtype == torch.float32
    assert not torch.equal(exact.pictures, rough.pictures)  # it was on
    assert float((exact.pictures - rough.pictures).abs().mean()) < 0.02
    for one, other in zip(exact.records, rough.records, strict=True):
        assert other.score == pytest.approx(one.score, rel=0.25)  # a step's rounding grows over twelve


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_picture_that_is_not_finite_is_no_file(tmp_path: Path, value: float) -> None:
    picture = torch.full((3, 4, 5), 0.5)
    picture[1, 2, 3] = value
    record = Record("x", "logits:0", "tiny", "done", 1.0, None, [4, 5], 1, 0, 0.1)
    with pytest.raises(ValueError, match="NaN or infinite"):
        write_picture(tmp_path / "x.png", picture, record, {})
    assert list(tmp_path.iterdir()) == []


def test_too_small_is_said_before_anything_runs(tmp_path: Path) -> None:
    """For the network, for the network after the transforms, for a blur."""
    alexnet = VisionNetwork(torchvision.models.alexnet(), mean=(0.5,) * 3, std=(0.2,) * 3, name="alexnet")
    out = tmp_path / "run"
    with pytest.raises(
        TargetError, match=r"alexnet cannot process pictures of 20x20 px .* larger --model.size, such as 224"
    ):
        render(alexnet, "logits:0", size=20, steps=1, out=out, progress=False)
    crop = [RandomWarp(pad=0.0, crop=0.2)]
    with pytest.raises(TargetError, match=r"alexnet cannot process pictures of 25x25 px .* transforms that crop less"):
        render(alexnet, "logits:0", size=70, transforms=crop, steps=1, out=out, progress=False)
    assert not out.exists()
    with pytest.raises(UsageError, match=r"PeriodicBlur blurs 72 px to each side .* 24x20 px; set a smaller sigma"):
        render(tiny(), "logits:0", steps=1, callbacks=[PeriodicBlur(sigma=1.0)], progress=False)
    with pytest.raises(UsageError, match="ProgressiveUpscale blurs"):
        render(tiny(), "logits:0", steps=1, callbacks=[ProgressiveUpscale(to=60, blur=1.0)], progress=False)


class Keyed(KeyedTransform):
    """What a user may write, wrongly or not."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        made: dict[str, Any] = {
            "larger": nn.functional.interpolate(images, size=(31, 27)),
            "list": [images],
            "detached": images.detach(),
        }
        return made[self.how]  # type: ignore[no-any-return]


def test_transforms_of_ones_own(tmp_path: Path) -> None:
    rendering = render(tiny(), "logits:0-1", transforms=[Keyed("larger")], steps=2, progress=False)
    assert rendering.images.shape == (2, 3, 24, 20)
    for how, told in (
        ("list", "Keyed returned a list"),
        ("detached", "no gradient passes through the transform Keyed"),
    ):
        with pytest.raises(TransformError, match=told):
            render(tiny(), "logits:0", transforms=[Keyed(how)], steps=2, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


class Own(Objective):
    """An objective that a user may write, wrongly."""

    layers = frozenset((LOGITS,))

    def __init__(self, how: str) -> None:
        self.how, self.calls = how, 0

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        logits = activations[LOGITS]
        self.calls += 1
        if self.how == "raises" and self.calls > 3:
            raise ZeroDivisionError("mine")
        made: dict[str, Any] = {
            "scalar": logits.mean(),
            "all": logits,
            "number": 3.0,
            "detached": logits[:, 0].detach(),
            "constant": torch.ones(len(logits)),
            "raises": logits[:, 0],
        }
        return made[self.how]  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"Own({self.how!r})"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("scalar", r"returns \(\) for one picture"),
        ("all", r"returns \(1, 5\) for one picture"),
        ("number", "returns a float for one picture"),
        ("detached", "does not depend on the picture"),
        ("constant", "does not depend on the picture"),
    ],
)
def test_objectives_that_cannot_be_climbed(tmp_path: Path, how: str, told: str) -> None:
    with pytest.raises(TargetError, match=told):
        render(tiny(), [Own(how)], steps=1, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_no_hook_is_left_by_an_objective_that_raises() -> None:
    network = tiny()
    own = network.module.conv1.register_forward_hook(lambda *_: None)  # type: ignore[union-attr]
    objective = Own("raises")
    with pytest.raises(ZeroDivisionError, match="mine"):
        render(network, [objective, "conv2:1"], steps=9, progress=False)
    assert objective.calls > 3
    assert sum(len(module._forward_hooks) for module in network.module.modules()) == 1
    own.remove()
    assert render(network, "logits:0", steps=2, progress=False).records[0].status == "done"


def resident() -> int:
    """Bytes of this process that are in memory now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_is_flat_over_a_thousand_targets(tmp_path: Path) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(3, 1000, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).mean((2, 3))

    network = VisionNetwork(Wide(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(8, 8))
    plan = plan_of("logits:all", 8, tmp_path / "run", recipe=FeatureVisualizer(), network=network, max_steps=2)
    seen = []
    for result in WorkerEngine().run(plan):
        assert {record.status for record in result.records} == {"done"}
        del result
        seen.append((resident(), len(os.listdir("/proc/self/fd"))))
    assert len(seen) == 125
    assert seen[-1][0] < 1.03 * seen[2][0], [size >> 20 for size, _ in seen]
    assert seen[-1][1] == seen[2][1]


def test_alone_and_among_eight_and_twice() -> None:
    network, eight = tiny(), "logits:0-4+conv1:0-2"
    among = render(network, eight, steps=10, progress=False)
    assert torch.equal(among.images, render(network, eight, steps=10, progress=False).images)
    for row, target in ((3, "logits:3"), (6, "conv1:1")):
        alone = render(network, target, steps=10, progress=False)
        torch.testing.assert_close(among.images[row], alone.images[0], rtol=0, atol=1e-3)
        torch.testing.assert_close(among.scores[row], alone.scores[0], rtol=0.02, atol=0)


def test_alone_and_among_eight_to_the_end() -> None:
    """Another batch rounds otherwise, and a render makes much of little; of all 24 classes none is 2 % apart."""
    network, eight = load_network("demo"), "logits:0-5+layer3:5+layer1:2"
    early, late = (render(network, eight, steps=steps, progress=False) for steps in (10, 128))
    for row, target in ((1, "logits:1"), (3, "logits:3"), (6, "layer3:5"), (7, "layer1:2")):
        alone = render(network, target, steps=10, progress=False)
        torch.testing.assert_close(early.images[row], alone.images[0], rtol=0, atol=1e-3)
        alone = render(network, target, steps=128, progress=False)
        torch.testing.assert_close(late.scores[row], alone.scores[0], rtol=0.02, atol=0)
