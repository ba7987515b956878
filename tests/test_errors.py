"""Messages: one line, and the choices that were probably meant."""

import inspect
import pickle

import pytest

from lightning_fv import errors
from lightning_fv.errors import CheckpointError, FeatureVisualizationError, first_line, nearest

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


def test_a_file_cannot_break_the_line() -> None:
    """Names in a checkpoint are anybody's: terminals obey escape sequences."""
    assert str(CheckpointError("a\nb\x1b[2Jc\u2028d")) == "a b [2Jc d"


def test_the_first_line_that_says_something() -> None:
    assert first_line(ValueError("\n  \n what it is \n more")) == "what it is"
    assert first_line(ValueError()) == "ValueError"
