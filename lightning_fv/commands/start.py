"""Options with several values, ``--start FILE [FILE ...]``, ``--judges NAME [NAME ...]`` and ``--mean R G B``; and photos that a run starts from."""

import json
import re
from collections.abc import Sequence

from lightning.pytorch.cli import LightningArgumentParser

_NUMBERS = ("--mean", "--std", "--input_size", "--input-size")


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
    """Make the words after an option with several values, up to the next option, one list in the parser's own notation.

    >>> start_args(["--start", "a.jpg", "b.jpg", "--seed", "1"])
    ['--start=["a.jpg", "b.jpg"]', '--seed', '1']
    >>> start_args(["--mean", "0.5", "0.4", "0.3", "--std", "[0.2,0.2,0.2]"])
    ['--mean=[0.5,0.4,0.3]', '--std', '[0.2,0.2,0.2]']
    """
    found: list[str] = []
    words = list(args)
    while words:
        word = words.pop(0)
        if word not in ("--start", "--judges", *_NUMBERS):
            found.append(word)
            continue
        values = []
        while words and not words[0].startswith("-"):
            values.append(words.pop(0))
        if word not in _NUMBERS:
            found.append(f"{word}={json.dumps(values)}")
        elif len(values) == 1 and word.startswith("--input"):  # the side of a square
            found.append(f"{word}={values[0]}")
        elif values and re.match(r"[\d.]", values[0]):
            found.append(f"{word}=[{','.join(values)}]")
        else:  # a list in brackets, or what the parser refuses
            found += [word, *values]
    return found


def start_files(value: list[str] | str | None) -> list[str] | None:
    """The option's value as a list of paths; None if there is none."""
    return [value] if isinstance(value, str) else value
