"""A batch in parts: the same gradient, and what happens when the memory is short."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, VisionNetwork, render, resolve_targets
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.commands.main import main
from lightning_fv.errors import DeviceMemoryError, UsageError
from lightning_fv.objectives import L1, Channel, Logit
from lightning_fv.optimization.objective_gradient import ChunkedObjective, ObjectiveGradient
from tests.engines.runs import plan_of, work
from tests.helpers import TinyNet, noise

TARGETS: list[Any] = [
    "logits:0-2",
    "conv1:3",
    Channel("conv1", 2) - 0.5 * L1(),
    "conv2",
    Logit(3) - Logit(4),
    -1.0 * L1(),
]


class _Full(torch.autograd.Function):
    """Fills the memory on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Small(TinyNet):
    """TinyNet on a device whose memory holds so many values of pictures: full on the way there, or on the way back."""

    def __init__(self, most: int, back: bool = False) -> None:
        super().__init__()
        self.most, self.back = most, back

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() > self.most and not self.back:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        logits = super().forward(x)
        return _Full.apply(logits) if x.numel() > self.most and torch.is_grad_enabled() else logits  # type: ignore[return-value]


def network(module: nn.Module) -> VisionNetwork:
    return VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))


@pytest.mark.parametrize("chunk", [1, 3, 8, 100])
@pytest.mark.parametrize("redirected", [False, True, torch.arange(8) % 2 == 0], ids=["off", "on", "some"])
def test_chunks_have_the_gradient_of_the_whole(chunk: int, redirected: bool | Tensor) -> None:
    tiny = network(TinyNet())
    targets = resolve_targets(TARGETS, tiny)
    seen, images = noise(8, 3, 24, 20).sigmoid(), noise(8, 3, 26, 22, seed=1).sigmoid()
    with tiny.frozen():
        whole, parts = (ChunkedObjective(tiny, targets, size)(seen, images, redirected) for size in (None, chunk))
    for name in ("objectives", "by_seen", "by_images"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-5, atol=1e-7, msg=name)


def test_a_backward_pass_goes_through_the_precomputed_gradient() -> None:
    """Against autograd through the same function without a cut, with weights that differ by picture."""
    seen, images = (noise(3, 3, 4, 5, seed=seed).requires_grad_() for seed in (0, 1))
    weights = torch.tensor([2.0, -1.0, 0.5])

    def function(seen: Tensor, images: Tensor) -> Tensor:
        return seen.sin().flatten(1).sum(1) * images.flatten(1).mean(1)

    expected = torch.autograd.grad((weights * function(seen, images)).sum(), (seen, images))
    objectives = function(seen, images)
    by_seen, by_images = torch.autograd.grad(objectives.sum(), (seen, images))
    attached = ObjectiveGradient(objectives.detach(), by_seen, by_images).attach(seen, images)
    assert torch.equal(attached, objectives)
    found = torch.autograd.grad((weights * attached).sum(), (seen, images), retain_graph=True)
    torch.testing.assert_close(found, expected)
    with pytest.raises(AttributeError):  # rather than a gradient that was scaled twice
        torch.autograd.grad(attached.sum(), (seen, images))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_nonfinite_objective_has_a_gradient_of_nan(value: float) -> None:
    seen = noise(3, 3, 4, 5).requires_grad_()
    gradient = ObjectiveGradient(torch.tensor([1.0, value, 0.0]), torch.ones(3, 3, 4, 5), None)
    (-gradient.attach(seen, seen).sum()).backward()
    assert seen.grad is not None
    assert bool(seen.grad[1].isnan().all())
    assert bool((seen.grad[[0, 2]] == -1).all())


def test_a_unit_is_inactive_if_it_gives_zero_and_no_gradient() -> None:
    by_seen, by_images = torch.zeros(5, 3, 2, 2), torch.zeros(5, 3, 2, 2)
    by_seen[1, 0, 1, 0], by_images[2, 2, 0, 1] = -1e-6, 1e-6
    objectives = torch.tensor([0.0, 0.0, 0.0, -0.5, torch.nan])
    assert ObjectiveGradient(objectives, by_seen, by_images).active.tolist() == [False, True, True, True, True]
    assert ObjectiveGradient(objectives, by_seen, None).active.tolist() == [False, True, False, True, True]


def test_the_chunk_of_a_visualizer_changes_nothing_but_rounding() -> None:
    tiny = network(TinyNet())
    whole, parts = (
        render(tiny, TARGETS, visualizer=FeatureVisualizer(chunk=chunk), steps=8, progress=False) for chunk in (None, 3)
    )
    torch.testing.assert_close(parts.images, whole.images, rtol=0, atol=1e-3)
    torch.testing.assert_close(parts.scores, whole.scores, rtol=0.02, atol=1e-4)
    assert parts.recipe == whole.recipe  # and so the job's id
    with pytest.raises(UsageError, match="chunk"):
        FeatureVisualizer(chunk=0)


@pytest.mark.parametrize("back", [False, True])
def test_memory_that_is_full_halves_what_passes_together(back: bool) -> None:
    module = Small(3 * 3 * 24 * 20, back)
    with pytest.warns(UserWarning, match="out of memory on cpu with") as warned:
        short = render(network(module), "logits:0-4+conv1:0-2", steps=6, progress=False)
    told = [str(warning.message) for warning in warned if "out of memory" in str(warning.message)]
    assert len(told) == 2  # 8, 4, 2: never again
    assert "from here on the batch of 8 is processed 2 at a time" in told[1]
    assert {record.status for record in short.records} == {"done"}
    plain = render(network(TinyNet()), "logits:0-4+conv1:0-2", steps=6, progress=False)
    torch.testing.assert_close(short.images, plain.images, rtol=0, atol=1e-3)


def test_one_picture_that_does_not_fit_is_one_line() -> None:
    module = Small(3 * 30 * 30)
    with (
        pytest.warns(UserWarning, match="out of memory"),
        pytest.raises(
            DeviceMemoryError, match=r"even one picture of 34x34 px of a batch of 2 .*--model.size"
        ) as raised,
    ):
        render(network(module), "logits:0-1", size=20, steps=20, progress=False, transforms=[],
               callbacks=[ProgressiveUpscale(to=40, factor=1.3, every=4)])  # fmt: skip
    assert "\n" not in str(raised.value)


def test_the_chunk_is_in_the_checkpoint_and_may_be_asked_for_on_resume(tmp_path: Path) -> None:
    tiny = network(TinyNet())
    targets = resolve_targets("logits:0-3", tiny)
    one = FeatureVisualizer().bind(tiny, targets)
    assert one.chunked_objective is not None
    one.chunked_objective.chunk = 2  # what a full memory leaves behind
    checkpoint: dict[str, Any] = {"state_dict": one.state_dict()}
    one.on_save_checkpoint(checkpoint)
    for asked, used in ((None, 2), (3, 3)):
        other = FeatureVisualizer(chunk=asked).bind(tiny, targets)
        other.on_load_checkpoint(checkpoint)
        assert other.chunked_objective is not None
        assert other.chunked_objective.chunk == used
    run, quick = tmp_path / "run", ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    assert main(["--out", str(run), *quick, "--targets", "logits:0", "--trainer.max_steps", "1"]) == 0
    assert main(["--out", str(run), *quick, "--resume", "--model.chunk", "4"]) == 0


class Filling(nn.Module):
    """A layer that no device's memory holds; cuDNN says it in words."""

    def __init__(self, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_does_not_stop_the_others(tmp_path: Path, error: type[RuntimeError]) -> None:
    """Deeper targets need more: here the network's second half does not fit, and its first does."""
    whole = network(TinyNet())
    plan = plan_of("logits:0+conv1:3", 1, tmp_path / "run", recipe=FeatureVisualizer(), network=whole, max_steps=2)
    jobs, run = plan.jobs, plan.folder
    assert run is not None
    whole.module.conv2 = Filling(error)
    with pytest.warns(UserWarning, match=rf"job {jobs[0].id} \(logits:0\) failed: out of memory .* does not fit"):
        first, second = work(plan)
    assert (first.has_failures, first.pictures, second.has_failures) == (True, None, False)
    assert "does not fit" in str(first.records[0].error)
    assert [first.records[0].status, second.records[0].status] == ["failed", "done"]
    assert [run.done(job) is not None for job in jobs] == [False, True]
    plan.jobs, plan.folder, plan.fail_fast = jobs[::-1], None, True
    with pytest.warns(UserWarning, match="failed"):
        assert [result.has_failures for result in work(plan)] == [False, True]
