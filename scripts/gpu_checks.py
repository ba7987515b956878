"""The checks of check_gpu.py, except its timings. Each takes the scale, returns figures, and raises if something is wrong."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_fv import FeatureVisualizer, VisionNetwork, VisualizeDuringTraining, load_network, render
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.commands.main import main as command
from lightning_fv.commands.recipes import recipe_names
from lightning_fv.networks.capture import LOGITS
from lightning_fv.rendering import Rendering
from lightning_fv.runs.folder import RunFolder

COMMAND = [sys.executable, "-m", "lightning_fv"]
"""The command line in a process of its own."""

SYNC = "synchronizing CUDA operation"
"""What torch says of a wait in its debug mode."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Attributes:
        network: whose speed and memory are measured, without weights unless it is the demo network.
        sizes, batches: of the pictures whose speed is measured, in pixels and in pictures.
        steps: of a timed render; at least 32, since the first 16 are redirected.
        rounds: of the bare pass.
        length: steps of a render that is compared with the CPU's, and of a job.
        killed: steps of the run that is killed.
        memory: pictures and side of the batch for which memory is made short.
    """

    network: str = "torchvision/resnet50"
    sizes: tuple[int, ...] = (64, 128, 224, 400)
    batches: tuple[int, ...] = (16, 64, 256)
    steps: int = 32
    rounds: int = 10
    length: int = 128
    killed: int = 2000
    memory: tuple[int, int] = (32, 224)

    @property
    def quick(self) -> "Scale":
        return replace(self, sizes=(64, 224), batches=(16, 64), rounds=5, killed=1000)

    def load(self) -> VisionNetwork:
        return load_network(self.network) if self.network == "demo" else load_network(self.network, weights=None)


class CheckError(Exception):
    """A check found something wrong; has the figures that it found."""

    def __init__(self, message: str, figures: Figures) -> None:
        super().__init__(message)
        self.figures = figures


def require(holds: bool, message: str, figures: Figures) -> None:
    """Raise unless something holds."""
    if not holds:
        raise CheckError(message, figures)


def logits(network: VisionNetwork) -> int:
    """The number of a network's classes."""
    return next(info.shape[1] for info in network.layers() if info.name == LOGITS and info.shape is not None)


def demo(targets: str = "logits:0-3+layer3:5", steps: int = 4, accelerator: str = "cuda", **options: Any) -> Rendering:
    """A render of the demo network."""
    return render("demo", targets, steps=steps, accelerator=accelerator, progress=False, **options)


# -- the same as on a CPU ----------------------------------------------------------------------------------------------


def same_as_cpu(scale: Scale) -> Figures:
    """Pictures and scores at equal seeds. Rounding errors grow from step to step, so that only the first steps must be alike.

    TF32 is off. The limits are what we expect; none was measured on a GPU yet.
    """
    figures: Figures = {}
    with precision("fp32"):
        for steps in (4, scale.length):
            for seed in (0, 1):
                gpu, cpu = (demo(steps=steps, accelerator=kind, seed=seed) for kind in ("cuda", "cpu"))
                figures[f"{steps} steps, seed {seed}"] = difference(gpu, cpu)
    for name, found in figures.items():
        require(found["statuses equal"], f"{name}: other statuses than on the CPU", figures)
        if name.startswith("4 steps"):
            require(found["largest pixel difference"] <= 2 / 255, f"{name}: pixels differ", figures)
            require(found["largest score difference"] <= 0.01, f"{name}: scores differ", figures)
        else:
            require(found["mean score difference"] <= 0.1, f"{name}: scores differ by more than a tenth", figures)
    return figures


def graphs(scale: Scale) -> Figures:
    """Steps replayed as CUDA graphs: pictures are those of the same steps done operation by operation, but for rounding."""
    plain, replayed = (_replaying(scale, cuda_graph) for cuda_graph in (False, True))
    figures = difference(replayed[0], plain[0]) | {"replayed steps": replayed[1]}
    require(plain[1] == 0 and replayed[1] > 0, "no step was replayed; a warning above says why", figures)
    require(figures["statuses equal"], "other statuses than without", figures)
    require(figures["mean score difference"] <= 0.1, "scores differ by more than a tenth", figures)
    return figures


def _replaying(scale: Scale, cuda_graph: bool) -> tuple[Rendering, int]:
    """A render with growth and blurs, and how many of its steps were replayed."""
    replays, replay = [0], torch.cuda.CUDAGraph.replay

    def counted(graph: torch.cuda.CUDAGraph) -> None:
        replays[0] += 1
        replay(graph)

    visualizer = FeatureVisualizer(size=48, stage_steps=scale.length, redirect_steps=4, cuda_graph=cuda_graph)
    changes = [PeriodicBlur(every=13), ProgressiveUpscale(to=64, factor=1.2, every=scale.length // 3)]
    with mock.patch.object(torch.cuda.CUDAGraph, "replay", counted), precision("fp32"):
        return demo(steps=scale.length, visualizer=visualizer, callbacks=changes), replays[0]


def difference(one: Rendering, other: Rendering) -> Figures:
    """Pixels in [0, 1]; scores relative to the largest of the other's."""
    scores = (one.scores - other.scores).abs() / other.scores.abs().max()
    return {
        "largest pixel difference": (one.images - other.images).abs().max().item(),
        "mean pixel difference": (one.images - other.images).abs().mean().item(),
        "largest score difference": scores.max().item(),
        "mean score difference": scores.mean().item(),
        "statuses equal": [record.status for record in one.records] == [record.status for record in other.records],
    }


@contextlib.contextmanager
def precision(kind: str) -> Iterator[dict[str, Any]]:
    """Compute in ``fp32``, ``tf32`` or ``bf16``; yields the options of `render_steps` for it."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest" if kind == "fp32" else "high")
    torch.backends.cudnn.allow_tf32 = kind != "fp32"
    try:
        # A render sets that of products itself.
        products = {} if kind == "fp32" else {"matmul_precision": "high"}
        yield products | ({"precision": "bf16-mixed"} if kind == "bf16" else {})
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


# -- flows -------------------------------------------------------------------------------------------------------------


def without_folder(scale: Scale) -> Figures:
    rendering = demo()
    return _all_done(rendering, {"pictures": len(rendering)})


def with_folder(scale: Scale) -> Figures:
    with TemporaryDirectory() as folder:
        rendering = demo(out=Path(folder, "run"))
        figures = _all_done(rendering, {"pictures": len(rendering), "files": len(list(Path(folder).rglob("*")))})
        require(RunFolder(Path(folder, "run")).gallery.is_file(), "no gallery", figures)
    return figures


def growth(scale: Scale) -> Figures:
    rendering = demo(steps=10, size=48, callbacks=[ProgressiveUpscale(to=64, factor=1.2, every=3)])
    return _all_done(rendering, {"size": list(rendering.images.shape[-2:])})


def killed_and_resumed(scale: Scale) -> Figures:
    """A process that is killed by SIGKILL after its first checkpoint, and continued."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "run")
        options = ["--out", str(out), "--targets", "logits:0-3", "--trainer.max_steps", str(scale.killed)]
        options += ["--checkpoint_seconds", "0.1", "--trainer.accelerator", "cuda"]
        with (
            Path(folder, "log").open("w") as log,
            subprocess.Popen([*COMMAND, "fit", *options], stdout=log, stderr=subprocess.STDOUT) as process,
        ):
            deadline = time.monotonic() + 180
            while process.poll() is None and not list(out.rglob("*.ckpt")) and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        code = process.returncode
        written = Path(folder, "log").read_text()[-500:]
        steps = [int(file.stem.rpartition("=")[2]) for file in out.rglob("step=*.ckpt")]
        figures = {"checkpoints at the kill": sorted(steps), "exit code": code}
        require(code == -signal.SIGKILL and bool(steps), f"it was not killed after a checkpoint: {written}", figures)
        done = subprocess.run([*COMMAND, "--resume", "--out", str(out)], capture_output=True, text=True, timeout=300)
        statuses = [record.status for record in RunFolder(out).records()]
        figures["statuses"] = statuses
        require(done.returncode == 0 and statuses == ["done"] * 4, f"not done: {done.stderr[-500:]}", figures)
    return figures


def out_of_memory(scale: Scale) -> Figures:
    """With too little memory for the batch, it is processed in chunks."""
    network, (batch, size) = scale.load(), scale.memory
    targets = " x".join((f"logits:0-{batch // 4 - 1}", "4"))

    def peak(chunk: int | None) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        recipe = FeatureVisualizer(size=size, chunk=chunk, transforms=[])
        rendering = render(
            network, targets, steps=2, accelerator="cuda", progress=False, batch_size=batch, visualizer=recipe
        )
        _all_done(rendering, {})
        return int(torch.cuda.max_memory_reserved())

    whole, half = peak(None), peak(batch // 2)
    figures: Figures = {"peak in MB": whole / 1e6, "peak in two chunks": half / 1e6}
    require(half < whole * 0.95, "chunks save no memory", figures)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((whole + half) / 2 / total)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            figures["peak when memory is short"] = peak(None) / 1e6
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    said = [str(warning.message) for warning in caught if "out of memory" in str(warning.message)]
    figures["said"] = said
    require(bool(said), "memory was never short", figures)
    return figures


def recipe(name: str, scale: Scale) -> Figures:
    """Two steps of a shipped recipe on the command line."""
    with TemporaryDirectory() as folder:
        pixels = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6), (96, 96), mode="bicubic").clamp(0, 1)
        photo = Path(folder, "photo.png")
        Image.fromarray((pixels[0] * 255).byte().permute(1, 2, 0).numpy()).save(photo)
        words = ["--config", name, "--batch-size", "8", "--out", str(Path(folder, "run"))]
        words += ["--trainer.max_steps", "2", "--trainer.accelerator", "cuda"]
        words += ["--start", str(photo)] if name in ("accentuation", "deepdream") else []
        with (
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            code = command(words)
        statuses = [record.status for record in RunFolder(Path(folder, "run")).records()]
    figures = {"exit code": code, "statuses": sorted(set(statuses))}
    good = {"done", "dead"}  # two steps wake no dead channel
    require(bool(statuses) and set(statuses) <= good, "not all targets are done", figures)
    return figures


def during_training(scale: Scale) -> Figures:
    """Pictures at the end of each of two epochs of a training on the GPU."""

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
            )  # fmt: skip

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.01)

    data = DataLoader(TensorDataset(torch.rand(8, 3, 32, 32), torch.arange(8) % 5), batch_size=4)
    with TemporaryDirectory() as folder:
        pictures = VisualizeDuringTraining(
            "logits:0-1", mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(32, 32), steps=4, out=Path(folder, "pictures")
        )
        trainer = pl.Trainer(
            accelerator="cuda", devices=1, max_epochs=2, callbacks=[pictures], enable_progress_bar=False, logger=False,
            enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(Classifier(), data)
        epochs = sorted(path.name for path in Path(folder, "pictures").iterdir())
    figures = {"folders": epochs}
    require(epochs == ["epoch_0000", "epoch_0001"], "not a folder for each epoch", figures)
    return figures


def _all_done(rendering: Rendering, figures: Figures) -> Figures:
    statuses = sorted({record.status for record in rendering.records})
    require(set(statuses) <= {"done", "dead"}, f"statuses: {statuses}", figures)
    require(bool(rendering.images.isfinite().all()), "pictures that are not finite", figures)
    return figures


FLOWS: dict[str, Callable[[Scale], Figures]] = {
    "without a folder": without_folder,
    "with a folder": with_folder,
    "growth": growth,
    "killed and resumed": killed_and_resumed,
    "out of memory": out_of_memory,
    **{f"recipe {name}": lambda scale, name=name: recipe(name, scale) for name in recipe_names()},  # type: ignore[misc]
    "during a training": during_training,
}


# -- waits -------------------------------------------------------------------------------------------------------------


class _Debug(pl.Callback):
    """Sets torch's debug mode for waits in some steps, or from the end of the last one on."""

    def __init__(self, mode: str, steps: range | None = None) -> None:
        self.mode, self.steps = mode, steps

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Debug":
        return self

    def settings(self) -> None:
        """None: it changes no picture."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode(
            self.mode if self.steps is not None and trainer.global_step in self.steps else "default"
        )

    def on_train_end(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode(self.mode if self.steps is None else "default")


def waits_in_steps(scale: Scale) -> Figures:
    """Three redirected and three ordinary steps in which torch raises at every wait; between two steps that are logged."""
    checked = {"redirected": range(3, 6), "ordinary": range(21, 24)}
    for steps in checked.values():
        try:
            demo(steps=28, callbacks=[_Debug("error", steps)])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return {name: f"steps {steps.start} to {steps.stop - 1}: none" for name, steps in checked.items()}


def waits_at_the_end(scale: Scale) -> Figures:
    """How many times the host waits from the last step to the end of a job, of one picture and of eight."""

    def waits(targets: str, folder: str) -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                demo(targets, steps=2, out=Path(folder, targets[-1]), callbacks=[_Debug("warn")])
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum(SYNC in str(warning.message) for warning in caught)

    with TemporaryDirectory() as folder:
        waits("logits:9", folder)  # constants are on the device afterwards
        one, eight = waits("logits:0", folder), waits("logits:0-7", folder)
    figures = {"one picture": one, "eight pictures": eight, "for each further picture": (eight - one) / 7}
    require(one > 0, "torch's debug mode saw no wait at all, though numbers are read", figures)
    require(eight - one < 7, "waits grow with the number of pictures", figures)
    return figures
