"""The plan of a run: its jobs and what they have in common, checked before the first step."""

import contextlib
import copy
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import lightning.pytorch as pl
from torch import Tensor

from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.engines.batch_size import BATCH_SIZE, measured_batch_size
from lightning_fv.engines.checks import check_categories, check_options, warn_of_doubtful
from lightning_fv.engines.isolation import Precision
from lightning_fv.engines.rank import RankInfo
from lightning_fv.engines.signals import StopSignals
from lightning_fv.engines.trainer import check_trainer, trainer_options
from lightning_fv.errors import CheckpointError, LayerNotFoundError, UsageError, first_line, warn
from lightning_fv.networks import VisionNetwork
from lightning_fv.optimization.coupling import behaviour, check_clipping, check_coupling
from lightning_fv.optimization.diversity import check_layers
from lightning_fv.optimization.references import References
from lightning_fv.optimization.start import check_groups, check_start
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.photos.statistics import PhotoStatistics, shipped_statistics
from lightning_fv.runs.captions import network_label
from lightning_fv.runs.checkpoints import latest_checkpoint, steps_of
from lightning_fv.runs.files import WriteErrors
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job import Job, make_jobs, smallest_batch_size
from lightning_fv.runs.record import Record, Status
from lightning_fv.runs.settings import callback_settings, objective_settings, plain_value
from lightning_fv.runs.start_photo import StartPhoto
from lightning_fv.targets import Target, TargetsLike, check_layer, resolve_targets

STEPS = 128
"""Default number of steps: with more, other networks recognize the pictures no better (recipes/default.yaml)."""

CHECKPOINT_SECONDS = 5.0


@dataclass(frozen=True)
class Setup:
    """What jobs have in common.

    Attributes:
        network: the network to visualize.
        visualizer: the recipe; every job renders with a copy.
        options: the Trainer's keyword arguments.
        seed: the run's seed.
        checkpoint_seconds: time between checkpoints; a kill costs no more than this.
        rank: of this process among those of the run.
        shared: whether all processes share the pictures of one job, each with its own transforms (ddp).
        port: of rank 0 on this machine, if this package starts the ranks of ddp.
        start: (B or 1, 3, H, W) or (3, H, W) in [0, 1], pictures to start from instead of noise, for each target or for all.
        photos: the photos that these are, if they came from files.
        matmul_precision: of products of float32 matrices on a GPU.
    """

    network: VisionNetwork
    visualizer: FeatureVisualizer
    options: Mapping[str, Any]
    seed: int = 0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    rank: RankInfo = field(default_factory=RankInfo)
    shared: bool = False
    port: int | None = None
    start: Tensor | None = None
    photos: tuple[StartPhoto, ...] = ()
    matmul_precision: Precision = "highest"

    @property
    def largest_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the pictures when they have grown."""
        start, reference = self.visualizer.size_for(self.network), self.network.input_size
        grown = [
            callback.last_size(self.options["max_steps"], start, reference)
            for callback in self.callbacks
            if isinstance(callback, ProgressiveUpscale)
        ]
        return max([start, *grown], key=math.prod)

    @property
    def callbacks(self) -> list[Any]:
        """The Trainer's callbacks; one may be given without a list, as to Lightning."""
        given = self.options.get("callbacks") or []
        return list(given) if isinstance(given, list | tuple) else [given]

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that changes a picture besides its target and its batch, as plain values."""
        options = self.options
        trainer = {
            "max_steps": options["max_steps"],
            "accumulate_grad_batches": options.get("accumulate_grad_batches") or 1,
        }
        trainer |= {key: options[key] for key in ("gradient_clip_val", "gradient_clip_algorithm") if options.get(key)}
        if options.get("precision") == "bf16-mixed":  # the others that are allowed are one and the same
            trainer["precision"] = "bf16-mixed"
        if self.matmul_precision != "highest":
            trainer["matmul_precision"] = self.matmul_precision
        if self.shared:
            trainer["ddp"] = self.rank.ranks
        start = {} if self.start is None else {"start": plain_value(self.start, "start")}
        return {
            "network": self.network.name,
            "digest": self.network.digest(),
            "preparation": self.network.settings(),
            "seed": self.seed,
            "recipe": self.visualizer.describe(),
            "callbacks": callback_settings(self.callbacks),
            "trainer": trainer,
            **start,
        }

    @property
    def provenance(self) -> dict[str, Any]:
        """The settings, with the names of the photos that pictures start from, which do not change them."""
        return self.settings | ({"start": [photo.provenance for photo in self.photos]} if self.photos else {})

    @property
    def writes(self) -> bool:
        """Whether this process writes the pictures of its jobs: of ranks that share them, only the first."""
        return not self.shared or self.rank.rank == 0

    @functools.cached_property
    def statistics(self) -> PhotoStatistics | None:
        """The package's own numbers of what the units respond to photos, if it has any for the network."""
        return shipped_statistics(self.network)

    def trainer_options(self) -> dict[str, Any]:
        """The Trainer's options for the one device of this process."""
        return trainer_options(self.options, self.rank, self.shared, self.port)


@dataclass
class Plan:
    """The jobs of a run, for an `Engine`.

    Attributes:
        setup: what the jobs have in common.
        targets: all of them, in order.
        jobs: the same, in batches.
        folder: the run folder, or None to leave nothing on disk.
        fail_fast: stop after the first job, rendered now, with a target that is not done.
        raise_errors: let an exception that a job raises through, instead of going on with the next.
        stop: the signals that stop the run.
        errors: what could not be written.
        config: the settings that all pictures' files hold, once they are known; see `lightning_fv.engines.config.job_origin`.
    """

    setup: Setup
    targets: list[Target]
    jobs: list[Job]
    folder: RunFolder | None = None
    fail_fast: bool = False
    raise_errors: bool = False
    stop: StopSignals = field(default_factory=StopSignals)
    errors: WriteErrors = field(default_factory=WriteErrors)
    config: dict[str, Any] | None = None

    @property
    def known(self) -> dict[str, Any]:
        """What the ids of the jobs were made from besides the targets, as plain values."""
        return {"batch_size": smallest_batch_size(self.jobs), **self.setup.settings}

    def blank_records(
        self, targets: Sequence[Target], status: Status = "pending", steps: int = 0, error: str | None = None
    ) -> list[Record]:
        """Records of targets without a known picture.

        Args:
            targets: what was to be rendered.
            status: of all of them.
            steps: optimizer steps done.
            error: why their job failed.
        """
        network, seed = self.setup.network, self.setup.seed
        size = self.setup.visualizer.size_for(network)
        known: dict[str, Any] = {"score": None, "image": None, "steps": steps, "seconds": 0.0, "error": error}
        return [
            Record(**target.names, network=network_label(network), status=status, size=list(size), seed=seed, **known)
            for target in targets
        ]

    def known_records(self, job: Job) -> list[Record]:
        """A job's records as far as its folder tells: done, stopped, failed, started, or pending."""
        if self.folder is None:
            return self.blank_records(job.targets)
        records = self.folder.done(job) or self.folder.unfinished(job)
        if records is not None:
            return records
        steps = 0
        with contextlib.suppress(CheckpointError):  # a damaged one is reported when the job is resumed
            last = latest_checkpoint(self.folder.job(job).checkpoints, quiet=True)
            steps = steps_of(last) if last is not None else 0
        return self.blank_records(job.targets, "partial" if steps else "pending", steps)


def make_plan(setup: Setup, targets: TargetsLike, batch_size: int) -> Plan:
    """Check everything that can be checked before the first step, and cut the targets into jobs.

    Args:
        setup: what the jobs have in common.
        targets: as written.
        batch_size: pictures in a job.

    Raises:
        FeatureVisualizationError: a subclass that says what is wrong.
    """
    check_options(setup)
    if batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, got {batch_size}")
    check_categories(setup.network)
    size = setup.visualizer.size_for(setup.network)
    chosen = resolve_targets(targets, setup.network, size, warns=setup.rank.rank == 0)
    warn_of_doubtful(setup)
    layers = {layer for target in chosen for layer in target.objective.layers}
    compared = check_layers(setup.network, chosen, setup.visualizer.diversity_layer, size)
    if setup.visualizer.diversity and not compared:
        warn("diversity makes several pictures of a unit differ, and no target has several; write LAYER:UNIT x4")
    layers |= compared
    for penalty in setup.visualizer.penalties:
        for layer in sorted(penalty.layers - layers):
            try:
                check_layer(layer, setup.network, size)
            except LayerNotFoundError as error:
                raise LayerNotFoundError(
                    f"the penalty {type(penalty).__name__} of the recipe: {error}; name layers of this network in "
                    "--model.penalties, or leave the penalties out: --model.penalties=[]"
                ) from None
        layers |= penalty.layers
        penalty.for_network(setup.network).for_objectives([target.objective for target in chosen])
    start = None if setup.start is None else check_start(setup.start, len(chosen), setup.network.channels)
    photos = setup.photos * len(chosen) if len(setup.photos) == 1 else setup.photos
    References(chosen, setup.visualizer.penalties, start, setup.network.channels).check(size)
    first = None if start is None else start[:1]
    setup.visualizer.bind(setup.network, chosen[:1], setup.seed, first).rehearse(layers)
    details = [objective_settings(target.objective) for target in chosen]
    jobs = make_jobs(chosen, batch_size, setup.settings, details, start, photos)
    most = max(len(job.targets) for job in jobs)
    check_coupling(setup.visualizer.optimizer, most)
    check_clipping(setup.options, most)
    check_groups(setup.visualizer.parameterization, [len(job.targets) for job in jobs])
    if setup.shared and len(jobs) > 1:
        raise UsageError(
            f"ddp shares the pictures of one job, but {len(chosen)} targets make {len(jobs)} jobs; "
            "use --trainer.strategy independent, or fewer targets"
        )
    if len(jobs) > 1:
        copied(setup.callbacks)
    return Plan(setup, chosen, jobs)


def copied(callbacks: Sequence[pl.Callback]) -> list[pl.Callback]:
    """Copies of callbacks: each of several jobs starts with the state that they have before the first.

    Raises:
        UsageError: one of them cannot be copied.
    """
    copies: list[pl.Callback] = []
    memo: dict[int, Any] = {}  # what they share, their copies share
    for callback in callbacks:
        try:
            copies.append(copy.deepcopy(callback, memo))
        except Exception as error:  # copying can raise anything
            raise UsageError(
                f"{type(callback).__name__} cannot be copied, and each of several jobs starts with a copy of it "
                f"({first_line(error)}); give it a __deepcopy__, or render all targets in one job by a larger batch size"
            ) from None
    return copies


def batch_size_for(setup: Setup, targets: TargetsLike, asked: int | Literal["auto"]) -> int:
    """The number of pictures in a job: as asked, or what fits on the device. Jobs depend on it, and so does rounding.

    Args:
        setup: what the jobs have in common.
        targets: as written.
        asked: a number, or ``auto``.

    Raises:
        FeatureVisualizationError: as `make_plan`, before anything is measured.
    """
    if asked != "auto":
        return asked
    check_options(setup)
    check_categories(setup.network)
    if behaviour(setup.visualizer.optimizer).couples:
        return 1
    trainer = check_trainer(setup.trainer_options())
    device = trainer.strategy.root_device
    workers = 1 if setup.shared else setup.rank.ranks
    if device.type != "cuda" and workers == 1:
        return BATCH_SIZE
    start = setup.visualizer.size_for(setup.network)
    chosen = resolve_targets(targets, setup.network, start)
    if device.type != "cuda":
        return min(BATCH_SIZE, -(-len(chosen) // workers))
    sizes = [
        callback.last_size(setup.options["max_steps"], start, setup.network.input_size)
        for callback in setup.callbacks
        if isinstance(callback, ProgressiveUpscale)
    ]
    growth = max((size[0] * size[1] for size in sizes), default=0) / (start[0] * start[1])
    return measured_batch_size(
        setup.visualizer, setup.network, chosen, device, max(1.0, growth), workers, setup.start,
        trainer.precision_plugin.forward_context,
    )  # fmt: skip
