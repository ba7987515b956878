"""The config.yaml of a run that was started from Python, and the network of any run."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import yaml
from torch import nn

from lightning_fv.engines.plan import Plan, Setup
from lightning_fv.errors import CheckpointError, NetworkError, RunFolderError, UsageError, first_line
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.objectives import Channel, Facets, Layer
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.captions import UNTRAINED
from lightning_fv.runs.files import read_file
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.init_args import NotInConfigError, init_args, optimizer_init_args, scheduler_init_args
from lightning_fv.runs.job import Job, differences
from lightning_fv.runs.settings import callback_settings
from lightning_fv.targets import Target, TargetsLike, parse_targets
from lightning_fv.targets.grammar import Spec

ONLY_RENDER = "only_render"
"""The setting that says why the command line cannot continue a run that Python started."""


def config_text(setup: Setup, targets: TargetsLike, batch_size: int) -> str:
    """A run's settings as YAML that the command line parses, so that ``--resume`` continues it.

    If one of them has no name that another process could import, such as the class of a plain Module or a lambda, the text
    holds that reason instead, and only `lightning_fv.render` with the same arguments can continue the run.

    Args:
        setup: what the run's jobs have in common.
        targets: as given by the user.
        batch_size: pictures in a job.
    """
    config: dict[str, Any]
    try:
        if setup.start is not None and not setup.photos:
            raise NotInConfigError("start is a tensor")
        config = {
            "targets": [item.text if isinstance(item, Spec) else init_args(item) for item in parse_targets(targets)],
            **_network(setup),
            "start": [photo.text for photo in setup.photos] or None,
            "seed": setup.seed,
            "batch_size": batch_size,
            "matmul_precision": setup.matmul_precision,
            "trainer": {
                **{name: value for name, value in setup.options.items() if name != "callbacks"},
                "callbacks": [init_args(callback) for callback in setup.callbacks],
            },
            "model": _model(setup.visualizer),
        }
    except NotInConfigError as error:
        config = {ONLY_RENDER: " ".join(str(error).split()), "batch_size": batch_size}
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def job_origin(plan: Plan, job: Job) -> dict[str, Any]:
    """What makes the pictures of a job again, for their files: see `lightning_fv.runs.picture.Origin`.

    Pictures depend on the batch that they are rendered in, by rounding, so this is the whole job. What changes no picture, such
    as devices and loggers, is left out.

    Args:
        plan: of the run; keeps what its jobs have in common.
        job: a job of it.
    """
    setup = plan.setup
    known = {"job": job.id, "digest": setup.settings["digest"]}
    try:
        if job.start is not None and not job.photos:
            raise NotInConfigError("start is a tensor")
        if plan.config is None:
            plan.config = _config(setup)
        own = {
            "targets": [_target(target) for target in job.targets if target.facet == 1],
            "start": [photo.text for photo in job.photos] or None,
            "batch_size": len(job.targets),
        }
        return known | {"config": plan.config | own}
    except NotInConfigError as error:
        return known | {"reason": " ".join(str(error).split())}


def _config(setup: Setup) -> dict[str, Any]:
    """What changes the pictures of all jobs, as in a config file."""
    trainer = dict(setup.settings["trainer"])
    if (ranks := trainer.pop("ddp", None)) is not None:
        trainer |= {"strategy": "ddp", "devices": ranks}
    changing = [callback for callback in setup.callbacks if callback_settings([callback])]
    trainer["callbacks"] = [init_args(callback) for callback in changing]
    return {**_network(setup), "seed": setup.seed, "trainer": trainer, "model": _model(setup.visualizer)}


def _target(target: Target) -> str | dict[str, Any]:
    """A target as a setting: text where that says all, else the objective's class and arguments."""
    objective, count = target.objective, target.facets
    if objective.class_index is not None:  # a class's name may contain what separates targets
        text = f"{target.unit.partition(':')[0]}:{objective.class_index}"
    elif type(objective) in (Channel, Layer):
        text = target.unit
    else:
        return init_args(Facets(objective, count) if count > 1 else objective)
    return f"{text} x{count}" if count > 1 else text


def _network(setup: Setup) -> dict[str, Any]:
    source = setup.network.source
    if source is None:
        raise NotInConfigError(f"the network {setup.network.name} was not loaded by its name")
    weights = source["weights"]
    return {
        "network": source["name"],
        "weights": None if weights in (None, "default") else str(weights),
        "no_weights": weights is None,
        "offline": source["offline"],
        "architecture": source["architecture"],
        **{name: _as_list(source[name]) for name in ("mean", "std", "input_size", "categories")},
        "channel_axes": None if source["channel_axes"] is None else dict(source["channel_axes"]),
    }


def _model(visualizer: FeatureVisualizer) -> dict[str, Any]:
    if type(visualizer) is not FeatureVisualizer:
        raise NotInConfigError(f"{type(visualizer).__name__} is a subclass of FeatureVisualizer")
    size, schedule = visualizer.asked_size, visualizer.lr_scheduler
    return {
        "parameterization": init_args(visualizer.parameterization),
        "transforms": [init_args(transform) for transform in visualizer.transforms],
        "penalties": [init_args(penalty) for penalty in visualizer.penalties],
        "optimizer": optimizer_init_args(visualizer.optimizer),
        "lr_scheduler": None if schedule is None else scheduler_init_args(schedule, visualizer.optimizer),
        "size": size if size is None or isinstance(size, int | float) else list(size),
        "stage_steps": visualizer.stage_steps,
        "moments": visualizer.moments,
        "redirect_steps": visualizer.redirect_steps,
        "chunk": visualizer.chunk,
        "diversity": visualizer.diversity,
        "diversity_layer": visualizer.diversity_layer,
    }


def _as_list(value: Any) -> list[Any] | None:
    return None if value is None else list(value)


def read_config(folder: RunFolder) -> dict[str, Any]:
    """The settings of a run that was started, as they were written, not parsed as options.

    Raises:
        RunFolderError: they cannot be read, or were changed.
    """
    folder.check_settings()
    try:
        settings = yaml.safe_load(read_file(folder.config))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        settings = None
    if not isinstance(settings, dict):  # written by something else
        raise RunFolderError(f"{folder.config} does not hold the settings of a run; choose another folder")
    return settings


def only_render(folder: RunFolder) -> str | None:
    """Why the command line cannot continue a run that Python started; None if it can.

    Raises:
        RunFolderError: the settings cannot be read, or were changed.
    """
    reason = read_config(folder).get(ONLY_RENDER)
    return None if reason is None else str(reason)


def refuse_only_render(folder: RunFolder) -> None:
    """Refuse a run that the command line cannot continue.

    Raises:
        RunFolderError: the run was started by `lightning_fv.render` with what no configuration file can name.
    """
    if (reason := only_render(folder)) is not None:
        raise RunFolderError(
            f"{folder} was started by lightning_fv.render with something that cannot be named on the command line "
            f"({reason}); continue it with lightning_fv.render and the same arguments"
        )


def network_options(config: Any) -> dict[str, Any]:
    """The arguments of ``load_network`` besides the name, from a run's settings.

    Raises:
        UsageError: they contradict each other, or the file of class names cannot be read.
    """
    if config.no_weights and config.weights is not None:
        raise UsageError("give either --weights or --no_weights")
    categories = config.categories
    if isinstance(categories, str):
        try:
            text = read_file(categories).decode()
        except FileNotFoundError:
            raise UsageError(f"--categories {categories}: no such file; give a file of names, or a list") from None
        except OSError as error:
            raise UsageError(f"--categories {categories} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(f"--categories {categories} is not UTF-8 text ({error}); save it as UTF-8") from None
        categories = text.removesuffix("\n").split("\n")  # not splitlines, which splits at ten more characters
    return {
        "weights": None if config.no_weights else config.weights or "default",
        "offline": config.offline,
        "architecture": config.architecture,
        "mean": config.mean,
        "std": config.std,
        "input_size": config.input_size,
        "categories": categories,
        "channel_axes": config.channel_axes,
    }


def load_run_network(folder: RunFolder) -> VisionNetwork:
    """The network of a run, loaded again by its name.

    Raises:
        UsageError: it cannot be loaded by a name.
        RunFolderError: it has other weights than the run's.
    """
    settings, records = read_config(folder), folder.records()
    name = settings.get("network") or (records[0].network.removesuffix(UNTRAINED) if records else "")
    try:
        options = network_options(SimpleNamespace(**settings)) if "network" in settings else {}
        network = load_network(name, **options)
    except (NetworkError, CheckpointError, AttributeError) as error:
        raise UsageError(
            f"the network of {folder} cannot be loaded by the name {name!r} ({first_line(error)}); give it: network="
        ) from None
    check_network(folder, network)
    return network


def check_run(folder: RunFolder) -> None:
    """Check that a folder with pictures is that of a run.

    Raises:
        RunFolderError: it holds no settings, as one written by `Rendering.save`.
    """
    if not folder.begun():
        raise RunFolderError(
            f"{folder} holds pictures, but not the settings of a run; give the folder of a run (rendering.save and "
            "VisualizeDuringTraining write none: use render with out=FOLDER, for a training with the network of its checkpoint)"
        )


def check_network(folder: RunFolder, network: VisionNetwork) -> None:
    """Check that a network is that of a run.

    Raises:
        RunFolderError: it has other weights, or prepares pictures in another way.
    """
    now = json.loads(json.dumps({"digest": network.digest(), "preparation": network.settings()}))
    known = folder.started_with()
    if differing := differences({name: known.get(name) for name in now}, now):
        raise RunFolderError(
            f"{folder} holds pictures of another network than {network.name}: {'; '.join(differing)}; give the one that they were "
            "made for, in Python by network="
        )


def prepared_as_in(folder: RunFolder, module: nn.Module, categories: Sequence[str] = ()) -> VisionNetwork:
    """A plain Module with the mean, std, training size and channel axes of a run.

    Raises:
        RunFolderError: the folder does not tell them.
        NetworkError: they are none of this Module's, or it cannot be visualized.
    """
    known = folder.started_with().get("preparation")
    names = ("mean", "std", "input_size", "fixed_size", "channel_axes")
    if not isinstance(known, dict) or not all(name in known for name in names):
        raise RunFolderError(
            f"{folder} does not tell how pictures were prepared for its network; give a VisionNetwork: network="
        )
    return VisionNetwork(module, categories=categories, **{name: known[name] for name in names})
