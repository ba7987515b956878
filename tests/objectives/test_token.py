import numpy as np
import pytest

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Neuron, Token, stack_objectives
from tests.helpers import noise

TOKENS, IMAGES = noise(4, 6, 5, seed=1), noise(4, 3, 9, 7)


def test_is_one_value_of_the_sequence() -> None:
    for units, token in ((4, 3), ((5, 0, 3, 3), 0)):
        expected = TOKENS.numpy()[np.arange(4), units, token]
        np.testing.assert_array_equal(Token("tokens", units, token)({"tokens": TOKENS}, IMAGES), expected)


def test_tokens_count_from_0() -> None:
    with pytest.raises(TargetError, match="start at 0, got -1"):
        Token("tokens", 0, -1)


def test_text_repr_and_file_name() -> None:
    token = Token("tokens", 4, 12)
    assert token.text() == "tokens:4@12"
    assert eval(repr(token)) == token
    assert token.file_stem == "tokens-0004-t12"
    assert not token.same_as(Token("tokens", 4, 1))


def test_only_units_of_one_token_are_read_together() -> None:
    same = [Token("tokens", unit, 2) for unit in (4, 0)]
    groups = stack_objectives([same[0], Token("tokens", 4, 1), Neuron("tokens", 4, 2, 0), same[1]])
    assert [rows for rows, _ in groups] == [[0, 3], [1], [2]]
    assert groups[0][1] == Token("tokens", (4, 0), 2)
