"""``lightning-fv gallery``: a page over the pictures of runs, to look through, sort and filter; it opens from disk."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from lightning_fv.report import write_gallery


def gallery(args: Sequence[str]) -> int:
    """Write the page over one run or several; returns the exit code.

    Args:
        args: the command line after ``gallery``.
    """
    parser = argparse.ArgumentParser(
        prog="lightning-fv gallery",
        description="Write a page over the pictures of runs: gallery.html in the run folder, or for several in the folder "
        "that they have in common. A run ends with one of its own; this makes it anew, or one over several runs.",
    )
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="a run folder")
    parser.add_argument("--out", metavar="PAGE", type=Path, help="the page to write")
    options = parser.parse_args(args)
    print(write_gallery(options.folders, options.out))
    return 0
