"""Networks that look at the pictures of another."""

import copy

import pytest

from lightning_fv import load_network
from lightning_fv.errors import NetworkError, UsageError
from lightning_fv.trust.judges import load_judges
from tests.helpers import TinyNet
from tests.trust.runs import network_of


def test_judges_are_named_or_given() -> None:
    given = network_of(TinyNet(1), "judge")
    found = load_judges(["demo/antialiased", given], network_of())
    assert [judge.name for judge in found] == ["demo/antialiased", "judge"]
    assert found[1] is given


def test_judges_that_are_none_are_refused() -> None:
    demo, tiny = load_network("demo"), network_of()
    with pytest.raises(
        UsageError, match=r"^judges: demo made the pictures, and cannot judge them; name other networks$"
    ):
        load_judges(["demo"], demo)
    with pytest.raises(UsageError, match=r"^judges: twin made the pictures"):
        load_judges([network_of(copy.deepcopy(tiny.module), "twin")], tiny)
    with pytest.raises(UsageError, match=r"^judges: demo is named twice; name it once$"):
        load_judges(["demo", "demo"], tiny)
    with pytest.raises(UsageError, match="judges: demo is named twice"):
        load_judges(["demo", demo], tiny)
    with pytest.raises(NetworkError, match="dmeo"):
        load_judges(["dmeo"], tiny)
