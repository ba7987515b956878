"""Activation maximization as a LightningModule: the data's way from picture to loss, readable from top to bottom."""

import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from lightning_fv.errors import CheckpointError, TransformError, UsageError
from lightning_fv.functional import KeyedUniforms, blur_reach, keyed_generator, seed_of
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import LOGITS, Penalty
from lightning_fv.optimization.nonfinite import DEAD_STEPS, Guard
from lightning_fv.optimization.objective_gradient import Ascent
from lightning_fv.parameterizations import Fourier, Parameterization
from lightning_fv.targets import Target, check_size
from lightning_fv.transforms import KeyedTransform, RandomNoise, RandomWarp

Size = int | float | tuple[int, int]
"""A side in pixels (int), a fraction of the network's training size (float), or (height, width) in pixels."""

STAGES = 16
"""Stages (epochs) in a render, unless the recipe says otherwise."""


class Steps:
    """Stands for a data loader: yields the numbers of a stage's steps. No worker, no sampler, no random draw."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


class FeatureVisualizer(pl.LightningModule):
    """Makes one picture per target by gradient ascent on what the target's unit does.

    Constructed as a recipe, without a network; `bind` gives it one and the targets. A step is one optimizer step, an
    epoch one stage of the render.

    Args:
        parameterization: how the pictures are held; default: Fourier with a decay of 1.5.
        transforms: applied in order before the network; any Module from pictures to pictures, Kornia's augmentations
            among them. Default: RandomWarp and RandomNoise.
        penalties: subtracted from the objective.
        optimizer: makes the optimizer from the parameters; default: Adam at 0.1.
        size: of the pictures at the start: pixels (int), a fraction of the network's training size (float), or
            (height, width). Default: the network's training size.
        stage_steps: steps in a stage (epoch). Default: a sixteenth of the render.
        redirect_steps: first steps in which ReLUs let a gradient pass to pictures that would get none at all, so that a
            unit that noise does not excite wakes up (Lucid's 16).
        moments: what becomes of the optimizer's memory when the pictures grow: ``reset`` or ``resample``.
        chunk: pictures of a batch that pass the network together, where memory is short; default: all, and fewer once the
            device says that it is full. Changes a picture by rounding only.

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
        transforms: list[nn.Module] | None = None,
        penalties: list[Penalty] | None = None,
        optimizer: Callable[[Iterable[Any]], Optimizer] = lambda parameters: Adam(parameters, lr=0.1, fused=True),
        size: Size | None = None,
        stage_steps: int | None = None,
        moments: Literal["reset", "resample"] = "reset",
        redirect_steps: int = 16,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if stage_steps is not None and stage_steps < 1:
            raise UsageError(f"stage_steps must be at least 1, got {stage_steps}")
        if chunk is not None and chunk < 1:
            raise UsageError(f"chunk, the pictures that pass the network together, must be at least 1, got {chunk}")
        self.parameterization = parameterization if parameterization is not None else Fourier(decay=1.5)
        self.transforms = nn.ModuleList(transforms if transforms is not None else [RandomWarp(), RandomNoise()])
        self.penalties = list(penalties or [])
        self.optimizer, self.asked_size, self.stage_steps, self.moments = optimizer, size, stage_steps, moments
        self.redirect_steps, self.chunk = redirect_steps, chunk
        self.guard = Guard()
        self.network: VisionNetwork | None = None
        self.targets: list[Target] = []
        self.seed = 0
        self.start_size = (0, 0)
        """(height, width) of the pictures at step 0, in pixels; set by `bind`."""
        self.job_folder: str | None = None
        """Where the job's frames and records go; the trainer's log folder if None."""
        self.objective_values: Tensor | None = None
        """Each target's objective at the last step, (B,), before penalties."""
        self._ascent: Ascent | None = None
        self._uniforms: dict[int, KeyedUniforms] = {}
        self._keys: list[str] = []
        self._redirected_until = 0  # the step from which on no picture is young

    # -- what is rendered ------------------------------------------------------------------------------------------

    def bind(self, network: VisionNetwork, targets: Sequence[Target], seed: int = 0) -> "FeatureVisualizer":
        """A copy of this recipe that renders ``targets`` of ``network``; this one stays as it is.

        Args:
            network: held outside the module tree: not saved, not trained, not moved between modes.
            targets: one picture each.
            seed: with the target and the step, all that the random draws depend on.
        """
        bound = copy.deepcopy(self)
        bound.network, bound.targets, bound.seed = network, list(targets), seed
        bound.start_size = self.size_for(network)
        bound._ascent = Ascent(network, bound.targets, self.chunk)
        bound._key_transforms(rank=0)
        bound._initialize(bound.start_size)
        return bound

    def _key_transforms(self, rank: int) -> None:
        """Draws for a rank: pictures that several ranks share (ddp) are seen by each under other transforms."""
        assert self.network is not None
        self._keys = [target.key if rank == 0 else f"{target.key} on rank {rank}" for target in self.targets]
        self._uniforms = {}
        for number, transform in enumerate(self.transforms):
            if isinstance(transform, KeyedTransform):
                transform.unit = max(self.network.input_size)
                self._uniforms[number] = KeyedUniforms(self.seed, self._keys, f"transform {number}", transform.draws)

    def setup(self, stage: str) -> None:
        if self.global_rank > 0:
            self._key_transforms(self.global_rank)

    def size_for(self, network: VisionNetwork) -> tuple[int, int]:
        """(height, width) in pixels that pictures of a network start with."""
        return in_pixels(self.asked_size if self.asked_size is not None else 1.0, network.input_size)

    def _initialize(self, size: tuple[int, int]) -> None:
        generators = [keyed_generator(self.seed, target.key, "start") for target in self.targets]
        self.parameterization.initialize(size, generators)
        self.guard.begin(self.parameterization.values)

    def rehearse(self, layers: Collection[str]) -> None:
        """Take the pictures through transforms and network once, so that what cannot go is said before anything runs.

        Args:
            layers: names of the layers that will be looked at.

        Raises:
            TransformError: a transform cannot take the pictures, or cannot be optimised through.
            TargetError: the network cannot take what the transforms make of them.
        """
        assert self.network is not None
        seen = self.transform(self.parameterization(), 0)
        size = (seen.shape[-2], seen.shape[-1])
        if size != self.size:  # that one was tried when the targets were resolved
            for layer in layers:
                check_size(self.network, layer, size)

    # -- one step --------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self.global_step
        if step > 0 and step % DEAD_STEPS == 0:
            self._begin_lost_pictures_anew(step)
        # Batches that are accumulated into one step have draws of their own: that is what accumulating is for.
        batches = self.trainer.accumulate_grad_batches
        loss = self.loss(step, step * batches + batch_idx % batches)
        if self.trainer.world_size > 1:  # each rank hears its own transforms; the guard's state is the same on all
            self.guard.heard = self.trainer.strategy.reduce(self.guard.heard, reduce_op="max")
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (step + 1) % every == 0:  # when Lightning writes
            self.log("objective", self.mean_objective(), batch_size=len(self.targets))
        return loss

    def loss(self, step: int, draw: int) -> Tensor:
        """What a step lowers: minus the sum of the pictures' objectives, plus their penalties.

        Args:
            step: optimizer steps done.
            draw: number of the transforms' random draw.

        Raises:
            DeviceMemoryError: one picture alone is too much for the device's memory.
        """
        assert self._ascent is not None
        with torch.autocast(self.device.type, enabled=False):  # pictures and warps stay in float32
            images = self.parameterization()
            seen = self.transform(images, draw)
        climb = self._ascent(seen, images, self._young(step))
        self.guard.hear(climb.objectives, climb.by_seen, step)
        self.objective_values = climb.objectives
        loss = climb.loss_of(seen, images)
        for penalty in self.penalties:
            loss = loss + penalty({}, images).sum()
        return loss

    def _young(self, step: int) -> Tensor | bool:
        """Whose ReLUs are redirected in a step: all, none, or (B,) bool."""
        if step < self.redirect_steps:
            return True
        return step - self.guard.begun < self.redirect_steps if step < self._redirected_until else False

    def mean_objective(self) -> Tensor:
        """Mean over those pictures whose objective was finite at the last step; a scalar, NaN if there is none."""
        values = self.objective_values if self.objective_values is not None else torch.empty(0)
        return torch.where(values.isfinite(), values, torch.nan).nanmean()

    def transform(self, images: Tensor, step: int) -> Tensor:
        """The pictures as the network shall see them in a step (a batch, where several make a step), (B, 3, H', W')."""
        for number, transform in enumerate(self.transforms):
            if isinstance(transform, KeyedTransform):
                result = transform(images, self._uniforms[number].at(step, images.device))
            else:
                result = self._foreign(transform, images, seed_of(self.seed, self._keys, number, step))
            images = _checked(transform, images, result)
        return images

    def _foreign(self, transform: nn.Module, images: Tensor, seed: int) -> Any:
        """A transform that draws from torch's global generator: under a generator of its own, the same for a job's step."""
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            return transform(images)

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer(self.parameterization.parameters())

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.guard.before_step(self.parameterization.values)  # Lightning clips gradients after this

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.guard.after_step(self.parameterization.values)

    def _begin_lost_pictures_anew(self, step: int) -> None:
        """Other noise for pictures whose unit gives nothing, and an optimizer that remembers nothing of them.

        Adam counts its steps for all rows together, so the first steps of a row begun late are longer, up to five times
        after hundreds of steps; noise can bear that.
        """
        rows = self.guard.lost(step)
        if not rows:
            return
        values = self.parameterization.values
        starts = []
        for row in rows:
            key = self.seed, self.targets[row].key, "start", int(self.guard.restarts[row]) + 1
            starts.append(self.parameterization.noise(self.size, keyed_generator(*key)))
        self.guard.restart(values, rows, starts, step)
        self._redirected_until = step + self.redirect_steps
        for optimizer in self.trainer.optimizers:
            for moment in optimizer.state[values].values():
                if isinstance(moment, Tensor) and moment.shape == values.shape:
                    moment[rows] = 0

    def train_dataloader(self) -> Steps:
        return Steps(self.stage_steps or max(1, math.ceil(self.trainer.max_steps / STAGES)))

    def on_fit_start(self) -> None:
        assert self.network is not None
        self.network.to(self.device)  # it stands outside the module tree, where Lightning would move it

    def on_train_start(self) -> None:
        if self.global_step == 0:
            self.guard.begin(self.parameterization.values)  # may have been given a picture to start from
        self._redirected_until = int(self.guard.begun.max()) + self.redirect_steps

    # -- around the steps ------------------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures now, in pixels."""
        return self.parameterization.size

    @torch.no_grad()
    def pictures(self) -> Tensor:
        """The pictures as they are now, (B, 3, H, W) in [0, 1]."""
        pictures: Tensor = self.parameterization().detach()
        return pictures

    def resize(self, size: tuple[int, int]) -> None:
        """Carry the pictures to another size, and the optimizer with them.

        The Parameter is replaced, not resized in place: whatever still refers to the last step's graph stays valid.

        Raises:
            UsageError: several devices share the pictures: what averages their gradients holds the old Parameter.
        """
        if self._trainer is not None and self.trainer.world_size > 1:
            raise UsageError("pictures that several devices share cannot be resized; take the strategy independent")
        before = list(self.parameterization.parameters())
        resample = self.parameterization.resample
        states = []
        optimizers = self.trainer.optimizers if self._trainer is not None else []
        for optimizer in optimizers:
            state = [optimizer.state.pop(parameter, {}) for parameter in before]
            if self.moments == "resample":
                # Second moments of new frequencies start at the mean: a zero there would let the next step explode.
                state = [
                    {
                        k: resample(v, size, float(v.mean()) if k == "exp_avg_sq" else 0.0).contiguous()
                        if isinstance(v, Tensor) and v.shape == parameter.shape
                        else v
                        for k, v in entry.items()
                    }
                    for parameter, entry in zip(before, state, strict=True)
                ]
            states.append(state)
        last_good = copy.deepcopy(self.parameterization)
        if self.guard.good.shape == last_good.values.shape:  # else the pictures were replaced by hand
            last_good.values = nn.Parameter(self.guard.good)
        last_good.resize(size)
        self.guard.good = last_good.values.detach()
        self.parameterization.resize(size)
        after = list(self.parameterization.parameters())
        swap = {id(old): new for old, new in zip(before, after, strict=True)}
        for optimizer, state in zip(optimizers, states, strict=True):
            for group in optimizer.param_groups:
                group["params"] = [swap.get(id(parameter), parameter) for parameter in group["params"]]
            if self.moments == "resample":
                optimizer.state.update({new: entry for new, entry in zip(after, state, strict=True) if entry})

    def score(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Look at the plain pictures, without transforms and penalties.

        Returns:
            Each target's objective (B,); whether its unit is dead, (B,): it gives 0 and no gradient; the logits
            (B, classes) if any target is a class, else None.
        """
        assert self._ascent is not None
        images = self.pictures()
        climb = self._ascent(images, images)
        silent = (climb.by_seen == 0).flatten(1).all(1)
        if climb.by_images is not None:
            silent &= (climb.by_images == 0).flatten(1).all(1)
        with torch.no_grad():
            asked = any(LOGITS in target.objective.layers for target in self.targets)
            logits = self._ascent.logits(images) if asked else None
        return climb.objectives, silent & (climb.objectives == 0), logits

    def settle(self, rows: Tensor) -> None:
        """Bring the pictures of ``rows``, (B,) bool, back to where their gradient was last finite."""
        self.guard.go_back(self.parameterization.values, rows)

    def describe(self) -> dict[str, Any]:
        """All settings that change a picture, as plain values; goes into job ids and into each PNG."""
        optimizer = self.optimizer([nn.Parameter(torch.zeros(1))])
        return {
            "parameterization": describe(self.parameterization),
            "transforms": [describe(transform) for transform in self.transforms],
            "penalties": [penalty.key for penalty in self.penalties],
            "optimizer": {"class": type(optimizer).__qualname__, **_plain(optimizer.defaults)},
            "size": self.asked_size if not isinstance(self.asked_size, tuple) else list(self.asked_size),
            "moments": self.moments,
            "redirect_steps": self.redirect_steps,
        }

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert self.network is not None
        checkpoint["feature_visualization"] = {
            "size": list(self.size),
            "targets": [target.key for target in self.targets],
            "seed": self.seed,
            "network": self.network.name,
            "chunk": self._ascent.chunk if self._ascent is not None else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("feature_visualization")
        if saved is None:
            raise CheckpointError("this checkpoint was not made by a FeatureVisualizer")
        asked = {"targets": [target.key for target in self.targets], "seed": self.seed}
        for name, value in asked.items():
            if saved[name] != value:
                raise CheckpointError(
                    f"this checkpoint has {name} {saved[name]}, the run has {value}; use its own settings"
                )
        if self._ascent is not None and self.chunk is None:
            self._ascent.chunk = saved.get("chunk")  # how a batch is cut decides its rounding
        # The Parameter takes the shape found in the checkpoint, so that loading it stays strict.
        self._initialize((saved["size"][0], saved["size"][1]))


def _checked(transform: nn.Module, images: Tensor, result: Any) -> Tensor:
    """What a transform made of ``images``, if it can be optimised through; another size is fine."""
    name = type(transform).__name__
    if not isinstance(result, Tensor):
        raise TransformError(f"the transform {name} gave a {type(result).__name__}; it must give pictures (B, 3, H, W)")
    if result.ndim != 4 or result.shape[:2] != images.shape[:2]:
        raise TransformError(f"the transform {name} gave {tuple(result.shape)} for {tuple(images.shape)}; keep (B, 3)")
    if images.requires_grad and not result.requires_grad:
        raise TransformError(f"no gradient passes the transform {name}; it detaches its input or rounds it")
    return result


def in_pixels(size: Size, reference: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels of a size given in any of its ways.

    Args:
        size: pixels, a fraction, or (height, width).
        reference: (height, width) that a fraction is of: the network's training size.

    Raises:
        UsageError: less than a pixel.
    """
    if isinstance(size, float):
        if size > 16:
            raise UsageError(
                f"the size {size} is {size:g} times the network's training size; write {size:.0f} for pixels"
            )
        height, width = round(reference[0] * size), round(reference[1] * size)
    else:
        height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise UsageError(f"the size {size} is less than one pixel; give pixels (64) or a fraction (0.5)")
    if max(height, width) > 16384:
        raise UsageError(f"the size {size} is more than 16384 px; give pixels (64) or a fraction (0.5)")
    return height, width


def check_blur(name: str, sigma: float, size: tuple[int, int]) -> None:
    """Refuse a blur that reaches across whole pictures, of which it would leave one colour.

    Args:
        name: who blurs.
        sigma: standard deviation in pixels.
        size: (height, width) of the pictures in pixels.

    Raises:
        UsageError: it reaches as far as the shorter side.
    """
    if sigma > 0 and blur_reach(sigma) >= min(size):
        raise UsageError(
            f"{name} blurs {blur_reach(sigma)} px to each side (3 sigma), but the pictures have {size[0]}x{size[1]} px; "
            "set a smaller sigma or a larger size"
        )


def describe(part: object) -> dict[str, Any]:
    """The class and the plain public attributes of a part of a recipe (a foreign Module's repr tells the rest)."""
    name = f"{type(part).__module__}.{type(part).__qualname__}"
    foreign = isinstance(part, nn.Module) and not name.startswith("lightning_fv.")
    return {"class": name, **_plain(vars(part)), **({"repr": repr(part)} if foreign else {})}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if not k.startswith("_")}
    return {k: v for k, v in kept.items() if isinstance(v, bool | int | float | str | list) and k != "training"}
