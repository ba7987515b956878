"""Errors that a user can cause and fix; each message is one line that names the problem and the remedy."""

import difflib
import errno
from collections.abc import Iterable

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""Numbers of the OSErrors that say that the disk is full, read-only or broken."""


class FeatureVisualizationError(Exception):
    """Base of the package's own errors; the command line prints the message and exits with 2, without a traceback."""


class UsageError(FeatureVisualizationError):
    """Options that contradict each other or do not suit the machine."""


class NetworkError(FeatureVisualizationError):
    """A network that is unknown, or cannot be built or visualized."""


class LayerNotFoundError(NetworkError):
    """A layer name that the network does not have."""


class CaptureError(NetworkError):
    """A layer whose output cannot be used: never run, run several times, or not a tensor of a known layout."""


class TargetError(FeatureVisualizationError):
    """A target that cannot be parsed, or does not exist in the network."""


class CheckpointError(FeatureVisualizationError):
    """Weights or a checkpoint that are damaged, of another architecture, or not the published ones."""

    def __init__(self, text: str) -> None:
        # Names in files and responses of servers may contain any character; keep the message on one line.
        super().__init__("".join(c if c.isprintable() else " " for c in text))


class RunFolderError(FeatureVisualizationError):
    """An output folder that cannot be used, or a run in it that cannot be resumed."""


class TransformError(FeatureVisualizationError):
    """A transform whose output cannot be optimised through."""


class DeviceMemoryError(FeatureVisualizationError):
    """A single picture that is too large for the device's memory."""


def nearest(name: str, choices: Iterable[str], count: int = 3, cutoff: float = 0.4) -> list[str]:
    """Up to ``count`` choices closest to ``name``, best first; case is ignored, so `Pizza` finds `pizza`.

    Args:
        cutoff: the least similarity, 0 to 1.
    """
    by_lower = {choice.lower(): choice for choice in choices}
    return [by_lower[key] for key in difflib.get_close_matches(name.lower(), by_lower, count, cutoff)]


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not blank, or its type's name if it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
