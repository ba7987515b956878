"""The Python interface: `render`, and `collect_evidence` about what was rendered."""

from __future__ import annotations

import contextlib
import copy
import operator
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_fv.engines.config import (
    check_network,
    check_run,
    config_text,
    load_run_network,
    prepared_as_in,
    read_config,
)
from lightning_fv.engines.isolation import Precision, isolated
from lightning_fv.engines.local import LocalEngine
from lightning_fv.engines.plan import STEPS, Setup, batch_size_for, make_plan
from lightning_fv.engines.run import run_plan
from lightning_fv.engines.start_photos import check_start_photos, keep_start_photos, start_paths, starting_from
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.errors import RunFolderError, UsageError, note
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.optimization.size import in_pixels
from lightning_fv.optimization.start import size_of
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.rendering import Rendering, rendering_of
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job import smallest_batch_size
from lightning_fv.targets import TargetsLike
from lightning_fv.trust.judges import load_judges
from lightning_fv.trust.recorded import recorded_targets
from lightning_fv.trust.report import ReportInputs, report_run

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from lightning_fv.objectives import Objective
    from lightning_fv.optimization.size import Size
    from lightning_fv.parameterizations import Parameterization
    from lightning_fv.runs.evidence import Evidence


@isolated()
def render(
    network: str | VisionNetwork | nn.Module,
    targets: TargetsLike,
    *,
    steps: int = STEPS,
    size: Size | None = None,
    parameterization: Parameterization | None = None,
    transforms: list[nn.Module] | None = None,
    penalties: list[Objective] | None = None,
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
    input_size: int | tuple[int, int] | None = None,
    categories: Sequence[str] = (),
    accelerator: str = "auto",
    matmul_precision: Precision = "highest",
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
        batch_size: pictures rendered together; ``auto``: as many as fit into a GPU's memory, 24 on a CPU.
        fail_fast: stop after the first batch with a target that is not ``done``; those not started are ``pending``, with
            pictures of NaN.
        out: a run folder, with logs, checkpoints and everything else that the command line writes; none by default. If it
            already holds this run, the run is continued: what is done is not rendered again, and the pictures of finished
            batches are read from their files, which have 8 bits per colour (NaN if they have more than three channels). ``lightning-fv --resume --out FOLDER`` continues
            it too, if the network has a name that `load_network` knows and all parts of the recipe can be imported by name.
        mean, std: of a plain Module's input, per channel, for photos in [0, 1].
        input_size: (height, width) that a plain Module was trained at, in pixels, or one number for a square, to which transforms are scaled, and the default
            size of pictures; default: (224, 224), with a note if pictures have another size.
        categories: class names of a plain Module's logits.
        accelerator: Lightning's; ``auto`` takes a GPU if there is one.
        matmul_precision: of products of float32 matrices on a GPU, instead of `torch.set_float32_matmul_precision`: ``high`` uses
            TF32, ``medium`` bfloat16. Convolutions use TF32 in any case, unless ``torch.backends.cudnn.allow_tf32`` is False.
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
    alone: Any = callbacks  # one, or what is none, which is refused with the recipe's other mistakes
    callbacks = list(alone) if isinstance(alone, Iterable) and not isinstance(alone, pl.Callback) else [alone]
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
    is_plain = isinstance(network, nn.Module)
    network = _as_network(network, mean, std, input_size, categories)
    files = start_paths(start) if isinstance(start, str | Path | list | tuple) else []
    pictures: Any = None if files else start  # not yet checked
    if pictures is not None and recipe.asked_size is None:
        recipe = copy.deepcopy(recipe)
        recipe.asked_size = size_of(pictures)
    if is_plain and input_size is None:
        _note_training_size(network, recipe)
    options = {
        "max_steps": _whole("steps", steps),
        "callbacks": callbacks,
        "accelerator": accelerator,
        "devices": 1,
        "enable_progress_bar": progress,
        "log_every_n_steps": 8,
    }
    if matmul_precision not in get_args(Precision):
        raise UsageError(f"matmul_precision must be highest, high or medium, got {matmul_precision!r}")
    setup = Setup(network, recipe, options, _whole("seed", seed), start=pictures, matmul_precision=matmul_precision)
    if files:
        check_start_photos(files)
        setup = starting_from(setup, files)
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


@isolated()
def collect_evidence(
    run: str | Path,
    photos: str | Path,
    judges: str | VisionNetwork | Sequence[str | VisionNetwork] = (),
    others: str | Path | Sequence[str | Path] = (),
    network: VisionNetwork | nn.Module | None = None,
    categories: Sequence[str] = (),
) -> list[Evidence]:
    """How far can the pictures of a finished run be trusted? As ``lightning-fv report``.

    Evidence about each picture is written to the run's ``evidence.jsonl`` and gallery, and what is already there is not made again.

    Args:
        run: the run folder, of the command line or of `render`.
        photos: a folder of photos, in any folders or tar archives below.
        judges: other networks that look at the pictures, or their names.
        others: folders of runs of the same targets by other seeds.
        network: that the pictures were made for, needed if it cannot be loaded by its name. A plain Module gets pictures with the mean, std and
            training size of the run.
        categories: class names of a plain Module's logits; needed if the run's targets are named after them.

    Returns:
        Evidence in the order of the run's targets, for those with a finished picture. Targets without a text, which were made from an objective
        in Python, have a verdict of ``unknown``.

    Raises:
        RunFolderError: the folder holds no run, or cannot be written; or the network is not the one of the run.
        UsageError: there are no photos, a judge made the pictures, another run has nothing in common, or the network cannot be loaded by its name.
        NetworkError, CheckpointError: a judge cannot be loaded.
    """
    folder = RunFolder(run)
    records = folder.records()
    check_run(folder)
    folder.check_entries()
    found = PhotoFolder(photos)
    runs = [RunFolder(path) for path in ([others] if isinstance(others, str | Path) else others)]
    network = _network_of_run(folder, network, categories)
    judging = load_judges([judges] if isinstance(judges, str | VisionNetwork) else judges, network)
    asked = read_config(folder).get("targets", [])
    texts = [asked] if isinstance(asked, str) else [text for text in asked if isinstance(text, str)]
    targets, reasons = recorded_targets(records, network, texts)
    return report_run(folder, ReportInputs(network, targets, found, judging, runs, reasons))


def _network_of_run(
    folder: RunFolder, network: VisionNetwork | nn.Module | None, categories: Sequence[str]
) -> VisionNetwork:
    """The network of a finished run, given or loaded by its name."""
    if network is not None and not isinstance(network, VisionNetwork | nn.Module):
        raise UsageError(
            f"network= takes the Module or VisionNetwork that was rendered, not an object of type {type(network).__name__}"
        )
    if isinstance(network, nn.Module):
        network = prepared_as_in(folder, network, categories)
    elif len(categories) > 0:
        raise UsageError("categories are for a plain Module; other networks bring their own")
    if network is None:
        return load_run_network(folder)
    check_network(folder, network)
    return network


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
    input_size: int | tuple[int, int] | None,
    categories: Sequence[str],
) -> VisionNetwork:
    if not isinstance(network, str | VisionNetwork | nn.Module):
        raise UsageError(
            f"a network is a name, a VisionNetwork or a Module, not an object of type {type(network).__name__}"
        )
    if isinstance(network, nn.Module):
        if mean is None or std is None:
            raise UsageError("a plain Module needs the mean and std of its input, such as mean=(0.485, 0.456, 0.406)")
        size = (224, 224) if input_size is None else input_size
        return VisionNetwork(network, mean=mean, std=std, input_size=size, categories=categories)
    if mean is not None or std is not None or input_size is not None or len(categories) > 0:
        raise UsageError(
            "mean, std, input_size and categories are for a plain Module; a named network brings its own, and "
            "load_network or VisionNetwork takes others"
        )
    return load_network(network) if isinstance(network, str) else network


def _note_training_size(network: VisionNetwork, recipe: FeatureVisualizer) -> None:
    """Say which training size is assumed, if pictures of another size suggest that it is not the Module's."""
    if isinstance(recipe.asked_size, int | tuple | list):
        size = in_pixels(recipe.asked_size, network.input_size)
        if size != network.input_size:
            note(
                f"lightning-fv: {network.name} is taken to be trained at {network.input_size[0]}x{network.input_size[1]} px, for which "
                f"transforms are scaled; if it was trained at {size[0]}x{size[1]} px, give input_size={size}"
            )
