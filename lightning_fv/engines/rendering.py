"""Rendering targets: the Python door, and the loop over jobs that it shares with the command line."""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import html
import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from torch import Tensor, nn

from lightning_fv.callbacks import ArtifactWriter, GracefulStop, ImageLogger, ProgressiveUpscale, RenderProgress
from lightning_fv.engines.batch_size import BATCH_SIZE, measured_batch_size
from lightning_fv.engines.placement import Place
from lightning_fv.engines.strategies import PlacedEnvironment, SharedStrategy, strategy_name
from lightning_fv.errors import CheckpointError, DeviceMemoryError, RunFolderError, UsageError
from lightning_fv.files import Unwritten, remove_partials, write_new_text
from lightning_fv.functional import to_uint8
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.optimization.objective_gradient import out_of_memory
from lightning_fv.optimization.score import assess
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.report import contact_sheet, film, write_gallery
from lightning_fv.runs.checkpoints import AtomicCheckpointIO, StepCheckpoint, latest_checkpoint
from lightning_fv.runs.folder import check_new_folder, is_vacant
from lightning_fv.runs.job import Job, make_jobs
from lightning_fv.runs.picture import encode_png, write_picture
from lightning_fv.runs.record import Record, write_manifest
from lightning_fv.runs.settings import callback_settings
from lightning_fv.targets import Target, TargetsLike, resolve_targets

if TYPE_CHECKING:
    from lightning_fv.objectives import Penalty
    from lightning_fv.optimization.size import Size
    from lightning_fv.parameterizations import Parameterization

STEPS = 128
"""Steps of a render unless asked otherwise: another network is no surer of pictures of more (recipes/default.yaml)."""

CHECKPOINT_SECONDS = 5.0

# Options of the Trainer that would end a render elsewhere than at max_steps, with the values that do not.
_UNUSED = {"max_epochs": (None, -1), "max_time": (None,), "min_epochs": (None,), "min_steps": (None,)}


@dataclass
class JobResult:
    """What came of a job.

    Attributes:
        job: the job.
        records: one per target.
        pictures: (B, 3, H, W) on the CPU; None if the job was done before, or failed.
        signal: the number of the signal that stopped it, or None.
        failed: whether it came to no end for want of memory; the records have the ``error``.
    """

    job: Job
    records: list[Record]
    pictures: Tensor | None = None
    signal: int | None = None
    failed: bool = False

    @property
    def spoilt(self) -> bool:
        """Whether a target was rendered now, or was to be, and is not done."""
        return self.failed or (self.pictures is not None and any(record.status != "done" for record in self.records))


@dataclass
class Rendering:
    """Rendered pictures and what they are worth.

    Attributes:
        images: (N, 3, H, W) in [0, 1], on the CPU.
        scores: (N,), each target's value on its plain picture.
        targets: what each picture is of.
        records: the manifest's lines.
    """

    images: Tensor
    scores: Tensor
    targets: list[Target]
    records: list[Record]
    recipe: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.targets)

    def save(self, folder: str | Path) -> Path:
        """Write ``images/<id>.png``, ``sheet.png`` and ``manifest.jsonl`` to a folder and return it.

        Raises:
            RunFolderError: the folder holds a run already, or cannot be made or written.
        """
        folder = new_run_folder(Path(folder))
        try:
            (folder / "images").mkdir()
            for record, picture in zip(self.records, self.images, strict=True):
                record.image = None
                if bool(torch.isfinite(picture).all()):
                    record.image = f"images/{record.id}.png"
                    write_picture(folder / record.image, picture, record, self.recipe)
        except OSError as error:
            raise RunFolderError(f"cannot write to {folder}: {error.strerror}; choose another folder") from None
        finish_run(folder, self.records, [])
        return folder

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
            and std that it wants.
        targets: see `lightning_fv.targets.parse_targets`; objectives among them.
        steps: optimizer steps.
        size, parameterization, transforms, penalties: see `FeatureVisualizer`.
        visualizer: a whole recipe instead of those four.
        callbacks: more of them, such as `PeriodicBlur` or `ProgressiveUpscale`.
        seed: with the target and the step, all that random draws depend on.
        batch_size: pictures that are rendered together; ``auto``: as many as a GPU's memory takes, 16 on a CPU.
        fail_fast: stop after the first batch with a target that is not ``done``; those not begun are ``partial``, with
            pictures of NaN.
        out: a run folder to make, with logs, checkpoints and all that the command line leaves; none by default.
        mean, std: of a plain Module's input, per channel, for photos in [0, 1].
        categories: class names of a plain Module's logits.
        accelerator: Lightning's; ``auto`` takes a GPU if there is one.
        progress: whether to show a progress bar.

    What the disk does not take is said in a warning; the pictures are returned all the same. Batches that the device's memory
    does not hold, even picture by picture, are said in a warning, too: their pictures are NaN, unless there are no others.

    Raises:
        FeatureVisualizationError: a subclass that says what is wrong: network, target, option or folder.
        KeyboardInterrupt: stopped by Ctrl-C; with ``out``, partial pictures and a checkpoint are there.
    """
    if visualizer is not None and (size, parameterization, transforms, penalties) != (None, None, None, None):
        raise UsageError("give either a visualizer or size, parameterization, transforms and penalties, not both")
    if out is not None:
        check_new_folder(Path(out))
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
    chosen, jobs = plan(setup, targets, batch_size_for(setup, targets, batch_size))
    folder = None if out is None else new_run_folder(Path(out))
    pictures: list[Tensor | None] = []
    records: list[Record] = []
    stopped, unwritten = None, Unwritten()
    for result in render_jobs(setup, jobs, folder, unwritten, fail_fast):
        records += result.records
        stopped = result.signal
        pictures += [None] * len(result.records) if result.pictures is None else list(result.pictures)
    records += unfinished(setup, chosen[len(records) :])
    if folder is not None:
        finish_run(folder, records, jobs, unwritten)
    if stopped is not None:
        raise KeyboardInterrupt(f"stopped by signal {stopped}")
    scores = torch.tensor([float("nan") if record.score is None else record.score for record in records])
    pictures += [None] * (len(records) - len(pictures))
    made = [picture for picture in pictures if picture is not None]
    if not made:
        raise DeviceMemoryError(str(records[0].scores["error"]))
    blank = torch.full_like(made[0], torch.nan)
    images = torch.stack([blank if picture is None else picture for picture in pictures])
    return Rendering(images, scores, chosen, records, setup.settings)


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


@dataclass(frozen=True)
class Setup:
    """What jobs have in common.

    Attributes:
        network: what to look at.
        visualizer: the recipe; every job renders with a copy.
        options: the Trainer's keyword arguments.
        seed: the run's seed.
        checkpoint_seconds: time between checkpoints; a kill costs no more than this.
        environment: which rank this process is, if there are several.
        shared: whether the ranks share the pictures of a job, each with transforms of its own (ddp).
    """

    network: VisionNetwork
    visualizer: FeatureVisualizer
    options: dict[str, Any]
    seed: int = 0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    environment: PlacedEnvironment | None = None
    shared: bool = False

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """All that changes a picture beside its target and its batch, as plain values."""
        options = self.options
        trainer = {key: value for key, value in options.items() if key in ("max_steps", "accumulate_grad_batches")}
        trainer |= {
            key: options[key]
            for key in ("gradient_clip_val", "gradient_clip_algorithm", "precision")
            if options.get(key)
        }
        if self.shared and self.environment is not None:
            trainer["ddp"] = self.environment.place.ranks
        return {
            "network": self.network.name,
            "digest": self.network.digest(),
            "seed": self.seed,
            "recipe": self.visualizer.describe(),
            "callbacks": callback_settings(options.get("callbacks") or []),
            "trainer": trainer,
        }


def plan(setup: Setup, targets: TargetsLike, batch_size: int) -> tuple[list[Target], list[Job]]:
    """Check everything that can be checked before the first step, and cut the targets into jobs.

    Args:
        setup: what the jobs have in common.
        targets: as written.
        batch_size: pictures in a job.

    Raises:
        FeatureVisualizationError: a subclass that says what is wrong.
    """
    options = setup.options
    if options["max_steps"] < 1:
        raise UsageError(
            f"trainer.max_steps is the length of a render and must be at least 1, got {options['max_steps']}"
        )
    for name, unused in _UNUSED.items():
        if options.get(name) not in unused:
            raise UsageError(f"trainer.{name} is not used: the length of a render is trainer.max_steps alone")
    if options.get("precision") not in (None, 32, "32", "32-true", "bf16-mixed"):
        raise UsageError(f"precision {options['precision']!r} would round the pictures; use 32-true or bf16-mixed")
    strategy_name(options.get("strategy"))
    grows = any(isinstance(callback, ProgressiveUpscale) for callback in options.get("callbacks") or [])
    if setup.shared and grows:
        raise UsageError(
            "ProgressiveUpscale cannot grow pictures that several devices share; take --trainer.strategy independent "
            "or leave out the callback"
        )
    if options.get("default_root_dir") is not None:
        raise UsageError("trainer.default_root_dir is not used: the run's folder is given by --out")
    if setup.checkpoint_seconds <= 0:
        raise UsageError(f"the time between checkpoints must be above 0 s, got {setup.checkpoint_seconds}")
    _check_trainer(_placed(setup))
    if batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, got {batch_size}")
    chosen = resolve_targets(targets, setup.network, setup.visualizer.size_for(setup.network))
    layers = {layer for target in chosen for layer in target.objective.layers}
    setup.visualizer.bind(setup.network, chosen[:1], setup.seed).rehearse(layers)
    return chosen, make_jobs(chosen, batch_size, setup.settings)


def batch_size_for(setup: Setup, targets: TargetsLike, asked: int | Literal["auto"]) -> int:
    """The number of pictures in a job: as asked, or what the device takes; jobs, and so bits, hang on it.

    Args:
        setup: what the jobs have in common.
        targets: as written.
        asked: a number, or ``auto``.

    Raises:
        FeatureVisualizationError: as `plan`, before anything is measured.
    """
    if asked != "auto":
        return asked
    strategy = _check_trainer(_placed(setup)).strategy
    device = strategy.root_device
    if device.type != "cuda":
        return BATCH_SIZE
    chosen, _ = plan(setup, targets, 1)
    start = setup.visualizer.size_for(setup.network)
    sizes = [
        callback.last_size(setup.options["max_steps"], start, setup.network.input_size)
        for callback in setup.options.get("callbacks") or []
        if isinstance(callback, ProgressiveUpscale)
    ]
    growth = max((size[0] * size[1] for size in sizes), default=0) / (start[0] * start[1])
    ranks = setup.environment.place.ranks if setup.environment is not None and not setup.shared else 1
    return measured_batch_size(setup.visualizer, setup.network, chosen, device, max(1.0, growth), ranks)


def render_jobs(
    setup: Setup,
    jobs: Sequence[Job],
    folder: Path | None,
    unwritten: Unwritten | None = None,
    fail_fast: bool = False,
) -> Iterator[JobResult]:
    """Render jobs one after another; jobs that are done in the folder are not rendered again.

    After a result with a signal there are no more. The network is frozen meanwhile; afterwards its flags are as before.

    Args:
        setup: what the jobs have in common.
        jobs: from `plan`.
        folder: the run folder, or None to leave nothing on disk.
        unwritten: where to note what the disk did not take; the render goes on.
        fail_fast: end after the first job that is rendered here and has a target that is not done.

    Raises:
        CheckpointError: all checkpoints of a job are damaged; before any job is rendered.
    """
    unwritten = unwritten if unwritten is not None else Unwritten()
    finished = {job.id: job.done(folder) if folder is not None else None for job in jobs}
    if folder is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about checkpoints passed over: said when the job begins
            for job in jobs:
                if finished[job.id] is None:
                    latest_checkpoint(job.folder(folder) / "checkpoints")
    network = setup.network
    device = network.device
    try:
        with network.frozen():
            for job in jobs:
                done = finished[job.id]
                if done is not None:
                    assert folder is not None
                    if _writes(setup):
                        job.clear_checkpoints(folder)  # a kill may have come before that
                    yield JobResult(job, done)
                    continue
                try:
                    with _quiet_lightning():
                        result = _render_job(setup, job, folder, unwritten)
                except (DeviceMemoryError, RuntimeError) as error:
                    if setup.shared or not (isinstance(error, DeviceMemoryError) or out_of_memory(error)):
                        raise
                    result = _failed(setup, job, error)
                yield result
                if result.signal is not None or (fail_fast and result.spoilt):
                    return
    finally:
        if network.device != device:
            network.to(device)


def _failed(setup: Setup, job: Job, error: Exception) -> JobResult:
    """A job that the device's memory does not hold, which others may need less of; said in a warning."""
    told = str(error).splitlines()[0]
    names = job.targets[0].text + (f" and {len(job.targets) - 1} more" if len(job.targets) > 1 else "")
    warnings.warn(f"job {job.id} ({names}) failed: {told}", stacklevel=2)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    records = unfinished(setup, job.targets)
    for record in records:
        record.scores["error"] = told
    return JobResult(job, records, failed=True)


def count_devices(options: dict[str, Any]) -> int:
    """How many devices of this machine the Trainer's options ask for.

    Raises:
        UsageError: the machine does not have them.
    """
    if options.get("devices") in (None, 1, "1"):
        return 1
    trainer = _check_trainer({**options, "strategy": "independent", "plugins": [PlacedEnvironment(Place())]})
    return len(trainer.device_ids)


def _check_trainer(options: dict[str, Any]) -> pl.Trainer:
    """What Lightning has against the options, or the machine against them, in one line and before any work."""
    plain = {
        "callbacks": None,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
    }
    try:
        with _quiet_lightning():
            return pl.Trainer(**{**options, **plain, "max_epochs": -1, "enable_progress_bar": False})
    except Exception as error:  # Lightning raises of many kinds
        raise UsageError(f"the Trainer cannot be made: {' '.join(str(error).split())}") from None


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence what Lightning says to people who train: it does not hold for pictures, and comes once per job."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for message in (
                ".*does not have many workers.*",  # the loader yields step numbers
                ".*smaller than the logging interval.*",  # a stage is short
                ".*Checkpoint directory .* exists and is not empty.*",  # a resumed job's is not
                ".*not resumable.*",  # every batch is a function of the step
                ".*dirpath has changed.*",  # a run folder may be moved
                ".*LeafSpec.* is deprecated.*",  # Lightning 2.6 under torch 2.14 and newer
            ):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _render_job(setup: Setup, job: Job, folder: Path | None, unwritten: Unwritten) -> JobResult:
    from lightning_fv.engines.loggers import quiet_writers

    bound = setup.visualizer.bind(setup.network, job.targets, setup.seed)
    bound.job_folder = None if folder is None else str(job.folder(folder))
    callbacks = _callbacks(setup, job, folder)
    writers = [callback for callback in callbacks if isinstance(callback, ArtifactWriter | ImageLogger)]
    for callback in writers:
        callback.unwritten = unwritten
    trainer = make_trainer(setup, callbacks, job, folder, unwritten)
    start, last = time.monotonic(), None
    if folder is not None:
        if _writes(setup):
            job.unmark(folder)
        remove_partials(job.folder(folder))
        last = latest_checkpoint(job.folder(folder) / "checkpoints")
    with quiet_writers():
        if trainer.logger is not None:
            trainer.logger.log_hyperparams({"targets": [target.text for target in job.targets], **setup.settings})
        trainer.fit(bound, ckpt_path=last, weights_only=True)
        complete = trainer.global_step >= trainer.max_steps
        writer = next((c for c in writers if isinstance(c, ArtifactWriter)), None)
        if complete and writer is not None and not writer.records:
            # The checkpoint was of the last step: what came after it was not written, and Lightning's loop did not begin.
            bound.to(setup.network.device)
            for callback in writers:
                callback.on_fit_start(trainer, bound)
                callback.on_train_end(trainer, bound)
                callback.teardown(trainer, bound, "fit")
    stop = next((c for c in callbacks if isinstance(c, GracefulStop)), None)
    records = writer.records if writer else assess(bound, trainer.global_step, time.monotonic() - start, complete)
    received = stop.received if stop else None
    if folder is not None and _writes(setup) and job.done(folder) is not None:
        job.clear_checkpoints(folder)
    return JobResult(job, records, bound.pictures().cpu(), received or (None if complete else signal.SIGINT))


def _callbacks(setup: Setup, job: Job, folder: Path | None) -> list[pl.Callback]:
    """The shipped callbacks and the given ones; a given one takes the place of a shipped one of its class."""
    options = setup.options
    given = copy.deepcopy(list(options.get("callbacks") or []))
    shipped: list[pl.Callback] = [GracefulStop()]
    if options.get("enable_progress_bar") in (None, True) and not any(isinstance(c, ProgressBar) for c in given):
        shipped.append(RenderProgress())
    if folder is not None:
        if _writes(setup):
            shipped.append(ArtifactWriter())
        if options.get("logger") is not False:
            shipped.append(ImageLogger())
        if options.get("enable_checkpointing") in (None, True):
            shipped.append(
                StepCheckpoint(
                    job.folder(folder) / "checkpoints",
                    filename="{step}",
                    monitor="step",
                    mode="max",
                    save_top_k=2,  # the last may be damaged by what ended the run
                    train_time_interval=timedelta(seconds=setup.checkpoint_seconds),
                )
            )
    own = {ModelCheckpoint if isinstance(other, ModelCheckpoint) else type(other) for other in given}
    return given + [c for c in shipped if (ModelCheckpoint if isinstance(c, StepCheckpoint) else type(c)) not in own]


def _writes(setup: Setup) -> bool:
    """Whether this process writes its jobs' pictures: of ranks that share them the first does."""
    return not setup.shared or setup.environment is None or setup.environment.place.rank == 0


def make_trainer(
    setup: Setup, callbacks: list[pl.Callback], job: Job, folder: Path | None, unwritten: Unwritten
) -> pl.Trainer:
    """The Trainer of a job: the user's options with the callbacks, the job's logger and atomic checkpoints."""
    from lightning_fv.engines.loggers import SparingLogger  # here: it takes a while to import

    options = setup.options
    chosen = {**_placed(setup), "callbacks": callbacks, "max_epochs": -1, "enable_model_summary": False}
    chosen["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in callbacks)
    chosen["enable_checkpointing"] = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    chosen["plugins"] = [*chosen["plugins"], AtomicCheckpointIO(unwritten)]
    if folder is None:
        chosen["logger"] = False
    else:
        chosen["default_root_dir"] = str(folder)
        if options.get("logger") in (None, True):
            chosen["logger"] = SparingLogger(folder, "jobs", job.id, unwritten)
    return pl.Trainer(**chosen)


def _placed(setup: Setup) -> dict[str, Any]:
    """The Trainer's options for the one device of this process."""
    options = {**setup.options, "num_nodes": 1, "plugins": _as_list(setup.options.get("plugins"))}
    if setup.environment is None:
        alone = setup.options.get("strategy")
        strategy = "auto" if alone is None or isinstance(alone, str) else alone
        return {**options, "devices": _first_device(options.get("devices")), "strategy": strategy}
    options["strategy"] = SharedStrategy() if setup.shared else "independent"
    options["plugins"].append(setup.environment)
    if setup.environment.place.launcher in ("torchrun", "SLURM") and isinstance(options.get("devices"), int):
        options["devices"] = "auto"  # they say how many ranks there are; each takes the device of its number
    return options


def _first_device(devices: Any) -> Any:
    """One device of those asked for: the first that is named by its number, else any."""
    if isinstance(devices, str) and "," in devices:
        devices = [int(number) for number in devices.split(",") if number.strip()]
    return [devices[0]] if isinstance(devices, list | tuple) and devices else 1


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def new_run_folder(folder: Path, config: str | None = None) -> Path:
    """Make a folder for a run, or take an empty one; of processes that ask at once, one gets it.

    Args:
        folder: where; what a kill left there of an unfinished write does not count.
        config: the run's settings for its ``config.yaml``. The file is what takes the folder, so that a process killed
            here leaves either a run that can be resumed or a folder that can be taken.

    Raises:
        RunFolderError: it holds something already, is no folder, or cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_vacant(folder):
            raise RunFolderError(f"{folder} is not empty; choose another folder, or go on with a run in it by --resume")
        if config is not None:
            write_new_text(folder / "config.yaml", config)
        (folder / "jobs").mkdir()
    except FileExistsError:
        raise RunFolderError(
            f"{folder} is a file, or another run has just begun there; choose another folder"
        ) from None
    except OSError as error:
        raise RunFolderError(f"cannot write to {folder}: {error.strerror}; choose another folder") from None
    return folder


def next_version_folder(parent: Path, name: str = "version") -> Path:
    """Make ``parent/version_N`` with the first free N; two runs started together never share one.

    Raises:
        RunFolderError: it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(f.name[len(name) + 1 :]) for f in parent.glob(f"{name}_*") if f.name[len(name) + 1 :].isdigit()]
        number = max(taken, default=-1) + 1
        while True:
            try:
                (parent / f"{name}_{number}").mkdir()
                return parent / f"{name}_{number}"
            except FileExistsError:
                number += 1
    except OSError as error:
        raise RunFolderError(f"cannot write to {parent}: {error.strerror}; choose a folder with --out") from None


def unfinished(setup: Setup, targets: Sequence[Target], steps: int = 0) -> list[Record]:
    """Records of targets that have no picture, or none that is known of.

    Args:
        setup: what the jobs have in common.
        targets: what was to be rendered.
        steps: optimizer steps done.
    """
    size = setup.visualizer.size_for(setup.network)
    name, seed = setup.network.name, setup.seed
    return [Record(t.id, t.text, name, "partial", None, None, list(size), steps, seed, 0.0) for t in targets]


def begun(setup: Setup, job: Job, folder: Path) -> list[Record]:
    """Records of a job of which no more is known than its last checkpoint, if there is one."""
    steps = 0
    with contextlib.suppress(CheckpointError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged one is told of by the resumed run
        last = latest_checkpoint(job.folder(folder) / "checkpoints")
        steps = int(last.stem.partition("=")[2].partition("-")[0]) if last else 0
    return unfinished(setup, job.targets, steps)


def finish_run(
    folder: Path, records: Sequence[Record], jobs: Sequence[Job], unwritten: Unwritten | None = None
) -> None:
    """Write the manifest, the contact sheet, the film and the gallery of a run; each stands or falls alone.

    Args:
        folder: the run folder.
        records: of all targets, in order.
        jobs: whose frames make the film; of the first four only, so that it stays a film one can look at.
        unwritten: where to note what the disk did not take.
    """
    unwritten = unwritten if unwritten is not None else Unwritten()
    frames = [sorted((job.folder(folder) / "frames").glob("*.jpg")) for job in jobs[:4]]
    parts: dict[str, Callable[[], object]] = {
        "manifest.jsonl": lambda: write_manifest(folder / "manifest.jsonl", records),
        "sheet.png": lambda: contact_sheet(folder, records, folder / "sheet.png"),
        "progress.webp": lambda: film(frames, folder / "progress.webp"),
        "gallery.html": lambda: write_gallery([folder]),  # of what the manifest says
    }
    for name, write in parts.items():
        try:
            if name != "gallery.html" or "manifest.jsonl" not in unwritten.reasons:
                write()
        except (OSError, RunFolderError) as error:
            unwritten.add(name, error)
