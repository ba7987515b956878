"""Messages: one line, and the choices that were probably meant."""

import inspect
import os
import pickle
import sys
from pathlib import Path

import pytest

from lightning_fv import errors
from lightning_fv.errors import FeatureVisualizationError, first_line, nearest, note, printable, say, warn

CLASSES = ["pizza", "pretzel", "plate rack", "Persian cat", "goldfish"]
KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize(
    ("name", "first"),
    [("piza", "pizza"), ("PIZZA", "pizza"), ("persian cat", "Persian cat"), ("golfish", "goldfish")],
)
def test_what_was_meant_comes_first(name: str, first: str) -> None:
    assert nearest(name, CLASSES)[0] == first


def test_nothing_like_it_is_no_suggestion() -> None:
    assert nearest("quux", CLASSES) == []
    assert nearest("pizza", []) == []


def test_as_many_as_asked_for() -> None:
    layers = [f"layer{n}" for n in range(9)]
    assert len(nearest("layer", layers)) == 3
    assert len(nearest("layer", layers, 1)) == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_are_of_one_family_and_come_through_a_pickle(kind: type[Exception]) -> None:
    """Workers on other machines send them back."""
    assert issubclass(kind, FeatureVisualizationError)
    error = pickle.loads(pickle.dumps(kind("what and why")))
    assert type(error) is kind
    assert str(error) == "what and why"


TRICKS = {
    "\x1b]0;pwned\x07": r"\x1b]0;pwned\x07",  # sets a terminal's title
    "a\rb\nc\td": r"a\rb\nc\td",
    "\x9b2J\x7f\0": r"\x9b2J\x7f\x00",  # C1: an escape sequence in one character
    "\u202egnp.exe\u2066\u2069": r"\u202egnp.exe\u2066\u2069",
    "one\u2028two\u2029": r"one\u2028two\u2029",
    "lone \ud800, byte \udcff": r"lone \ud800, byte \udcff",
    "zero\u200bwidth\ufeff": r"zero\u200bwidth\ufeff",
}


@pytest.mark.parametrize(("text", "shown"), TRICKS.items())
def test_what_controls_a_terminal_is_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    shown.encode()


@pytest.mark.parametrize("text", ["pizza", "C:\\new\\table", "猫 é e\u0301", "क्\u200dष", "👩\u200d🚀", "a b\xa0c"])
def test_names_of_all_languages_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_and_warnings_keep_to_their_lines(kind: type[Exception]) -> None:
    """Names in files are anybody's; the lines of a table are its own."""
    error = kind("a\nb\x1b[2Jc\u2028d", "  seed: 0\r in the run", "  next")
    lines = [r"a\nb\x1b[2Jc\u2028d", r"  seed: 0\r in the run", "  next"]
    assert str(error).split("\n") == str(pickle.loads(pickle.dumps(error))).split("\n") == lines
    with pytest.warns(UserWarning, match="^a") as caught:
        warn("a\n\x1b[2J")
    assert [str(one.message) for one in caught] == [r"a\n\x1b[2J"]
    assert caught[0].filename == errors.__file__.replace("lightning_fv", "tests").replace("errors", "test_errors")


def test_lines_are_told_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\ntwo", "\x1b[2J")
    note("three\r", "four")
    assert capsys.readouterr() == ("one\\ntwo\n\\x1b[2J\n", "three\\r\nfour\n")


def test_a_note_that_nobody_can_read_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As for `render` in a process without standard error, or whose terminal is closed."""
    with open("/dev/full", "w", buffering=1) as full, open(tmp_path / "closed", "w") as closed:
        closed.close()
        for stream in (None, full, closed):
            monkeypatch.setattr(sys, "stderr", stream)
            note("x")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # what is left in its buffer would be an error again


def test_the_first_line_that_says_something() -> None:
    assert first_line(ValueError("\n  \n what it is \n more")) == "what it is"
    assert first_line(ValueError()) == "ValueError"
