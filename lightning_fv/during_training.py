"""Pictures of what a network looks for, epoch by epoch, while somebody's Trainer trains it."""

import contextlib
import signal
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image
from torch import nn

from lightning_fv.engines.batch_size import BATCH_SIZE
from lightning_fv.engines.isolation import isolated
from lightning_fv.engines.local import LocalEngine
from lightning_fv.engines.plan import STEPS, Plan, Setup, copied, make_plan
from lightning_fv.engines.run import run_plan
from lightning_fv.errors import UsageError, first_line, nearest, note, warn
from lightning_fv.networks import VisionNetwork
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.rendering import Rendering, rendering_of
from lightning_fv.report import read_picture
from lightning_fv.runs.entries import check_parent
from lightning_fv.runs.folder import RunFolder
from lightning_fv.targets import TargetsLike

_WAIT = timedelta(days=30)
"""How long the other ranks wait for the first one; collectives of their own process group give up after minutes."""


class VisualizeDuringTraining(pl.Callback):
    """At the end of every n-th epoch of a training, render what units of the network look for, into the training's TensorBoard.

    The pictures are those of `lightning_fv.render` with the same settings. The training is left alone: it ends in the same
    weights, bit for bit, as without this callback. Weights, buffers, hooks, modes, random number generators and flags of the
    process are after a render as before it; forward hooks run, as in validation.

    Pictures go to each logger that has a method ``log_image`` (WandbLogger), or whose experiment has ``add_image``
    (TensorBoardLogger): one sheet with names and scores under ``tag``, at the number of the epoch, from 0 as Lightning counts.
    TensorBoard shows 10 steps of a tag by default; ``--samples_per_plugin images=200`` shows all.

    Bad targets and settings are refused when the fit starts. A render that fails later does not end the training: there is one
    warning. Ctrl-C and SIGTERM end the render, and then do what they do without it. Under ddp the first rank renders while the
    others wait; strategies that divide the weights are refused. A render runs compiled networks uncompiled; inside of a network,
    parts must be compiled in place (``part.compile()``), since what `torch.compile` wraps around them hides their layers.

    Args:
        targets: see `lightning_fv.targets.parse_targets`; may include objectives.
        mean, std: of the network's input, per channel, for photos in [0, 1]; zeros and ones if it normalizes by itself.
        input_size: (height, width) that it is trained at, in pixels, or one number for a square.
        network: the name of the LightningModule's submodule that maps normalized pictures to logits, such as ``model``; empty for
            the LightningModule itself. Default: its only child with parameters; if there are several, itself.
        categories: class names of the logits.
        every_n_epochs: epochs between renders; the first comes at the end of the n-th epoch.
        steps, seed: see `lightning_fv.render`.
        visualizer: the recipe; default: `FeatureVisualizer()`.
        callbacks: of the render, such as `ProgressiveUpscale`; each render starts with copies.
        batch_size: pictures rendered together.
        tag: the name of the sheet in the logs; two callbacks of one Trainer need two.
        out: a folder that keeps what is shown: one folder for each epoch, as `Rendering.save` writes it, which
            ``lightning-fv gallery out/epoch_*`` shows on one page. An epoch that is trained again, as after a resume, gets
            another one with the ending ``-v1``.

    Example:
        >>> pictures = VisualizeDuringTraining("logits:0-9", mean=(0.5,) * 3, std=(0.25,) * 3, input_size=(32, 32))
        >>> trainer = pl.Trainer(max_epochs=20, callbacks=[pictures])  # doctest: +SKIP
    """

    def __init__(
        self,
        targets: TargetsLike,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        input_size: int | tuple[int, int],
        network: str | None = None,
        categories: Sequence[str] = (),
        every_n_epochs: int = 1,
        steps: int = STEPS,
        visualizer: FeatureVisualizer | None = None,
        callbacks: Sequence[pl.Callback] = (),
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
        tag: str = "feature_visualization",
        out: str | Path | None = None,
    ) -> None:
        if every_n_epochs < 1:
            raise UsageError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        if not isinstance(targets, str) and not callable(targets) and isinstance(targets, Iterable):
            targets = list(targets)
        self.targets, self.network, self.every_n_epochs = targets, network, every_n_epochs
        self.mean, self.std, self.input_size, self.categories = mean, std, input_size, categories
        self.steps, self.seed, self.batch_size, self.callbacks = steps, seed, batch_size, list(callbacks)
        self.visualizer, self.tag, self.out = visualizer, tag, None if out is None else Path(out)
        self._told: set[type[Exception]] = set()
        self._group: Any = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check everything that can be checked before the first epoch; on every rank, so that all stop at an error.

        Raises:
            FeatureVisualizationError: a subclass that says what is wrong.
        """
        self._told.clear()
        self._group = None  # a fit that was interrupted has left its own
        if trainer.strategy.restore_checkpoint_after_setup:  # Lightning's property of those that divide the weights
            raise UsageError(
                f"VisualizeDuringTraining needs the whole network on one device, and {type(trainer.strategy).__name__} divides "
                "it; train on one device or with the strategy ddp, or leave out the callback"
            )
        if self.out is not None and trainer.is_global_zero:
            check_parent(self.out)
        with _lent(pl_module), isolated():
            self._plan(pl_module)
        if trainer.world_size > 1:
            self._group = torch.distributed.new_group(backend="gloo", timeout=_WAIT)
        if trainer.is_global_zero and not any(map(_takes_pictures, trainer.loggers)):
            name, kinds = type(self).__name__, ", ".join(type(logger).__name__ for logger in trainer.loggers)
            if self.out is None:
                warn(
                    f"no logger of the Trainer takes the pictures of {name}: nothing is rendered; use a TensorBoardLogger, or give out=FOLDER"
                )
            elif kinds:
                note(f"the pictures of {name} are in {self.out} alone: {kinds} takes none; a TensorBoardLogger would")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        received = None
        try:
            if trainer.is_global_zero and (self.out is not None or any(map(_takes_pictures, trainer.loggers))):
                received = self._render(trainer, pl_module)
        finally:
            if self._group is not None:
                torch.distributed.barrier(self._group)
        if received is not None:
            signal.raise_signal(received)  # now that the training's own handlers are back, and no rank waits any more

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._group is not None:
            torch.distributed.destroy_process_group(self._group)
            self._group = None

    def _render(self, trainer: pl.Trainer, module: pl.LightningModule) -> int | None:
        """Render and show the pictures; returns the number of a signal that stopped it."""
        with _lent(module):
            try:
                with isolated():
                    plan = self._plan(module)
                    plan.raise_errors = True
                    with plan.stop:
                        outcome = run_plan(LocalEngine(), plan, keep_pictures=True)
                if outcome.signal is not None:
                    return outcome.signal
                self._show(trainer, rendering_of(plan, outcome))
            except Exception as error:  # of whatever the network's and the recipe's code does
                if type(error) not in self._told:  # its message may differ in every epoch
                    self._told.add(type(error))
                    reason = f"{type(error).__name__}: {first_line(error)}"
                    warn(f"no pictures of epoch {trainer.current_epoch}, and the training goes on ({reason})")
        return None

    def _plan(self, module: pl.LightningModule) -> Plan:
        """The plan of a render, for the network as it is now."""
        network = VisionNetwork(
            _submodule(module, self.network),
            mean=self.mean,
            std=self.std,
            input_size=self.input_size,
            categories=self.categories,
        )
        device = network.device
        options = {
            "max_steps": self.steps,
            "callbacks": copied(self.callbacks),
            "accelerator": "gpu" if device.type == "cuda" else device.type,
            "devices": 1 if device.index is None else [device.index],
            "enable_progress_bar": False,
        }
        recipe = self.visualizer if self.visualizer is not None else FeatureVisualizer()
        return make_plan(Setup(network, recipe, options, self.seed), self.targets, self.batch_size)

    def _show(self, trainer: pl.Trainer, rendering: Rendering) -> None:
        epoch = trainer.current_epoch
        with contextlib.ExitStack() as stack:
            if self.out is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            else:
                folder = _free_folder(self.out, f"epoch_{epoch:04}")
            sheet = read_picture(RunFolder(rendering.save(folder)).sheet)
        for logger in filter(_takes_pictures, trainer.loggers):
            _log_picture(logger, self.tag, sheet, epoch, trainer.global_step)


def _submodule(module: pl.LightningModule, name: str | None) -> nn.Module:
    """The network in a LightningModule."""
    kind = type(module).__name__
    if name is not None:
        try:
            return module.get_submodule(name)
        except AttributeError:
            names = [part for part, _ in module.named_modules() if part]
            choices = ", ".join(nearest(name, names) or names[:3])
            raise UsageError(f"{kind} has no module {name!r}; choose one that it has, such as {choices}") from None
    children = [child for child in module.named_children() if next(child[1].parameters(), None) is not None]
    if len(children) == 1:
        return children[0][1]
    if type(module).forward.__qualname__ == pl.LightningModule.forward.__qualname__:  # also that of pytorch_lightning
        names = [child for child, _ in children]
        raise UsageError(f"{kind} has no forward; give the name of its network: network= one of {', '.join(names)}")
    return module


@contextlib.contextmanager
def _lent(module: nn.Module) -> Iterator[None]:
    """What a render needs beyond `isolated` where it interrupts a training.

    Parts that are compiled in place run uncompiled, since hooks do not see into compiled code. Random draws from the global
    generators of Python, NumPy and CUDA, as of a part of the recipe, are taken back; not if the body raises.
    """
    compiled: list[tuple[dict[str, Any], str, Any]] = []
    for part in module.modules():
        own = vars(part)
        if own.get("_compiled_call_impl") is not None:  # part.compile()
            compiled.append((own, "_compiled_call_impl", None))
        plain = getattr(own.get("forward"), "_torchdynamo_orig_callable", None)
        if plain is not None:  # torch.compile(LightningModule), as Lightning unpacks it
            compiled.append((own, "forward", plain))
    before = [(own, name, own[name]) for own, name, _ in compiled]
    for own, name, plain in compiled:
        own[name] = plain
    try:
        with isolate_rng(include_cuda=torch.cuda.is_initialized()):  # type: ignore[no-untyped-call]
            yield
    finally:
        for own, name, value in before:
            own[name] = value


def _free_folder(parent: Path, name: str) -> Path:
    folder, version = parent / name, 0
    while folder.exists():
        version += 1
        folder = parent / f"{name}-v{version}"
    return folder


def _takes_pictures(logger: Any) -> bool:
    return callable(getattr(logger, "log_image", None)) or callable(getattr(logger.experiment, "add_image", None))


def _log_picture(logger: Any, tag: str, picture: Image.Image, epoch: int, step: int) -> None:
    if callable(getattr(logger, "log_image", None)):
        logger.log_image(tag, [picture], step)  # WandbLogger keeps the epoch beside the step by itself
    else:
        logger.experiment.add_image(tag, np.asarray(picture), epoch, dataformats="HWC")
