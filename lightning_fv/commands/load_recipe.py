"""A recipe for Python's `lightning_fv.render`, as ``--config`` takes it on the command line."""

from typing import Any

from lightning_fv.commands.options import parse
from lightning_fv.commands.recipes import changes_photo, recipe_args
from lightning_fv.engines.isolation import ignored_warnings
from lightning_fv.errors import note


def load_recipe(name: str) -> dict[str, Any]:
    """What a recipe says about how pictures are made, as arguments of `lightning_fv.render`.

    >>> import lightning_fv
    >>> lightning_fv.render("demo", "layer4:3", **lightning_fv.load_recipe("detailed"))  # doctest: +SKIP

    Steps and callbacks are changed in what it returns; the size and other settings of the visualizer in a config file that builds on
    the recipe, such as ``base: detailed`` and ``model: {size: 32}``.

    >>> lightning_fv.render("demo", "layer4:3", **{**lightning_fv.load_recipe("detailed"), "steps": 64})  # doctest: +SKIP

    Args:
        name: a shipped recipe, such as ``detailed``, or a config file, as for ``--config``. A config file is code: it names
            classes to run.

    Returns:
        ``visualizer``, the `FeatureVisualizer`; ``steps``; ``callbacks``, which may be none. Nothing else is taken from a config
        file: targets, network and seed are arguments of `render`. Nor is a photo to start from: for ``deepdream``, which changes one,
        give `render` ``start=``; a note says so.

    Raises:
        UsageError: there is no such recipe or file, or what it says is wrong.
    """
    # Lightning suspects a mistake where there is a command line, too.
    with ignored_warnings(".*args parameter is intended to run from within Python.*"):
        args = recipe_args([f"--config={name}"])
        config = parse(args).config_init
    if (changing := changes_photo(args)) is not None:
        note(f"lightning-fv: the recipe {changing} changes a photo; give render start=, or pictures start from noise")
    return {
        "visualizer": config.model,
        "steps": config.trainer.max_steps,
        "callbacks": config.trainer.callbacks or [],
    }
