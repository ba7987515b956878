"""The config.yaml of a run that was started from Python."""

from typing import Any

import yaml

from lightning_fv.engines.plan import Setup
from lightning_fv.errors import RunFolderError
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.files import read_file
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.init_args import NotInConfigError, init_args, optimizer_init_args, scheduler_init_args
from lightning_fv.targets import TargetsLike, parse_targets
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
            "trainer": {
                **{name: value for name, value in setup.options.items() if name != "callbacks"},
                "callbacks": [init_args(callback) for callback in setup.callbacks],
            },
            "model": _model(setup.visualizer),
        }
    except NotInConfigError as error:
        config = {ONLY_RENDER: " ".join(str(error).split()), "batch_size": batch_size}
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


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


def refuse_only_render(folder: RunFolder) -> None:
    """Refuse a run that the command line cannot continue.

    Raises:
        RunFolderError: the run was started by `lightning_fv.render` with what no configuration file can name.
    """
    reason = read_config(folder).get(ONLY_RENDER)
    if reason is not None:
        raise RunFolderError(
            f"{folder} was started by lightning_fv.render with something that cannot be named on the command line "
            f"({reason}); continue it with lightning_fv.render and the same arguments"
        )
