"""Every flow of the package runs on a CUDA device, and ends as on the CPU."""

import os
import signal
from pathlib import Path
from typing import Any

import kornia.augmentation as K
import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_fv import FeatureVisualizer, VisionNetwork, VisualizeDuringTraining, render, resolve_targets
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.commands.main import main
from lightning_fv.engines.batch_size import measured_peaks
from lightning_fv.engines.plan import Setup, batch_size_for
from lightning_fv.errors import DeviceMemoryError
from lightning_fv.rendering import Rendering
from lightning_fv.runs.picture import read_picture_tensor
from lightning_fv.runs.record import read_manifest
from tests.helpers import TinyNet, noise, smooth_photos
from tests.mock_device.tensors import DeviceState


def tiny() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(32, 28))


def on(accelerator: str, targets: Any = "logits:0-3+conv1:2", steps: int = 20, **options: Any) -> Rendering:
    """A render of the tiny network; a recipe's own settings among the options go to the recipe."""
    return render(tiny(), targets, steps=steps, accelerator=accelerator, progress=False, **options)


def assert_alike(one: Rendering, other: Rendering, tolerance: float = 1e-3) -> None:
    assert [record.status for record in one.records] == [record.status for record in other.records]
    assert torch.allclose(one.images, other.images, atol=tolerance)
    assert torch.allclose(one.scores, other.scores, rtol=tolerance)


def test_a_render_without_a_folder_leaves_the_network_where_it_was_asked_for(mock_cuda: DeviceState) -> None:
    network = tiny()
    rendering = render(network, "logits:0-3", steps=4, accelerator="cuda", progress=False)
    assert rendering.images.device.type == "cpu"
    assert {record.status for record in rendering.records} == {"done"}
    assert_alike(rendering, render(tiny(), "logits:0-3", steps=4, accelerator="cpu", progress=False))


def test_a_render_with_a_folder_writes_the_pictures_that_it_returns(mock_cuda: DeviceState, tmp_path: Path) -> None:
    rendering = on("cuda", out=tmp_path / "run")
    assert_alike(rendering, on("cpu"))
    for record, image in zip(rendering.records, rendering.images, strict=True):
        assert torch.equal(read_picture_tensor(tmp_path / "run" / str(record.image)), (image * 255).round() / 255)
    assert (tmp_path / "run" / "gallery.html").is_file()


def test_mixed_precision(mock_cuda: DeviceState, tmp_path: Path) -> None:
    words = ["--targets", "logits:pizza", "--trainer.max_steps", "2", "--trainer.precision", "bf16-mixed"]
    with mock_cuda.ledger.counting() as counts:
        assert main([*words, "--out", str(tmp_path / "run"), "--trainer.accelerator", "cuda"]) == 0
    assert counts.names["convolution"] > 0
    (record,) = read_manifest(tmp_path / "run" / "manifest.jsonl")
    assert record.status == "done"


def test_growth_from_a_photo(mock_cuda: DeviceState) -> None:
    def go(accelerator: str) -> Rendering:
        recipe = FeatureVisualizer(size=20, moments="resample")
        growth = ProgressiveUpscale(to=40, factor=1.3, every=3)
        photo = smooth_photos(40, 36)[0]
        return on(accelerator, "logits:0-1", 10, visualizer=recipe, callbacks=[growth], start=photo)

    grown = go("cuda")
    assert max(grown.images.shape[2:]) > 28
    assert_alike(grown, go("cpu"), 3e-3)


class StopAt(pl.Callback):
    """Sends its own process a SIGTERM before a step; has no settings, so that the job stays the same."""

    def __init__(self, step: int) -> None:
        self.step = step

    def settings(self) -> None:
        """None."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_stopped_render_goes_on_and_ends_in_the_same_pictures(mock_cuda: DeviceState, tmp_path: Path) -> None:
    whole = on("cuda", out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        on("cuda", out=tmp_path / "run", callbacks=[StopAt(11)])
    (job,) = (tmp_path / "run" / "jobs").iterdir()
    assert [file.name for file in (job / "checkpoints").iterdir()] == ["step=12.ckpt"]
    resumed = on("cuda", out=tmp_path / "run")
    assert torch.equal(whole.images, resumed.images)


def wide(channels: int) -> VisionNetwork:
    """A network whose activations take more memory than anything else of a render."""
    layers = nn.Conv2d(3, channels, 1), nn.ReLU(), nn.Conv2d(channels, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()
    return VisionNetwork(nn.Sequential(*layers), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(32, 28))


def test_chunks_are_halved_when_memory_runs_out(mock_cuda: DeviceState) -> None:
    network = wide(32)

    def go(chunk: int | None = None) -> tuple[Rendering, int]:
        mock_cuda.peak = mock_cuda.allocated
        options: dict[str, Any] = {"visualizer": FeatureVisualizer(transforms=[], chunk=chunk), "batch_size": 20}
        rendering = render(network, "logits:0-4 x4", steps=3, accelerator="cuda", progress=False, **options)
        return rendering, mock_cuda.peak

    (roomy, whole), (in_tens, less) = go(), go(10)
    assert less < whole
    mock_cuda.capacity = (less + whole) // 2
    with pytest.warns(UserWarning, match=r"out of memory on cuda:0 with 20 pictures .*processed 10 at a time"):
        tight, _ = go()
    assert torch.equal(tight.images, in_tens.images)
    assert_alike(roomy, tight)


def test_a_picture_that_does_not_fit_is_said_in_one_line(mock_cuda: DeviceState) -> None:
    network = wide(256)
    recipe = FeatureVisualizer(transforms=[], chunk=1)
    options: dict[str, Any] = {"visualizer": recipe, "accelerator": "cuda", "progress": False, "batch_size": 2}
    render(network, "logits:0-1", steps=1, **options)
    mock_cuda.capacity = int(mock_cuda.peak * 0.6)
    with pytest.raises(DeviceMemoryError, match="even one picture"), pytest.warns(UserWarning, match="failed"):
        render(network, "logits:0-1", steps=1, **options)


def test_the_batch_size_is_measured(mock_cuda: DeviceState) -> None:
    recipe = FeatureVisualizer(transforms=[])
    on("cuda", "logits:0", 1, batch_size=1, visualizer=recipe)
    mock_cuda.capacity = mock_cuda.peak * 12
    sizes: list[int] = []
    rendering = on("cuda", "logits:0-4 x8", 2, visualizer=recipe, callbacks=[Batches(sizes)])
    assert len(rendering) == 40
    assert len(sizes) > 1


def test_the_step_that_needs_the_most_is_measured(mock_cuda: DeviceState) -> None:
    """One with redirected ReLUs, in all pictures or, after a restart, in some."""
    network, recipe = wide(32), FeatureVisualizer(transforms=[])
    targets = resolve_targets("logits:0 x4", network)
    _, (count, measured) = measured_peaks(recipe, network, targets, torch.device("cuda", 0))
    assert count == 4
    peaks = {}
    with network.to("cuda").frozen():
        for step, restarted in ((0, 0), (15, 0), (20, 0), (20, 18)):
            bound = recipe.bind(network, targets).to("cuda")
            bound.dead_units.start_step[1] = restarted
            bound.dead_units.read_latest_start()
            torch.cuda.reset_peak_memory_stats()
            bound.loss(step, step).backward()  # type: ignore[no-untyped-call]
            peaks[step, restarted] = mock_cuda.peak
            del bound
    assert peaks[20, 0] < max(peaks.values())
    assert measured == pytest.approx(max(peaks.values()), rel=0.01)


def test_the_batch_size_is_measured_in_the_precision_of_the_run(mock_cuda: DeviceState) -> None:
    """Activations in bfloat16 take half the memory."""
    network, recipe, sizes = wide(32), FeatureVisualizer(transforms=[]), []
    mock_cuda.capacity = 2**24
    for precision in ("32-true", "bf16-mixed"):
        setup = Setup(network, recipe, {"accelerator": "cuda", "precision": precision, "max_steps": 1})
        sizes.append(batch_size_for(setup, "logits:0-4 x16", "auto"))
    assert 1 < sizes[0] < sizes[1] < 80


class Batches(pl.Callback):
    """Notes the number of pictures of each job."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def __deepcopy__(self, memo: dict[int, Any]) -> "Batches":
        return self

    def settings(self) -> None:
        """None."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        self.sizes.append(len(pl_module.targets))


class Drops(nn.Module):
    """A user's transform, which draws from torch's generator of the device."""

    def forward(self, images: Tensor) -> Tensor:
        return images * (torch.rand(images.shape[:1], device=images.device) < 0.9).view(-1, 1, 1, 1)


def test_transforms_of_others(mock_cuda: DeviceState) -> None:
    transforms: list[nn.Module] = [K.RandomAffine(10.0, (0.1, 0.1), (0.9, 1.1), p=1.0), Drops()]
    before, on_device = torch.get_rng_state(), mock_cuda.generator.get_state()
    rendering = on("cuda", "logits:0-1", 4, transforms=transforms)
    assert torch.equal(rendering.images, on("cuda", "logits:0-1", 4, transforms=transforms).images)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(mock_cuda.generator.get_state(), on_device)


class Poison(pl.Callback):
    """Makes one picture NaN in two steps."""

    def settings(self) -> None:
        """None."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step in (3, 5):
            with torch.no_grad():
                next(pl_module.parameters())[1] = torch.nan


def test_a_picture_that_is_not_finite_is_restored(mock_cuda: DeviceState) -> None:
    """The guard has another branch for devices that must not be waited for."""
    assert_alike(on("cuda", callbacks=[Poison()]), on("cpu", callbacks=[Poison()]))


class Silent(nn.Module):
    """Its logits are 0 for all but very bright pictures, so that units start dead."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(-0.999))

    def forward(self, images: Tensor) -> Tensor:
        return (images.mean((2, 3)) + self.bias).relu()


def test_dead_pictures_are_restarted(mock_cuda: DeviceState) -> None:
    network = VisionNetwork(Silent(), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(16, 16))
    recipe = FeatureVisualizer(redirect_steps=0)
    rendering = render(network, "logits:0-1", steps=40, accelerator="cuda", visualizer=recipe, progress=False)
    assert [record.status for record in rendering.records] == ["dead", "dead"]
    assert [record.scores["restarts"] for record in rendering.records] == [2, 2]


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = TinyNet()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def test_pictures_during_a_training(mock_cuda: DeviceState, tmp_path: Path) -> None:
    data = DataLoader([(noise(3, 16, 20, seed=number), number % 5) for number in range(8)], batch_size=4)
    pictures = VisualizeDuringTraining(
        "logits:0-1", mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(16, 20), steps=2, out=tmp_path / "pictures"
    )

    def trained(*callbacks: pl.Callback) -> Classifier:
        pl.seed_everything(7, verbose=False)
        module = Classifier()
        trainer = pl.Trainer(
            accelerator="cuda", devices=1, max_epochs=2, callbacks=list(callbacks), enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, logger=TensorBoardLogger(tmp_path, version="logs"),
        )  # fmt: skip
        trainer.fit(module, data)
        return module

    alone, watched = trained(), trained(pictures)
    for one, other in zip(alone.state_dict().values(), watched.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert sorted(folder.name for folder in (tmp_path / "pictures").iterdir()) == ["epoch_0000", "epoch_0001"]
