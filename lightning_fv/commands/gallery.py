"""``lightning-fv gallery``: a page to browse, sort and filter the pictures of runs; it opens from disk, or from the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path

from lightning_fv.commands.parser import Parser
from lightning_fv.errors import RunFolderError, UsageError, say
from lightning_fv.report import write_gallery
from lightning_fv.report.hub import Space
from lightning_fv.runs.folder import RunFolder


def gallery(args: Sequence[str]) -> int:
    """Write the page of one or more runs; returns the exit code.

    Args:
        args: the command line after ``gallery``.
    """
    parser = Parser(
        prog="lightning-fv gallery",
        description="Write a page of the pictures of runs: gallery.html in the run folder, or in the common parent "
        "folder of several. A run writes its own page at its end; this writes it again, or one page for several runs. With --push, "
        "also upload it, with all that it shows, as a static Space of the Hugging Face hub.",
    )
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="a run folder")
    parser.add_argument(
        "--out", metavar="PAGE", type=Path, help="the page to write, NAME.html, or a folder for gallery.html"
    )
    parser.add_argument("--push", metavar="NAME", help="upload it to the Space NAME or OWNER/NAME of the hub; public")
    parser.add_argument("--private", action="store_true", help="with --push: a Space that only its owner sees")
    parser.add_argument("--with-photos", action="store_true", help="with --push: photos too, if you may publish them")
    options = parser.parse_args(args)
    if options.push is None and (options.private or options.with_photos):
        raise UsageError("--private and --with-photos are about what is uploaded; add --push NAME")
    space = None if options.push is None else Space(options.push, options.private)
    say(write_gallery(options.folders, None if options.out is None else _page(options.out)))
    if space is not None:
        say(space.push(options.folders, options.with_photos))
    return 0


def _page(out: Path) -> Path:
    """The page that ``--out`` names, in a folder that exists."""
    if out.suffix.lower() in (".html", ".htm") and not out.is_dir():
        return out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot write to {out}: {error.strerror}; choose another folder") from error
    return RunFolder(out).gallery
