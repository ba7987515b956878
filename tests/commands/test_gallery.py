"""``lightning-fv gallery``, by its script and in process."""

from pathlib import Path

import pytest

from lightning_fv.commands.main import main
from tests.processes import SCRIPTS, run_python
from tests.report.test_gallery import DONE, Page, make_run

SCRIPT = SCRIPTS / "gallery.py"


def test_the_script(tmp_path: Path) -> None:
    """The package is imported from beside it, and the page's path is all that it prints."""
    run = make_run(tmp_path / "run", [DONE])
    done = run_python(SCRIPT, run)
    assert (done.returncode, done.output, done.error_output) == (0, f"{run / 'gallery.html'}\n", "")
    assert len(Page(run / "gallery.html").rows()) == 1
    done = run_python(SCRIPT, tmp_path / "none")
    assert (done.returncode, done.output) == (2, "")
    assert done.error_output.startswith("lightning-fv: error: ")
    assert done.error_output.count("\n") == 1


def test_the_page_of_one_run_and_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run(tmp_path / "a", [DONE]), make_run(tmp_path / "b", [DONE])
    calls: list[tuple[list[Path], list[str], Path]] = [
        ([first], [], first / "gallery.html"),
        ([first, second], [], tmp_path / "gallery.html"),
        ([first], ["--out", str(tmp_path / "c.html")], tmp_path / "c.html"),
        ([first, second], ["--out", str(tmp_path / "new" / "pages")], tmp_path / "new" / "pages" / "gallery.html"),
        ([first], ["--out", str(tmp_path / "new")], tmp_path / "new" / "gallery.html"),
    ]
    for folders, options, page in calls:
        assert main(["gallery", *map(str, folders), *options]) == 0
        assert capsys.readouterr().out == f"{page}\n"
        assert len(Page(page).rows()) == len(folders)
        assert all((page.parent / url).is_file() for url in Page(page).images() if url)


def test_mistakes_are_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", [DONE])
    calls: list[tuple[list[object], str]] = [
        ([tmp_path / "none"], "no such folder"),
        ([tmp_path], "holds no manifest.jsonl"),
        ([run, "--out", run / "manifest.jsonl"], "cannot write"),
        ([run, "--out", tmp_path / "none" / "page.html"], "cannot write"),
    ]
    for args, told in calls:
        assert main(["gallery", *map(str, args)]) == 2
        written = capsys.readouterr()
        assert written.out == ""
        (line,) = written.err.splitlines()
        assert told in line
