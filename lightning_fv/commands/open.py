"""``lightning-fv open``: show the page of a run, or of a comparison, in the browser."""

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from lightning_fv.commands.parser import Parser
from lightning_fv.errors import RunFolderError, note, say
from lightning_fv.runs.comparison_folder import ComparisonFolder
from lightning_fv.runs.folder import RunFolder


def open_page(args: Sequence[str]) -> int:
    """Open the page of a folder, and print its path; returns the exit code.

    Args:
        args: the command line after ``open``.

    Raises:
        RunFolderError: there is no such folder, or no page in it.
    """
    parser = Parser(
        prog="lightning-fv open",
        description="Open the gallery of a run, or the page of a comparison, in the browser, and print its path.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="of a run or a comparison")
    page = _page(parser.parse_args(args).folder)
    say(page)
    if not webbrowser.open(page.resolve().as_uri()):
        note("lightning-fv: no browser was found on this machine; open the file yourself, or copy its folder")
    return 0


def _page(folder: Path) -> Path:
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    gallery = RunFolder(folder).gallery
    for page in (gallery, ComparisonFolder(folder).page):
        if page.is_file():
            return page
    raise RunFolderError(f"{folder} holds no {gallery.name}; write it with lightning-fv gallery {folder}")
