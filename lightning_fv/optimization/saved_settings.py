"""What a checkpoint says of the render that it belongs to."""

from typing import TYPE_CHECKING, Any

from lightning_fv.errors import CheckpointError

if TYPE_CHECKING:
    from lightning_fv.optimization.visualizer import FeatureVisualizer


def saved_settings(visualizer: "FeatureVisualizer") -> dict[str, Any]:
    """Sizes, targets, seed, network and chunk, as plain values."""
    assert visualizer.network is not None
    objective = visualizer.chunked_objective
    return {
        "size": list(visualizer.size),
        "start_size": list(visualizer.start_size),
        "targets": [target.key for target in visualizer.targets],
        "seed": visualizer.seed,
        "network": visualizer.network.name,
        "chunk": objective.chunk if objective is not None else None,
    }


def restored_settings(visualizer: "FeatureVisualizer", saved: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """The sizes of the pictures at step 0 and now, (height, width), of a checkpoint; the visualizer takes over its chunk.

    Args:
        visualizer: that goes on from the checkpoint.
        saved: what `saved_settings` gave, or None if the checkpoint holds no such thing.

    Raises:
        CheckpointError: it is of something else, or of a render with other targets or another seed.
    """
    if saved is None:
        raise CheckpointError("this checkpoint was not made by a FeatureVisualizer")
    for name, value in (("targets", [target.key for target in visualizer.targets]), ("seed", visualizer.seed)):
        if saved[name] != value:
            raise CheckpointError(f"this checkpoint has {name} {saved[name]}, not {value}; use its own settings")
    if visualizer.chunked_objective is not None and visualizer.chunk is None:
        visualizer.chunked_objective.chunk = saved.get("chunk")  # how a batch is chunked determines its rounding
    start, size = saved["start_size"], saved["size"]
    return (start[0], start[1]), (size[0], size[1])
