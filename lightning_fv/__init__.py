"""Feature visualization by activation maximization, as a PyTorch Lightning package.

Names are imported when they are first used, so that ``import lightning_fv`` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lightning_fv.version import __version__

if TYPE_CHECKING:
    from lightning_fv.api import collect_evidence, render
    from lightning_fv.commands.load_recipe import load_recipe
    from lightning_fv.during_training import VisualizeDuringTraining
    from lightning_fv.networks import VisionNetwork, load_network
    from lightning_fv.optimization.activation_grid import activation_grid
    from lightning_fv.optimization.visualizer import FeatureVisualizer
    from lightning_fv.rendering import RenderedPicture, Rendering
    from lightning_fv.targets import Target, resolve_targets
    from lightning_fv.transforms import RandomNoise, RandomWarp, study_warp

_MODULES = {
    "FeatureVisualizer": "optimization.visualizer",
    "RandomNoise": "transforms",
    "RandomWarp": "transforms",
    "RenderedPicture": "rendering",
    "Rendering": "rendering",
    "Target": "targets",
    "VisionNetwork": "networks",
    "VisualizeDuringTraining": "during_training",
    "activation_grid": "optimization.activation_grid",
    "collect_evidence": "api",
    "load_network": "networks",
    "load_recipe": "commands.load_recipe",
    "render": "api",
    "resolve_targets": "targets",
    "study_warp": "transforms",
}

__all__ = [
    "FeatureVisualizer",
    "RandomNoise",
    "RandomWarp",
    "RenderedPicture",
    "Rendering",
    "Target",
    "VisionNetwork",
    "VisualizeDuringTraining",
    "__version__",
    "activation_grid",
    "collect_evidence",
    "load_network",
    "load_recipe",
    "render",
    "resolve_targets",
    "study_warp",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"lightning_fv.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'lightning_fv' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, which are imported when first used, and the modules that have been imported."""
    return sorted({*__all__, *globals()} - {"Any", "TYPE_CHECKING", "importlib", "_MODULES"})
