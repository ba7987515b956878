"""Standard output and standard error that are closed, full, or of few characters."""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_fv.commands.main import main
from lightning_fv.commands.streams import safe_streams


@pytest.fixture
def pipe() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def test_text_passes_and_streams_are_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with safe_streams() as out:
        print("to out")
        print("to error", file=sys.stderr)
        assert not sys.stdout.isatty()
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("to out\n", "to error\n")
    assert not out.incomplete


def test_what_an_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with safe_streams():
        print("\u732b é \ud800")
    assert raw.getvalue() == b"\\u732b \\xe9 \\ud800\n"


def test_a_full_disk_loses_text_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with safe_streams() as out:
            for _ in range(3):
                print("x" * 10_000)
        assert out.incomplete
        print("y", file=full, flush=True)  # or what is left would be an error again when Python ends


def test_a_reader_that_has_seen_enough_misses_nothing(monkeypatch: pytest.MonkeyPatch, pipe: int) -> None:
    with open(pipe, "w", closefd=False) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with safe_streams() as out:
            print("x")
        assert out.error is not None
        assert not out.incomplete


def test_no_streams_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw, or with ``>&- 2>&-``."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["--version"]) == 0
    assert main(["gallery", "/no/such/folder"]) == 2
    assert sys.stdout is None


def test_the_exit_code_tells_that_the_output_is_not_complete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pipe: int
) -> None:
    with open("/dev/full", "w") as full, open(pipe, "w", closefd=False) as unread:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["--help"]) == 1
        assert "standard output cannot be written: [Errno 28] No space left" in capsys.readouterr().err
        monkeypatch.setattr(sys, "stdout", unread)
        assert main(["--help"]) == 0
        assert capsys.readouterr().err == ""


def test_numbers_of_closed_streams_are_not_given_to_files(tmp_path: Path) -> None:
    kept = os.dup(0)
    os.close(0)
    try:
        with safe_streams(), open(tmp_path / "picture", "wb") as file:
            assert file.fileno() > 2
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_warnings_of_others_keep_their_lines_and_lose_their_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning_fv.commands import gallery

    def warns(words: list[str]) -> int:
        warnings.warn("one\ntwo \x1b[2J", RuntimeWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(gallery, "gallery", warns)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)  # not pytest's, which records
        assert main(["gallery"]) == 0
    assert capsys.readouterr().err == "one\ntwo \\x1b[2J\n"
