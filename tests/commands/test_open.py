"""``lightning-fv open``: the page of a run, in the browser."""

import webbrowser
from pathlib import Path

import pytest

from lightning_fv.commands.main import main
from lightning_fv.runs.comparison_folder import ComparisonFolder
from lightning_fv.runs.folder import RunFolder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    urls: list[str] = []

    def browse(url: str) -> bool:
        urls.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    return urls


def test_the_gallery_of_a_run_opens_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    """The browser gets an absolute URL, whatever characters the folder's name has."""
    page = RunFolder(tmp_path / "a run #1").gallery
    page.parent.mkdir()
    page.write_text("<!doctype html>")
    monkeypatch.chdir(tmp_path)
    assert main(["open", "a run #1"]) == 0
    assert capsys.readouterr().out == f"{page.relative_to(tmp_path)}\n"
    assert opened == [page.as_uri()]
    assert "%231" in opened[0]


def test_the_page_of_a_comparison_opens(tmp_path: Path, opened: list[str]) -> None:
    page = ComparisonFolder(tmp_path).page
    page.write_text("<!doctype html>")
    assert main(["open", str(tmp_path)]) == 0
    assert opened == [page.as_uri()]


def test_without_a_browser_the_path_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    page = RunFolder(tmp_path).gallery
    page.write_text("<!doctype html>")
    assert main(["open", str(tmp_path)]) == 0
    written = capsys.readouterr()
    assert written.out == f"{page}\n"
    assert "no browser" in written.err


def test_a_folder_without_a_page_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    for folder, told in (("none", "no such folder"), ("file", "not a folder"), ("", "holds no gallery.html")):
        assert main(["open", str(tmp_path / folder)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
    assert "lightning-fv gallery" in line
    assert opened == []
