"""Options with several values, ``--start FILE [FILE ...]`` and ``--judges NAME [NAME ...]``; and photos that a run starts from."""

import json
from collections.abc import Sequence

from lightning.pytorch.cli import LightningArgumentParser


def add_start_argument(parser: LightningArgumentParser) -> None:
    """The option ``--start``; its several values are for `start_args`, in a config file it is one path or a list."""
    parser.add_argument(
        "--start",
        type=list[str] | str | None,
        default=None,
        metavar="FILE [FILE ...]",
        help="photos to start from instead of noise, in any format that Pillow reads: one for all targets, or one for each; "
        "scaled and cropped to the size of the pictures",
    )


def start_args(args: Sequence[str]) -> list[str]:
    """Make the words after ``--start`` or ``--judges``, up to the next option, one list in the parser's own notation.

    >>> start_args(["--start", "a.jpg", "b.jpg", "--seed", "1"])
    ['--start=["a.jpg", "b.jpg"]', '--seed', '1']
    """
    found: list[str] = []
    words = list(args)
    while words:
        word = words.pop(0)
        if word not in ("--start", "--judges"):
            found.append(word)
            continue
        files = []
        while words and not words[0].startswith("-"):
            files.append(words.pop(0))
        found.append(f"{word}={json.dumps(files)}")
    return found


def start_files(value: list[str] | str | None) -> list[str] | None:
    """The option's value as a list of paths; None if there is none."""
    return [value] if isinstance(value, str) else value
