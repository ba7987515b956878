"""The Python interface: `render` and what it returns."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lightning_fv.engines.isolation import isolated
from lightning_fv.engines.local import LocalEngine
from lightning_fv.engines.plan import STEPS, Setup, batch_size_for, make_plan
from lightning_fv.engines.run import run_plan
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.errors import DeviceMemoryError, RunFolderError, UsageError
from lightning_fv.functional import to_uint8
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.report import write_report
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.picture import encode_png, write_picture
from lightning_fv.runs.record import Record
from lightning_fv.targets import Target, TargetsLike

if TYPE_CHECKING:
    from lightning_fv.objectives import Penalty
    from lightning_fv.optimization.size import Size
    from lightning_fv.parameterizations import Parameterization


@dataclass
class Rendering:
    """Rendered pictures and their scores.

    Attributes:
        images: (N, 3, H, W) in [0, 1], on the CPU.
        scores: (N,), each target's value on its plain picture.
        targets: one per picture.
        records: the manifest's records.
    """

    images: Tensor
    scores: Tensor
    targets: list[Target]
    records: list[Record]
    recipe: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.targets)

    def save(self, folder: str | Path) -> Path:
        """Write the pictures, a contact sheet, the manifest and a gallery to a folder and return it.

        Raises:
            RunFolderError: the folder is not empty, or cannot be created or written.
        """
        run = RunFolder(folder)
        if run.path.is_dir() and any(run.path.iterdir()):
            raise RunFolderError(f"{run} is not empty; choose another folder")
        try:
            run.images.mkdir(parents=True)
            for record, picture in zip(self.records, self.images, strict=True):
                record.image = None
                if bool(torch.isfinite(picture).all()):
                    file = run.picture(record.id)
                    record.image = run.relative(file)
                    record.sign(write_picture(file, picture, record, self.recipe))
        except OSError as error:
            raise RunFolderError(f"cannot write to {run}: {error.strerror}; choose another folder") from None
        write_report(run, lambda: self.records)
        return run.path

    def _repr_html_(self) -> str:
        """The pictures with their targets and scores, for a notebook."""
        cells = []
        for record, picture in zip(self.records, self.images, strict=True):
            source = base64.b64encode(encode_png(to_uint8(picture.nan_to_num(0.5)))).decode()
            score = record.status if record.score is None else f"{record.score:.4g}"
            cells.append(
                '<figure style="display:inline-block;margin:4px;text-align:center">'
                f'<img src="data:image/png;base64,{source}" style="width:160px">'
                f"<figcaption>{html.escape(record.target)}<br>{score}</figcaption></figure>"
            )
        return "".join(cells)


@isolated()
def render(
    network: str | VisionNetwork | nn.Module,
    targets: TargetsLike,
    *,
    steps: int = STEPS,
    size: Size | None = None,
    parameterization: Parameterization | None = None,
    transforms: list[nn.Module] | None = None,
    penalties: list[Penalty] | None = None,
    visualizer: FeatureVisualizer | None = None,
    callbacks: Sequence[pl.Callback] = (),
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    fail_fast: bool = False,
    out: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    categories: Sequence[str] = (),
    accelerator: str = "auto",
    progress: bool = True,
) -> Rendering:
    """Render what units of a network look for.

    >>> import lightning_fv
    >>> rendering = lightning_fv.render("demo", "logits:pizza+logits:iPod")  # doctest: +SKIP
    >>> rendering.save("pictures")  # doctest: +SKIP

    Args:
        network: a name (``demo``), a `VisionNetwork`, or any Module from normalised (B, 3, H, W) to logits, with the mean
            and std that it expects.
        targets: see `lightning_fv.targets.parse_targets`; may include objectives.
        steps: optimizer steps.
        size, parameterization, transforms, penalties: see `FeatureVisualizer`.
        visualizer: a complete recipe instead of those four.
        callbacks: additional ones, such as `PeriodicBlur` or `ProgressiveUpscale`. As with Lightning's Trainer, these objects
            are called, and keep what they recorded; each batch of pictures starts with them as they were given, so that
            afterwards they have the state of the last batch.
        seed: random draws depend on it, the target and the step, and on nothing else.
        batch_size: pictures rendered together; ``auto``: as many as fit into a GPU's memory, 16 on a CPU.
        fail_fast: stop after the first batch with a target that is not ``done``; those not started are ``pending``, with
            pictures of NaN.
        out: a run folder to create, with logs, checkpoints and everything else that the command line writes; none by default.
        mean, std: of a plain Module's input, per channel, for photos in [0, 1].
        categories: class names of a plain Module's logits.
        accelerator: Lightning's; ``auto`` takes a GPU if there is one.
        progress: whether to show a progress bar.

    Renders of one process take turns, in whatever threads; one inside another, as in a callback, is fine. torch's modes and
    defaults (autocast, no_grad, inference mode, default type and device) change nothing, and neither the module nor anything
    else that belongs to the whole process is changed afterwards, even after an error.

    Files that cannot be written are reported in a warning; the pictures are still returned. So are batches that do not fit
    into the device's memory even one picture at a time: their pictures are NaN. If no batch fits, that is an error.

    Raises:
        FeatureVisualizationError: a subclass that says what is wrong: network, target, option or folder.
        KeyboardInterrupt: stopped by Ctrl-C; with ``out``, partial pictures and a checkpoint are there.
    """
    if visualizer is not None and (size, parameterization, transforms, penalties) != (None, None, None, None):
        raise UsageError("give either a visualizer or size, parameterization, transforms and penalties, not both")
    folder = None if out is None else RunFolder(out)
    if folder is not None:
        folder.check_new()
    recipe = visualizer or FeatureVisualizer(parameterization, transforms, penalties, size=size)
    options = {
        "max_steps": steps,
        "callbacks": list(callbacks),
        "accelerator": accelerator,
        "devices": 1,
        "enable_progress_bar": progress,
        "log_every_n_steps": 10,
    }
    setup = Setup(_as_network(network, mean, std, categories), recipe, options, seed)
    plan = make_plan(setup, targets, batch_size_for(setup, targets, batch_size))
    plan.fail_fast, plan.raise_errors = fail_fast, True
    if folder is not None:
        folder.create()
        folder.register(plan.jobs)
        plan.folder = folder
    with plan.stop:
        outcome = run_plan(LocalEngine() if folder is None else WorkerEngine(), plan, keep_pictures=True)
    if outcome.signal is not None:
        raise KeyboardInterrupt(f"stopped by signal {outcome.signal}")
    if not outcome.pictures:
        raise DeviceMemoryError(next(record.error for record in outcome.records if record.error) or "")
    blank = torch.full_like(next(iter(outcome.pictures.values()))[0], torch.nan)
    images = torch.cat([outcome.pictures.get(job.id, blank.expand(len(job.targets), -1, -1, -1)) for job in plan.jobs])
    scores = torch.tensor([float("nan") if record.score is None else record.score for record in outcome.records])
    return Rendering(images, scores, plan.targets, outcome.records, setup.settings)


def _as_network(
    network: str | VisionNetwork | nn.Module,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    categories: Sequence[str],
) -> VisionNetwork:
    if not isinstance(network, str | VisionNetwork | nn.Module):
        raise UsageError(f"a network is a name, a VisionNetwork or a Module, not a {type(network).__name__}")
    if isinstance(network, nn.Module):
        if mean is None or std is None:
            raise UsageError("a plain Module needs the mean and std of its input, such as mean=(0.485, 0.456, 0.406)")
        return VisionNetwork(network, mean=mean, std=std, categories=categories)
    if mean is not None or std is not None or categories:
        raise UsageError("mean, std and categories are for a plain Module; a named network brings its own")
    return load_network(network) if isinstance(network, str) else network
