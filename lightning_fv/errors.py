"""What a user is told: errors, each one line that names the problem and the remedy; warnings; notes on a terminal."""

import contextlib
import difflib
import errno
import sys
import unicodedata
import warnings
from collections.abc import Iterable

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Numbers of the OSErrors that say that the disk is full, read-only or broken, or that no file may grow so large."""

LINE = 2000
"""Maximum number of characters in a line of an error's message."""

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (such as bidi overrides), surrogates, separators of lines
_JOINERS = "\u200c\u200d"  # of the format characters, these two belong to the spelling of names and to emoji


def printable(text: object) -> str:
    """Text that is safe on a terminal and stays on one line: ``\\x1b`` and the like instead of characters that control it.

    Names of classes, layers and files may contain any character, and terminals obey escape sequences.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _HIDDEN and character not in _JOINERS
        else character
        for character in text
    )


def warn(text: str) -> None:
    """Issue a warning of this package; every one comes from here, so that none carries control characters."""
    warnings.warn(printable(text), stacklevel=2)


def say(*lines: object) -> None:
    """Print lines to standard output."""
    for line in lines:
        print(printable(line))


def _shortened(line: str) -> str:
    """A line without its middle if it is too long to be read: it repeats a value of thousands of characters."""
    if len(line) <= LINE:
        return line
    return f"{line[: LINE // 2]} [{len(line) - LINE} more characters] {line[-LINE // 2 :]}"


def note(*lines: object) -> None:
    """Print lines to standard error, above the line of progress; nothing happens if that cannot be written."""
    from tqdm import tqdm  # here: --help does not need it

    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # its terminal is gone, or it is closed
            tqdm.write("\n".join(map(printable, lines)), file=sys.stderr)


class FeatureVisualizationError(Exception):
    """Base of the package's own errors; the command line prints the message and exits with 2, without a traceback.

    Args:
        lines: the message, and perhaps further lines, such as those of a table.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)

    def __str__(self) -> str:
        return "\n".join(_shortened(printable(line)) for line in self.args)


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


class RunFolderError(FeatureVisualizationError):
    """An output folder that cannot be used, or a run in it that cannot be resumed."""


class TransformError(FeatureVisualizationError):
    """A transform whose output cannot be optimised through."""


class HubError(FeatureVisualizationError):
    """A gallery that cannot be uploaded to the Hugging Face hub."""


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
