"""A recipe for Python's `lightning_fv.render`, as ``--config`` takes it on the command line."""

from typing import Any

from lightning_fv.commands.options import parse
from lightning_fv.commands.recipes import recipe_args
from lightning_fv.engines.isolation import ignored_warnings


def load_recipe(name: str) -> dict[str, Any]:
    """What a recipe says about how pictures are made, as arguments of `lightning_fv.render`.

    >>> import lightning_fv
    >>> lightning_fv.render("demo", "layer4:3", **lightning_fv.load_recipe("detailed"))  # doctest: +SKIP

    Args:
        name: a shipped recipe, such as ``detailed``, or a config file, as for ``--config``. A config file is code: it names
            classes to run.

    Returns:
        ``visualizer``, the `FeatureVisualizer`; ``steps``; ``callbacks``, which may be none. Nothing else is taken from a config
        file: targets, network and seed are arguments of `render`.

    Raises:
        UsageError: there is no such recipe or file, or what it says is wrong.
    """
    # Lightning suspects a mistake where there is a command line, too.
    with ignored_warnings(".*args parameter is intended to run from within Python.*"):
        config = parse(recipe_args([f"--config={name}"])).config_init
    return {
        "visualizer": config.model,
        "steps": config.trainer.max_steps,
        "callbacks": config.trainer.callbacks or [],
    }
