"""The Python interface: `render` and what it returns."""

from __future__ import annotations

import base64
import contextlib
import copy
import html
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_fv.engines.config import config_text, read_config
from lightning_fv.engines.isolation import isolated
from lightning_fv.engines.local import LocalEngine
from lightning_fv.engines.plan import STEPS, Plan, Setup, batch_size_for, make_plan
from lightning_fv.engines.run import Outcome, run_plan
from lightning_fv.engines.start_photos import check_start_photos, keep_start_photos, read_start_photos, start_paths
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.errors import DeviceMemoryError, RunFolderError, TargetError, UsageError, nearest
from lightning_fv.functional import to_uint8
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.optimization.start import size_of
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.report import write_report
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job import smallest_batch_size
from lightning_fv.runs.picture import encode_png, read_picture, write_picture
from lightning_fv.runs.record import Record
from lightning_fv.targets import Target, TargetsLike

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from lightning_fv.objectives import Penalty
    from lightning_fv.optimization.size import Size
    from lightning_fv.parameterizations import Parameterization
    from lightning_fv.runs.start_photo import StartPhoto


class RenderedPicture(NamedTuple):
    """One picture of a `Rendering`."""

    image: Tensor
    """(3, H, W) in [0, 1], on the CPU."""
    score: float
    """The target's value on the plain picture; NaN if it is not known or not finite."""
    target: Target
    record: Record
    """Its line of the manifest."""


@dataclass
class Rendering:
    """Rendered pictures and their scores.

    ``rendering[0]`` is a `RenderedPicture`, ``rendering["logits:pizza"]`` that of a target, ``rendering[1:3]`` a Rendering of some,
    and a loop over a Rendering goes through its `RenderedPicture`s in order. Of several pictures of a target,
    ``rendering["logits:pizza"]`` is the one with the highest score, ``rendering["logits:pizza #2"]`` the second, and
    ``rendering.facets("logits:pizza")`` a Rendering of all of them.

    Attributes:
        images: (N, 3, H, W) in [0, 1], on the CPU. Of jobs that were done before, as read from their files: multiples of 1/255.
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

    def __iter__(self) -> Iterator[RenderedPicture]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, which: int | str) -> RenderedPicture: ...

    @overload
    def __getitem__(self, which: slice) -> Rendering: ...

    def __getitem__(self, which: int | str | slice) -> RenderedPicture | Rendering:
        """A picture by its position or by its target as text, or a Rendering of a slice.

        Raises:
            IndexError: there is no picture at that position.
            TargetError: there is none of that target.
        """
        if isinstance(which, slice):
            return Rendering(
                self.images[which], self.scores[which], self.targets[which], self.records[which], self.recipe
            )
        if isinstance(which, str):
            which = min(self._rows_of(which), key=lambda row: self.records[row].scores.get("rank", math.inf))
        number = operator.index(which)
        target = self.targets[number]
        return RenderedPicture(self.images[number], float(self.scores[number]), target, self.records[number])

    def facets(self, target: str) -> Rendering:
        """All pictures of a target, in order.

        Args:
            target: as text, without the number of pictures.

        Raises:
            TargetError: there is none of that target.
        """
        rows = self._rows_of(target)
        return self[rows[0] : rows[-1] + 1]

    def _rows_of(self, text: str) -> list[int]:
        rows = [row for row, target in enumerate(self.targets) if text in (target.text, target.unit)]
        if not rows:
            texts = [target.text for target in self.targets]
            raise TargetError(f"no picture of {text!r}; available: {', '.join(nearest(text, texts) or texts[:3])}")
        return rows

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
    optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
    diversity: float | None = None,
    start: Tensor | str | Path | Sequence[str | Path] | None = None,
    visualizer: FeatureVisualizer | None = None,
    callbacks: Sequence[pl.Callback] | pl.Callback = (),
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
        size, parameterization, transforms, penalties, optimizer, diversity: see `FeatureVisualizer`.
        start: pictures to start from instead of noise, (B, 3, H, W) in [0, 1] with one for each target or one for all, or
            (3, H, W). Resized to ``size``, which is their own by default. Or the path of a photo, or a list of paths, one for
            each target: scaled and cropped to ``size``, by default the network's training size. A dead unit's picture
            restarts from noise.
        visualizer: a complete recipe instead of those six.
        callbacks: additional ones, such as `PeriodicBlur` or `ProgressiveUpscale`. As with Lightning's Trainer, these objects
            are called, and keep what they recorded; each batch of pictures starts with them as they were given, so that
            afterwards they have the state of the last batch.
        seed: random draws depend on it, the target and the step, and on nothing else.
        batch_size: pictures rendered together; ``auto``: as many as fit into a GPU's memory, 16 on a CPU.
        fail_fast: stop after the first batch with a target that is not ``done``; those not started are ``pending``, with
            pictures of NaN.
        out: a run folder, with logs, checkpoints and everything else that the command line writes; none by default. If it
            already holds this run, the run is continued: what is done is not rendered again, and the pictures of finished
            batches are read from their files, which have 8 bits per colour (NaN if they have more than three channels). ``lightning-fv --resume --out FOLDER`` continues
            it too, if the network has a name that `load_network` knows and all parts of the recipe can be imported by name.
        mean, std: of a plain Module's input, per channel, for photos in [0, 1].
        categories: class names of a plain Module's logits.
        accelerator: Lightning's; ``auto`` takes a GPU if there is one.
        progress: whether to show a progress bar.

    Renders of one process run one at a time, whatever thread calls them; to render in parallel, start several
    processes. A render inside another, as in a callback, works on the same thread only: a callback that starts a thread
    which renders, and waits for it, would wait for ever.

    torch's modes and defaults (autocast, no_grad, inference mode, default type and device) change nothing, and neither
    the module nor anything else that belongs to the whole process is changed afterwards, even after an error; but of
    torch's random generators only the CPU's is restored.

    Files that cannot be written are reported in a warning; the pictures are still returned. So are batches that do not fit
    into the device's memory even one picture at a time: their pictures are NaN. If no batch fits, that is an error.

    Raises:
        FeatureVisualizationError: a subclass that says what is wrong: network, target, option or folder.
        KeyboardInterrupt: stopped by Ctrl-C; with ``out``, partial pictures and a checkpoint are there, and the same call
            continues.
    """
    parts = {
        "parameterization": parameterization,
        "transforms": transforms,
        "penalties": penalties,
        "optimizer": optimizer,
        "size": size,
        "diversity": diversity,
    }
    given: dict[str, Any] = {name: part for name, part in parts.items() if part is not None}
    if visualizer is not None and not isinstance(visualizer, FeatureVisualizer):
        raise UsageError(f"visualizer is an object of type {type(visualizer).__name__}; give a FeatureVisualizer")
    if visualizer is not None and given:
        raise UsageError(f"give either a visualizer or {', '.join(given)}, not both")
    if not isinstance(targets, str) and not callable(targets) and isinstance(targets, Iterable):
        targets = list(targets)
    folder = None if out is None else RunFolder(out)
    callbacks = [callbacks] if isinstance(callbacks, pl.Callback) else list(callbacks)
    if folder is None and any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        raise UsageError("ModelCheckpoint needs a folder to save in; give out=FOLDER, or leave it out")
    if folder is not None and folder.begun():
        folder.check_entries()
        started = read_config(folder)
        batch_size = started["batch_size"] if batch_size == "auto" else batch_size  # a GPU may have measured it
    elif folder is not None:
        try:
            folder.check_new()
        except RunFolderError:
            if not folder.begun():  # by another process since the first look
                raise
    recipe = visualizer or FeatureVisualizer(**given)
    network = _as_network(network, mean, std, categories)
    pictures, photos = _start(start, recipe, network)
    if pictures is not None and not photos and recipe.asked_size is None:
        recipe = copy.deepcopy(recipe)
        recipe.asked_size = size_of(pictures)
    options = {
        "max_steps": _whole("steps", steps),
        "callbacks": callbacks,
        "accelerator": accelerator,
        "devices": 1,
        "enable_progress_bar": progress,
        "log_every_n_steps": 10,
    }
    setup = Setup(network, recipe, options, _whole("seed", seed), start=pictures, photos=photos)
    plan = make_plan(setup, targets, batch_size_for(setup, targets, _whole("batch_size", batch_size)))
    plan.fail_fast, plan.raise_errors = fail_fast, True
    if folder is not None:
        if not folder.begun():
            with contextlib.suppress(FileExistsError):  # another process has just started a run; is it this one?
                folder.create(config_text(setup, targets, smallest_batch_size(plan.jobs)))
        folder.register(plan.jobs, plan.known)
        keep_start_photos(folder, setup)
        plan.folder = folder
    with plan.stop:
        outcome = run_plan(LocalEngine() if folder is None else WorkerEngine(), plan, keep_pictures=True)
    if outcome.signal is not None:
        raise KeyboardInterrupt(f"stopped by signal {outcome.signal}")
    return rendering_of(plan, outcome)


def rendering_of(plan: Plan, outcome: Outcome) -> Rendering:
    """The pictures and scores of a plan that was rendered in this process, or read from its run folder.

    Raises:
        DeviceMemoryError: there is no picture at all.
    """
    scores = torch.tensor([float("nan") if record.score is None else record.score for record in outcome.records])
    return Rendering(_pictures(plan, outcome), scores, plan.targets, outcome.records, plan.setup.provenance)


def _start(start: Any, recipe: FeatureVisualizer, network: VisionNetwork) -> tuple[Any, tuple[StartPhoto, ...]]:
    """Pictures to start from, not yet checked if they are no photos, and the photos that they are."""
    if not isinstance(start, str | Path | list | tuple):
        return start, ()
    files = start_paths(start)
    check_start_photos(files)
    return read_start_photos(files, recipe.size_for(network), network.channels)


def _pictures(plan: Plan, outcome: Outcome) -> Tensor:
    """All pictures, (N, 3, H, W): rendered now, or read from the run folder; NaN where there is none."""
    by_row: list[Tensor | None] = []
    records = iter(outcome.records)
    for job in plan.jobs:
        rendered = outcome.pictures.get(job.id)
        for row, record in enumerate(itertools.islice(records, len(job.targets))):
            if rendered is not None:
                by_row.append(rendered[row])
            elif plan.folder is not None and record.image is not None and record.status in ("done", "dead", "diverged"):
                by_row.append(_read(plan.folder.path / record.image, plan.setup.network.channels))
            else:
                by_row.append(None)
    known = next((picture for picture in by_row if picture is not None), None)
    if known is None:
        raise DeviceMemoryError(
            next((record.error for record in outcome.records if record.error), "nothing was rendered")
        )
    blank = torch.full_like(known, torch.nan)
    return torch.stack([blank if picture is None else picture for picture in by_row])


def _read(path: Path, channels: int) -> Tensor | None:
    """A finished picture from its file, (C, H, W); None if it has more channels than a PNG shows."""
    return read_picture(path)[:channels] if channels <= 3 else None


def _whole(name: str, value: Any) -> Any:
    """A whole number of any kind as Python's; a batch size of ``auto`` as it is."""
    try:
        return value if (name, value) == ("batch_size", "auto") else operator.index(value)
    except TypeError:
        raise UsageError(f"{name} must be a whole number, not {value!r}") from None


def _as_network(
    network: str | VisionNetwork | nn.Module,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    categories: Sequence[str],
) -> VisionNetwork:
    if not isinstance(network, str | VisionNetwork | nn.Module):
        raise UsageError(
            f"a network is a name, a VisionNetwork or a Module, not an object of type {type(network).__name__}"
        )
    if isinstance(network, nn.Module):
        if mean is None or std is None:
            raise UsageError("a plain Module needs the mean and std of its input, such as mean=(0.485, 0.456, 0.406)")
        return VisionNetwork(network, mean=mean, std=std, categories=categories)
    if mean is not None or std is not None or len(categories) > 0:
        raise UsageError("mean, std and categories are for a plain Module; a named network brings its own")
    return load_network(network) if isinstance(network, str) else network
