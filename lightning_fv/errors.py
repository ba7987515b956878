"""What can go wrong by a user's hand: one line each, naming the thing and the remedy."""

import difflib
from collections.abc import Iterable


class FeatureVisualizationError(Exception):
    """Base of the package's own errors; the command line prints the message and exits with 2, without a traceback."""


class UsageError(FeatureVisualizationError):
    """Options that contradict each other or the machine."""


class NetworkError(FeatureVisualizationError):
    """A network that cannot be named, built or looked at."""


class LayerNotFoundError(NetworkError):
    """A layer name that the network does not have."""


class CaptureError(NetworkError):
    """A layer whose output cannot be used: never run, run several times, or not a tensor of a known layout."""


class TargetError(FeatureVisualizationError):
    """A target that cannot be read, or does not exist in the network."""


class CheckpointError(FeatureVisualizationError):
    """Weights or a checkpoint that are damaged, of another architecture, or not the published ones."""

    def __init__(self, text: str) -> None:
        # Names in a file and answers of a server may contain any character; the message remains one line.
        super().__init__("".join(c if c.isprintable() else " " for c in text))


class RunFolderError(FeatureVisualizationError):
    """An output folder that cannot be used, or a run in it that cannot be resumed."""


class TransformError(FeatureVisualizationError):
    """A transform that returns what cannot be optimised through."""


class DeviceMemoryError(FeatureVisualizationError):
    """A picture that is too large for the device's memory, alone."""


def nearest(name: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """The up to ``count`` choices most like ``name``, best first; by lower case, so that `Pizza` finds `pizza`."""
    by_lower = {choice.lower(): choice for choice in choices}
    return [by_lower[key] for key in difflib.get_close_matches(name.lower(), by_lower, count, cutoff=0.4)]
