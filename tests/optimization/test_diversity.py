"""Several pictures of one unit, kept from looking alike: against the formula, in chunks, and on the demo network."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network, render, resolve_targets
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.commands.main import main
from lightning_fv.errors import LayerNotFoundError, UsageError
from lightning_fv.objectives import L1, Channel, Facets, Layer, Logit, Objective, Probability
from lightning_fv.optimization.diversity import Comparison, layer_to_compare, mean_similarity
from lightning_fv.optimization.objective_gradient import ChunkedObjective
from lightning_fv.runs.record import read_manifest
from tests.engines.runs import Signal, plan_of, work
from tests.helpers import TinyNet, noise
from tests.processes import pictures

TARGETS: list[Any] = ["logits:0", "logits:1-2 x3", "conv1:3 x2", Facets(Channel("conv1", 2) - 0.5 * L1(), 2), "conv2"]
QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]


def network(module: nn.Module | None = None) -> VisionNetwork:
    return VisionNetwork(module or TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Of the Gram matrices of two features (C, ...)."""
    first, second = ((features.flatten(1) @ features.flatten(1).T).flatten() for features in (one, other))
    return torch.nn.functional.cosine_similarity(first, second, dim=0)


# -- what is compared


def test_similarity_is_the_mean_cosine_to_the_others() -> None:
    found = mean_similarity(noise(2, 5, 7), noise(4, 5, 7, seed=1), first=1)
    own, of_all = noise(2, 5, 7), noise(4, 5, 7, seed=1)
    for row in (0, 1):
        others = [other for number, other in enumerate(of_all) if number != row + 1]
        assert float(found[row]) == pytest.approx(float(sum(cosine(own[row], other) for other in others)) / 3, abs=1e-6)


def test_the_other_pictures_are_constants() -> None:
    features = noise(3, 5, 7).requires_grad_()
    (gradient,) = torch.autograd.grad(mean_similarity(features, features).sum(), features)
    for row in range(3):
        own = features[row].detach().requires_grad_()
        others = [cosine(own, other) for number, other in enumerate(features.detach()) if number != row]
        (expected,) = torch.autograd.grad(sum(others) / 2, own)  # type: ignore[arg-type]
        torch.testing.assert_close(gradient[row], expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_picture_that_is_not_finite_concerns_no_other(value: float) -> None:
    features = noise(3, 5, 7)
    features[1, 2, 3] = value
    features.requires_grad_()
    similarity = mean_similarity(features, features)
    (gradient,) = torch.autograd.grad(similarity.sum(), features)
    assert similarity.isfinite().tolist() == [True, False, True]
    assert gradient.flatten(1).isfinite().all(1).tolist() == [True, False, True]
    assert float(similarity[0].detach()) == pytest.approx(
        float(cosine(features.detach()[0], features.detach()[2])) / 2, abs=1e-6
    )


def test_units_with_several_pictures() -> None:
    found = Comparison(network(), resolve_targets(TARGETS, network())).units
    assert [unit.rows for unit in found] == [range(1, 4), range(4, 7), range(7, 9), range(9, 11)]
    assert [unit.layer for unit in found] == ["conv2", "conv2", "conv1", "conv1"]
    found = Comparison(network(), resolve_targets(TARGETS, network()), "relu").units
    assert {unit.layer for unit in found} == {"relu"}
    assert Comparison(network(), resolve_targets("logits:all+conv1:0-3", network())).units == []


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("objective", "layer"),
    [
        (Logit(3), "layer3"),
        (Probability(3), "layer3"),
        (Logit(3) - Logit(4), "layer3"),
        (L1(), "layer3"),
        (Channel("layer4", 3), "layer4"),
        (Channel("layer1.0.relu#1", 3), "layer1.0.relu#1"),
        (Layer("layer2") + Channel("layer1", 3) + Channel("layer4.0.conv1", 2), "layer4.0.conv1"),
        (Channel("layer2", 3) + Logit(2), "layer2"),
    ],
)
def test_the_layer_at_which_an_objective_is_compared(objective: Objective, layer: str) -> None:
    assert layer_to_compare(objective, load_network("demo")) == layer


def test_networks_without_blocks_or_layers() -> None:
    """No block ends before the last reduction; none that has one; no map; no layer."""
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    plain = nn.Sequential(features, nn.Flatten(), nn.LazyLinear(5))
    plain(torch.zeros(1, 3, 24, 20))
    assert layer_to_compare(Logit(0), network(plain)) == "0.1"
    level = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert layer_to_compare(Logit(0), network(level)) == "0"
    assert layer_to_compare(Logit(0), network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))) == "logits"
    assert layer_to_compare(Logit(0), network(Flat())) == "logits"


# -- the gradient


def test_the_gradient_is_that_of_the_formula() -> None:
    tiny = network()
    targets = resolve_targets("logits:1 x3+conv2:0", tiny)
    pictures = noise(4, 3, 24, 20).sigmoid()
    with tiny.frozen():
        found = ChunkedObjective(tiny, targets, diversity=2.0)(pictures, pictures)
        seen = pictures.clone().requires_grad_()
        layers = tiny.activations(seen, ["logits", "conv2"])
        objectives = torch.cat([layers["logits"][:3, 1], layers["conv2"][3:, 0].mean((1, 2))])
        maps = layers["conv2"]
        similar = [sum(cosine(maps[i], maps[j].detach()) for j in range(3) if j != i) / 2 for i in range(3)]
        penalty = 2 * objectives.detach().abs() * torch.stack([*similar, torch.zeros(())])  # type: ignore[list-item]
        (expected,) = torch.autograd.grad((objectives - penalty).sum(), seen)
    torch.testing.assert_close(found.objectives, objectives.detach())
    assert found.penalty is not None
    torch.testing.assert_close(found.penalty, penalty.detach())
    torch.testing.assert_close(found.by_seen, expected)
    assert torch.equal(found.attach(pictures, pictures), found.objectives - found.penalty)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 11])
def test_chunks_have_the_gradient_of_the_whole(chunk: int) -> None:
    """A unit's pictures are compared with all others of the unit, whatever chunks they are in."""
    tiny = network()
    targets = resolve_targets(TARGETS, tiny)
    seen, images = noise(12, 3, 24, 20).sigmoid(), noise(12, 3, 26, 22, seed=1).sigmoid()
    with tiny.frozen():
        whole, parts = (ChunkedObjective(tiny, targets, size, 1.5)(seen, images) for size in (None, chunk))
        torch.testing.assert_close(
            *(ChunkedObjective(tiny, targets, size).similarity(images) for size in (None, chunk)), equal_nan=True
        )
    for name in ("objectives", "by_seen", "by_images", "penalty"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-7, msg=name)


@pytest.mark.parametrize("chunk", [None, 2])
def test_other_units_of_the_batch_do_not_matter(chunk: int | None) -> None:
    tiny = network()
    seen = noise(12, 3, 24, 20).sigmoid()
    with tiny.frozen():
        among = ChunkedObjective(tiny, resolve_targets(TARGETS, tiny), chunk, 1.5)(seen, seen)
        alone = ChunkedObjective(tiny, resolve_targets("logits:2 x3", tiny), chunk, 1.5)(seen[4:7], seen[4:7])
        changed = seen.clone()
        changed[:4] = changed[7:] = torch.nan
        beside = ChunkedObjective(tiny, resolve_targets(TARGETS, tiny), None, 1.5)(changed, changed)
    torch.testing.assert_close(alone.by_seen, among.by_seen[4:7], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(beside.by_seen[4:7], among.by_seen[4:7], rtol=1e-4, atol=1e-7)


class Counting(TinyNet):
    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(x)


@pytest.mark.parametrize(
    ("diversity", "chunk", "passes"), [(0.0, None, 1), (1.0, None, 1), (0.0, 2, 2), (1.0, 2, 4), (1.0, 3, 2)]
)
def test_forward_passes_of_a_step(diversity: float, chunk: int | None, passes: int) -> None:
    """Layers are captured in the same pass; only a unit that is cut takes another."""
    module = Counting()
    tiny = network(module)
    objective = ChunkedObjective(tiny, resolve_targets("logits:1 x3+logits:2", tiny), chunk, diversity)
    seen, module.passes = noise(4, 3, 24, 20).sigmoid(), 0
    with tiny.frozen():
        objective(seen, seen)
    assert module.passes == passes


def test_without_diversity_no_further_layer_is_read() -> None:
    tiny = network()
    ran: list[int] = []
    tiny.module.conv2.register_forward_hook(lambda *_: ran.append(1))  # type: ignore[union-attr]
    objective = ChunkedObjective(tiny, resolve_targets("conv1:1 x3", tiny), diversity_layer="conv2")
    ran.clear()
    with tiny.frozen():
        assert objective(noise(3, 3, 24, 20), noise(3, 3, 24, 20)).penalty is None
    assert ran == []


# -- renders


def test_the_first_of_several_is_the_only_one_bit_for_bit() -> None:
    """In batches, or chunks, of the same size: with another, a picture differs by rounding."""
    demo = load_network("demo")
    several = render(demo, "logits:pizza x3", steps=8, size=32, progress=False)
    others = render(demo, "logits:pizza,lion,iPod", steps=8, size=32, progress=False)
    assert torch.equal(several.images[0], others.images[0])
    assert float((several.images[1] - several.images[0]).abs().mean()) > 0.05
    visualizer = FeatureVisualizer(size=32, chunk=1, diversity=1.0)  # of which a single picture sees nothing
    with pytest.warns(UserWarning, match="no target has several; write LAYER:UNIT x4"):
        alone = render(demo, "logits:pizza", steps=8, visualizer=visualizer, progress=False)
    single = render(demo, "logits:pizza", steps=8, visualizer=FeatureVisualizer(size=32, chunk=1), progress=False)
    assert torch.equal(alone.images, single.images)
    first = render(demo, "logits:pizza x2", steps=8, visualizer=FeatureVisualizer(size=32, chunk=1), progress=False)
    assert torch.equal(first.images[:1], single.images)


@pytest.mark.parametrize(("target", "least"), [("logits:king penguin x3", 0.15), ("layer4:12 x3", 0.3)])
def test_pictures_of_the_demo_network_differ_more(target: str, least: float) -> None:
    demo = load_network("demo")

    def similarities(diversity: float) -> tuple[float, float]:
        rendering = render(demo, target, steps=64, diversity=diversity, progress=False)
        similarity = [float(record.scores["similarity"]) for record in rendering.records]
        return sum(similarity) / 3, float(rendering.scores.mean())

    (alike, score), (different, lower) = similarities(0.0), similarities(1.0)
    assert different < alike - least
    assert lower > 0.8 * score


def test_full_memory_halves_the_batch_and_changes_nothing_but_rounding() -> None:
    class Small(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 3 and torch.is_grad_enabled():
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return super().forward(x)

    with pytest.warns(UserWarning, match="the batch of 8 is processed 2 at a time"):
        short = render(network(Small()), "logits:0 x5+logits:1 x3", steps=6, diversity=1.0, progress=False)
    whole = render(network(), "logits:0 x5+logits:1 x3", steps=6, diversity=1.0, progress=False)
    torch.testing.assert_close(short.images, whole.images, rtol=0, atol=1e-3)
    plain = render(network(), "logits:0 x5+logits:1 x3", steps=6, progress=False)
    assert float((plain.images - whole.images).abs().max()) > 0.01


class Failing(TinyNet):
    """NaN for the third picture of a batch in one step."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += len(x) == 4
        if self.calls == 5 and len(x) == 4:
            x = torch.cat([x[:2], x[2:3] * torch.nan, x[3:]])
        return super().forward(x)


def test_a_picture_that_becomes_nan_spoils_no_other_of_its_unit() -> None:
    tiny = network(Failing())
    rendering = render(tiny, "logits:1 x4", steps=12, diversity=1.0, progress=False)
    assert {record.status for record in rendering.records} == {"done"}
    assert bool(rendering.images.isfinite().all())
    whole = render(network(), "logits:1 x4", steps=12, diversity=1.0, progress=False)
    assert rendering.scores[2] < 0.9 * whole.scores[2]  # its steps are shorter
    others = [0, 1, 3]
    torch.testing.assert_close(rendering.scores[others], whole.scores[others], rtol=0.02, atol=0)


def test_dead_units_are_found_and_restarted() -> None:
    tiny = network()
    with torch.no_grad():
        tiny.module.conv2.weight[0], tiny.module.conv2.bias[0] = 0, 0  # type: ignore[index,union-attr,operator]
    rendering = render(tiny, "logits:0 x2+logits:1 x2", steps=40, diversity=1.0, progress=False)
    assert [record.status for record in rendering.records] == ["dead", "dead", "done", "done"]
    assert [record.scores.get("restarts") for record in rendering.records] == [2, 2, None, None]
    assert [record.scores.get("rank") is None for record in rendering.records] == [True, True, False, False]


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_run_that_was_stopped_is_continued_bit_for_bit(tmp_path: Path, chunk: int | None) -> None:
    recipe = FeatureVisualizer(size=16, diversity=1.5, chunk=chunk)
    growth = ProgressiveUpscale(to=24, every=3, factor=1.25, blur=0.0)
    options: dict[str, Any] = {"targets": "layer1:3 x3+logits:11 x2", "batch_size": 2, "recipe": recipe, "max_steps": 8}
    work(plan_of(folder=tmp_path / "whole", callbacks=[growth], **options))
    stopped = plan_of(folder=tmp_path / "run", callbacks=[growth, Signal(5)], **options)
    (result,) = work(stopped)
    assert (result.signal, result.records[0].steps) == (signal.SIGTERM, 5)
    work(plan_of(folder=tmp_path / "run", callbacks=[growth], **options))
    assert len(pictures(tmp_path / "run")) == 5
    assert pictures(tmp_path / "run") == pictures(tmp_path / "whole")


def test_a_recipe_of_the_command_line_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As another run's recipe through config.yaml, and in the ids of jobs."""
    args = ["--targets", "layer1:3 x2+logits:pizza x3", "--batch_size", "2", "--model.size", "16"]
    args += ["--model.diversity", "1.5", "--model.diversity_layer", "layer2", "--trainer.max_steps", "6"]
    grow = ["--trainer.callbacks+=ProgressiveUpscale", "--trainer.callbacks.to=24", "--trainer.callbacks.every=2"]
    args += [*grow, "--trainer.callbacks.factor=1.25", "--trainer.callbacks.blur=0"]
    runs = [tmp_path / name for name in ("run", "again", "plain")]
    assert main(["--out", str(runs[0]), *QUICK, *args]) == 0
    assert main(["--out", str(runs[1]), *QUICK, "--config", str(runs[0] / "config.yaml")]) == 0
    assert main(["--out", str(runs[2]), *QUICK, *args, "--model.diversity", "0"]) == 0
    found = [read_manifest(run / "manifest.jsonl") for run in runs]
    assert [record.target for record in found[0]] == [
        "layer1:3 #1", "layer1:3 #2", "logits:pizza #1", "logits:pizza #2", "logits:pizza #3",
    ]  # fmt: skip
    assert [record.id for record in found[0][1:3]] == ["layer1-0003-2", "logits-0011-pizza-1"]
    shown = [pictures(run) for run in runs]
    assert shown[1] == shown[0]
    assert all(shown[2][name] != pixels for name, pixels in shown[0].items())
    jobs = [{job.name for job in (run / "jobs").iterdir()} for run in runs]
    assert jobs[0] == jobs[1]
    assert jobs[0].isdisjoint(jobs[2])
    assert len(jobs[0]) == 2  # no unit is cut
    capsys.readouterr()
    assert main(["--out", str(runs[0]), "--resume", "--model.diversity", "2"]) == 2
    assert "model.diversity: 1.5 in the run, 2.0 now" in capsys.readouterr().err


def test_what_is_wrong_is_said_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (-1, float("nan"), float("inf"), "1", None):
        with pytest.raises(UsageError, match=r"^diversity is a weight, 0 or more, such as 1.0; got"):
            FeatureVisualizer(diversity=wrong)  # type: ignore[arg-type]
    for diversity in (0, 1):  # without it, the layer of the scores
        visualizer = FeatureVisualizer(diversity=diversity, diversity_layer="conv")
        with pytest.raises(LayerNotFoundError, match="did you mean conv"):
            render(network(), "logits:0 x2", visualizer=visualizer, progress=False)
    assert main(["--out", str(tmp_path / "run"), *QUICK, "--targets", "logits:0 x2", "--model.diversity", "-1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "diversity is a weight, 0 or more, such as 1.0; got -1.0" in line
    assert not (tmp_path / "run").exists()
