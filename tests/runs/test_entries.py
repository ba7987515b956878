"""What stands in the way of a run."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_fv.errors import RunFolderError
from lightning_fv.runs.entries import check_parent, plain_entries, refuse_foreign_entries, refuse_link
from lightning_fv.runs.folder import RunFolder

FOREIGN: list[tuple[str, Callable[[Path], None]]] = [
    ("a link to nowhere", lambda path: path.symlink_to("nowhere")),
    ("a named pipe", os.mkfifo),
    ("a socket", lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)),
]


@pytest.mark.parametrize(("kind", "make"), FOREIGN)
def test_what_is_neither_file_nor_folder_is_named(tmp_path: Path, kind: str, make: Callable[[Path], None]) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    assert list(plain_entries(tmp_path)) == [
        (tmp_path / "a", True), (tmp_path / "a" / "b", True), (tmp_path / "a" / "file", False),
    ]  # fmt: skip
    refuse_foreign_entries(tmp_path)
    make(tmp_path / "a" / "b" / "x")
    with pytest.raises(RunFolderError, match=rf"a/b/x is {kind}, and a run"):
        refuse_foreign_entries(tmp_path)
    refuse_foreign_entries(tmp_path / "none")


def test_only_links_are_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    refuse_link(tmp_path)
    refuse_link(tmp_path / "none")
    with pytest.raises(RunFolderError, match=f"link is a link to {tmp_path}"):
        refuse_link(tmp_path / "link")


def test_each_name_stands_for_a_file_or_a_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create("seed: 0\n")
    job = run.job("abc")
    job.begin()
    folders = [run.images, run.partial, run.path / ".run", job.checkpoints, job.frames]
    for folder in folders:
        folder.mkdir()
    for own in (run.path / "notes.txt.d", run.path / "notes" / "x.png", job.path / "mine"):
        own.mkdir(parents=True)  # anything may lie beside
    run.check_entries()
    for folder in [*folders, job.path]:
        folder.rename(tmp_path / "away")
        folder.touch()
        with pytest.raises(RunFolderError, match=f"{folder} is a file where the run needs a folder; remove it"):
            run.check_entries()
        folder.unlink()
        (tmp_path / "away").rename(folder)
    files = [
        run.manifest, run.sheet, run.film, run.gallery, run.picture("a"), run.picture("a", complete=False), job.done_file,
        job.unfinished_file, job.error_file, job.path / "hparams.yaml", job.frame(3), job.checkpoints / "step=3.ckpt",
        run.path / ".run" / "plan.json", run.path / ".run" / "abc.lock",
    ]  # fmt: skip
    for file in files:
        file.mkdir()
        with pytest.raises(RunFolderError, match=f"{file} is a folder where the run needs a file; remove it"):
            run.check_entries()
        file.rmdir()
    run.check_entries()


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    check_parent(tmp_path / "a" / "b")
    (tmp_path / "a").touch()
    with pytest.raises(RunFolderError, match="a is a file; choose another folder"):
        check_parent(tmp_path / "a" / "b")
