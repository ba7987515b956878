"""``lightning-fv gallery``: a page to browse, sort and filter the pictures of runs; it opens from disk."""

from collections.abc import Sequence
from pathlib import Path

from lightning_fv.commands.parser import Parser
from lightning_fv.errors import say
from lightning_fv.report import write_gallery


def gallery(args: Sequence[str]) -> int:
    """Write the page of one or more runs; returns the exit code.

    Args:
        args: the command line after ``gallery``.
    """
    parser = Parser(
        prog="lightning-fv gallery",
        description="Write a page of the pictures of runs: gallery.html in the run folder, or in the common parent "
        "folder of several. A run writes its own page at its end; this writes it again, or one page for several runs.",
    )
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="a run folder")
    parser.add_argument("--out", metavar="PAGE", type=Path, help="the page to write")
    options = parser.parse_args(args)
    say(write_gallery(options.folders, options.out))
    return 0
