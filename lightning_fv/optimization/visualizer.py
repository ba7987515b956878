"""Activation maximization as a LightningModule; the data flow from picture to loss reads from top to bottom."""

import copy
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from lightning_fv.errors import UsageError
from lightning_fv.functional import constant, keyed_generator
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import OPACITY, REACHED, Objective
from lightning_fv.optimization.captured_step import CapturedSteps
from lightning_fv.optimization.dead_units import DeadUnitMonitor
from lightning_fv.optimization.nonfinite import NonFiniteGuard
from lightning_fv.optimization.objective_gradient import ChunkedObjective
from lightning_fv.optimization.parts import check_parts, describe_recipe
from lightning_fv.optimization.references import NO_REFERENCES, Pictures
from lightning_fv.optimization.resize import Moments, resize_pictures
from lightning_fv.optimization.saved_settings import restored_settings, saved_settings
from lightning_fv.optimization.schedule import MakeOptimizer, MakeScheduler, optimizer_and_schedule
from lightning_fv.optimization.size import Size, in_pixels
from lightning_fv.optimization.stages import Steps, steps_of_a_stage
from lightning_fv.optimization.start import check_count, check_start, naming, refuse_given, start_from
from lightning_fv.optimization.step_block import can_form_blocks, finish_block
from lightning_fv.optimization.transform_pipeline import TransformPipeline
from lightning_fv.parameterizations import Fourier, Parameterization
from lightning_fv.targets import Target, check_size
from lightning_fv.transforms import KeyedTransform, RandomBackground, RandomNoise, RandomWarp


class FeatureVisualizer(pl.LightningModule):
    """Renders one picture per target by gradient ascent on the target's objective.

    Constructed as a recipe, without a network; `bind` adds the network and the targets. A step is one optimizer step, an
    epoch one stage of the render.

    Args:
        parameterization: how the pictures are represented; default: Fourier with a decay of 1.5.
        transforms: applied in order before the network; any Module from pictures to pictures, including Kornia's
            augmentations. Default: RandomWarp and RandomNoise.
        penalties: subtracted from the objective; those that read activations are multiplied by its magnitude before.
        optimizer: makes the optimizer from the parameters; default: Adam with a learning rate of 0.1.
        size: of the pictures at the start: pixels (int), (height, width), or a fraction of the network's training size; default: 1.0.
        stage_steps: steps in a stage (epoch). Default: a sixteenth of the render.
        redirect_steps: first steps in which pictures without any gradient get that of redirected ReLUs (16 in Lucid).
        moments: what happens to the optimizer's moments when the pictures grow: ``reset`` or ``resample``.
        diversity: how much several pictures of one unit (``logits:pizza x4``) are made to differ: 0 not at all, 1 visibly, for
            about a tenth of the objective; see `lightning_fv.optimization.diversity`.
        diversity_layer: where they are compared; default: see `lightning_fv.optimization.diversity.layer_to_compare`.
        chunk: pictures per forward pass, where memory is short; default: the whole batch, and fewer once the device runs
            out of memory. Changes pictures only by rounding.
        lr_scheduler: makes a schedule of the learning rate from the optimizer, which advances every step; default: none.
        cuda_graph: replay steps as CUDA graphs where possible, see `CapturedSteps`. Changes pictures only by rounding.

    Example:
        >>> from lightning_fv import load_network, resolve_targets
        >>> network = load_network("demo")
        >>> visualizer = FeatureVisualizer().bind(network, resolve_targets("logits:pizza", network))
        >>> trainer = pl.Trainer(max_steps=128)
        >>> trainer.fit(visualizer)  # doctest: +SKIP
        >>> visualizer.pictures().shape  # doctest: +SKIP
        torch.Size([1, 3, 64, 64])
    """

    def __init__(
        self,
        parameterization: Parameterization | None = None,
        transforms: list[KeyedTransform | nn.Module] | None = None,  # short names mean ours first
        penalties: list[Objective] | None = None,
        optimizer: MakeOptimizer = lambda parameters: Adam(parameters, lr=0.1, fused=True),
        size: Size | None = None,
        stage_steps: int | None = None,
        moments: Moments = "reset",
        redirect_steps: int = 16,
        chunk: int | None = None,
        diversity: float = 0.0,
        diversity_layer: str | None = None,
        lr_scheduler: MakeScheduler | None = None,
        cuda_graph: bool = False,
    ) -> None:
        super().__init__()
        check_parts(parameterization, transforms or (), penalties or (), optimizer, stage_steps, chunk, diversity)
        self.parameterization = parameterization if parameterization is not None else Fourier(decay=1.5)
        self.transforms = nn.ModuleList(transforms if transforms is not None else [RandomWarp(), RandomNoise()])
        self.penalties = list(penalties or [])
        self.optimizer, self.asked_size, self.stage_steps, self.moments = optimizer, size, stage_steps, moments
        self.redirect_steps, self.chunk, self.lr_scheduler = redirect_steps, chunk, lr_scheduler
        self.diversity, self.diversity_layer, self.cuda_graph = diversity, diversity_layer, cuda_graph
        self.guard, self.dead_units = NonFiniteGuard(), DeadUnitMonitor()
        self.network: VisionNetwork | None = None
        self.targets: list[Target] = []
        self.seed = 0
        self.start_size = (0, 0)
        """(height, width) of the pictures at step 0, in pixels; set by `bind`."""
        self.objective_values: Tensor | None = None
        """Each target's objective at the last step, (B,), before penalties."""
        self.chunked_objective: ChunkedObjective | None = None
        self.pipeline: TransformPipeline | None = None
        self._recipe: dict[str, Any] | None = None
        self.forms_blocks = False
        """Whether several steps are done in a batch of Lightning's loop; known once the training has begun."""
        self._captured: CapturedSteps | None = None

    # -- what is rendered ------------------------------------------------------------------------------------------

    def bind(
        self, network: VisionNetwork, targets: Sequence[Target], seed: int = 0, start: Tensor | None = None
    ) -> "FeatureVisualizer":
        """A copy of this recipe that renders ``targets`` of ``network``; this one is not changed.

        Args:
            network: held outside the module tree: not saved, not trained, not switched between modes.
            targets: one picture each.
            seed: random draws depend on it, the target and the step, and on nothing else.
            start: (B or 1, C, H, W) or (C, H, W) in [0, 1], pictures to start from instead of noise, resized to the size at
                the start. A dead unit's picture restarts from noise.

        Raises:
            UsageError: a setting of the recipe cannot be described, its size or ``start`` is invalid or missing, or it was given pictures.
        """
        if not isinstance(network, VisionNetwork) or not all(isinstance(target, Target) for target in targets):
            raise UsageError("bind takes a VisionNetwork and Targets; see load_network and resolve_targets")
        refuse_given(self.parameterization)
        bound = copy.deepcopy(self)
        bound.network, bound.targets, bound.seed = network, list(targets), seed
        bound.start_size = self.size_for(network)
        start = None if start is None else check_start(start, len(bound.targets), network.channels)
        options = self.chunk, self.diversity, self.diversity_layer, self.penalties, start
        bound.chunked_objective = ChunkedObjective(network, bound.targets, *options)
        bound._recipe = self.describe()
        bound._key_transforms(rank=0)
        bound.parameterization.channels = network.channels
        with naming(bound.parameterization):
            bound._initialize(bound.start_size, start)
        return bound

    def _check_bound(self) -> VisionNetwork:
        if self.network is None:
            raise UsageError("a recipe has no network and no targets yet; use what bind(network, targets) returns")
        return self.network

    def _key_transforms(self, rank: int) -> None:
        """Key the random draws of the transforms; ranks that share pictures (ddp) draw different transforms."""
        network = self._check_bound()
        keys = [target.key if rank == 0 else f"{target.key} on rank {rank}" for target in self.targets]
        background = RandomBackground(network.channels) if self.parameterization.has_opacity else None
        self.pipeline = TransformPipeline(list(self.transforms), self.seed, keys, max(network.input_size), background)

    def setup(self, stage: str) -> None:
        self._check_bound()
        check_count(self.parameterization, len(self.targets))
        if self.parameterization.holds_images:  # perhaps since `bind`, of another size
            self.start_size = self.size
        if self.global_rank > 0:
            self._key_transforms(self.global_rank)

    def size_for(self, network: VisionNetwork) -> tuple[int, int]:
        """(height, width) in pixels at which pictures of a network start."""
        return in_pixels(self.asked_size if self.asked_size is not None else 1.0, network.input_size)

    def _initialize(self, size: tuple[int, int], start: Tensor | None = None) -> None:
        self.parameterization.initialize(size, [keyed_generator(self.seed, t.key, "start") for t in self.targets])
        if start is not None:
            start_from(self.parameterization, start, size)
        self._reset_state()

    def _reset_state(self) -> None:
        """Reset the guard and the dead-unit monitor to the current pictures."""
        values = self.parameterization.values
        self.guard.reset(values)
        self.dead_units.reset(len(values), values.device)

    def rehearse(self, layers: Collection[str]) -> None:
        """Run the transforms once and check that the network can process pictures of the resulting size.

        Args:
            layers: names of the layers that the objectives read.

        Raises:
            TransformError: a transform rejects the pictures, or does not pass gradients.
            TargetError: the network cannot process pictures of the size that the transforms return.
        """
        network = self._check_bound()
        assert self.pipeline is not None
        with naming(self.parameterization):
            seen = self.pipeline.rehearse(self.parameterization())
        network.preprocess(seen)  # refuses another number of channels
        size = (seen.shape[-2], seen.shape[-1])
        for layer in layers if size != self.size else ():  # that size was checked when the targets were resolved
            check_size(network, layer, size)

    # -- one step --------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self.global_step
        self._restart_dead_pictures(step)
        # Batches that are accumulated into one step have separate draws: that is the point of accumulating.
        batches = self.trainer.accumulate_grad_batches
        loss = self.loss(step, step * batches + batch_idx % batches)
        if self.trainer.world_size > 1:  # a unit is dead only if it is inactive on every rank
            reduce, own = self.trainer.strategy.reduce, self.dead_units.last_active_step
            self.dead_units.last_active_step = reduce(own, reduce_op="max")
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and self.global_step % every == 0:  # when Lightning logs
            self.log("objective", self.mean_objective(), batch_size=len(self.targets))

    def loss(self, step: int | Tensor, draw: int | None) -> Tensor:
        """The loss of a step, a scalar.

        Args:
            step: optimizer steps done; as a tensor for a step that is recorded.
            draw: number of the transforms' random draw; None for the one that the pipeline holds.

        Raises:
            DeviceMemoryError: a single picture does not fit into the device's memory.
        """
        self._check_bound()
        assert self.chunked_objective is not None
        with torch.autocast(self.device.type, enabled=False):  # pictures and warps stay in float32
            images = self.parameterization()  # (B, 3, H, W), or (B, 4, H, W) with an opacity
            seen = self.transform(images, draw)  # (B, 3, H', W')
            compared = self.chunked_objective.references.at(self.size, self.device).items()
            references = {kind: self.transform(pictures, draw) for kind, pictures in compared}
            shown = self.parameterization.over_grey(images)  # (B, 3, H, W)
        objectives = self.objectives(seen, shown, step, references)  # (B,)
        known = {OPACITY: images[:, -1:], REACHED: objectives} if self.parameterization.has_opacity else {}
        for penalty in self.penalties:
            if not penalty.reads_activations:  # those that read activations are subtracted already
                objectives = objectives - penalty(known, shown)
        # The only minus signs that turn ascent into descent. A sum, so that a picture's gradient does not depend on its batch.
        return objectives.dot(constant((-1.0,) * len(objectives), objectives.device, objectives.dtype))

    def objectives(
        self, seen: Tensor, images: Tensor, step: int | Tensor, references: Pictures = NO_REFERENCES
    ) -> Tensor:
        """Each target's objective less what diversity and penalties on activations subtract, (B,), differentiable.

        Args:
            seen: (B, 3, H', W') pictures as the network sees them.
            images: (B, 3, H, W) pictures before transforms, in [0, 1].
            step: optimizer steps done; in its first steps a picture has redirected ReLUs.
            references: what the pictures are compared with, transformed like them, (B, 3, H', W').
        """
        self._check_bound()
        assert self.chunked_objective is not None
        redirected = self.dead_units.redirect_mask(step, self.redirect_steps)
        gradient = self.chunked_objective(seen, images, redirected, references)
        self.dead_units.record_activity(gradient.active, step)
        self.objective_values = gradient.objectives
        return gradient.attach(seen, images)

    def mean_objective(self) -> Tensor:
        """Mean over the pictures with a finite objective at the last step; a scalar, NaN if there is none."""
        values = self.objective_values if self.objective_values is not None else torch.empty(0)
        return values.nan_to_num(torch.nan, torch.nan, torch.nan).nanmean()

    def transform(self, images: Tensor, step: int | None) -> Tensor:
        """The pictures as the network sees them, (B, 3, H', W'); ``step`` is the number of the random draw, None if one is held."""
        self._check_bound()
        assert self.pipeline is not None
        return self.pipeline(images, step)

    def configure_optimizers(self) -> Any:
        return optimizer_and_schedule(self.optimizer, self.lr_scheduler, self.parameterization)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.guard.before_step(self.parameterization.values)  # Lightning clips gradients after this

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        end_step = partial(self.guard.after_step, self.parameterization.values)
        end_step()
        if self.forms_blocks:
            finish_block(self, self._restart_dead_pictures, self.loss, end_step, self._captured)

    def _restart_dead_pictures(self, step: int) -> None:
        keys = [(self.seed, target.key, "start") for target in self.targets]
        self.dead_units.restart(step, self.parameterization, keys, self.guard, self.trainer.optimizers)

    def train_dataloader(self) -> Steps:
        return Steps(steps_of_a_stage(self.stage_steps, self.trainer.max_steps))

    def on_fit_start(self) -> None:
        self._check_bound().to(self.device)  # outside the module tree, which Lightning moves

    def on_train_start(self) -> None:
        if self.global_step == 0:
            self._reset_state()  # the pictures may have been replaced since `bind`
        self.dead_units.read_latest_start()
        self.forms_blocks = can_form_blocks(self, FeatureVisualizer)
        self._captured = CapturedSteps(self) if self.cuda_graph else None

    def teardown(self, stage: str) -> None:
        self._captured = None  # which holds memory, and cannot be copied

    # -- around the steps ------------------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures now, in pixels."""
        return self.parameterization.size

    @torch.no_grad()
    def pictures(self) -> Tensor:
        """The pictures as they are now, (B, 3, H, W) in [0, 1]; where they are transparent, over mid-grey."""
        self._check_bound()
        return self.parameterization.over_grey(self.parameterization()).detach()

    def resize(self, size: tuple[int, int]) -> None:
        """Resize the pictures, (height, width) in pixels, with the optimizer's state; see `resize_pictures`.

        Raises:
            UsageError: several devices share the pictures; DDP would still average the old Parameter.
        """
        self._check_bound()
        if self._trainer is not None and self.trainer.world_size > 1:
            raise UsageError("pictures of several devices cannot be resized; use --trainer.strategy independent")
        optimizers = self.trainer.optimizers if self._trainer is not None else []
        resize_pictures(self.parameterization, size, self.guard, optimizers, self.moments)

    def describe(self) -> dict[str, Any]:
        """All settings that change a picture, as plain JSON values; part of job ids and of each PNG.

        Of a bound visualizer: those of the recipe it was bound from, since parts change while they run.

        Raises:
            UsageError: a setting cannot be described; the message names the part and its attribute.
        """
        return describe_recipe(self) if self._recipe is None else self._recipe

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_bound()
        checkpoint["feature_visualization"] = saved_settings(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.start_size, size = restored_settings(self, checkpoint.get("feature_visualization"))
        # The Parameter takes the shape found in the checkpoint, so that loading it stays strict.
        self._initialize(size)
