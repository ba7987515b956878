"""Attributes of parts; what becomes of them is tested in test_settings.py."""

from typing import Any

import pytest
from torch import nn

from lightning_fv.runs.attributes import as_declared, attributes, class_attributes


class Part(nn.Module):
    draws = 3
    _secret = 4

    def __init__(self, width: float, *rest: int, name: str = "x", **more: Any) -> None:
        super().__init__()
        self._width, self.name, self._cache = width, name, object()

    @property
    def half(self) -> float:
        return self._width / 2

    def forward(self, x: Any) -> Any:
        return x


class Lost(Part):
    def __init__(self, depth: int) -> None:
        super().__init__(2.0)
        self._d = depth


def test_private_attributes_count_where_an_argument_may_be_in_any() -> None:
    assert attributes(Part(1.5)) == {"name": "x", "width": 1.5}
    lost = attributes(Lost(7))
    assert lost["_d"] == 7
    assert "_cache" in lost
    assert not {"training", "_parameters", "_forward_hooks"} & lost.keys()


def test_methods_and_properties_are_no_attributes_of_a_class() -> None:
    assert class_attributes(Lost) == {"draws": 3}


class Numbers:
    def __init__(
        self, a: float, b: int | float, c: "float | None" = None, d: int = 1, e: bool = True, f: Any = 1
    ) -> None:
        pass


def test_declared_floats() -> None:
    values = dict.fromkeys("abcdefg", 1)
    assert [type(value) for value in as_declared(Numbers, values).values()] == [float, int, float, int, int, int, int]


class Unknown:
    def __init__(self, a: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        self.a = a


@pytest.mark.parametrize("kind", [Unknown, int])
def test_declarations_that_cannot_be_read_are_none(kind: type) -> None:
    assert as_declared(kind, {"a": 1}) == {"a": 1}
