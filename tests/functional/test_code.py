"""Digests of code: of what is computed, not of where it is written. That they are the same in every process is tested with the
identity of objectives, in processes that are needed there anyway."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from lightning_fv.functional.code import code_digest, hook_digests


def make(source: str, **names: object) -> object:
    exec(source, names)
    return names["f"]


def test_comments_and_line_numbers_do_not_matter() -> None:
    one, other = make("def f(x): return 2 * x"), make("\n\ndef f(x):\n    # twice\n    return 2 * x")
    assert code_digest(one) == code_digest(other)


class Holder:
    def __init__(self, value: object) -> None:
        self.value, self.handle = value, object()

    def method(self) -> object:
        return self.value


def captures(value: object) -> object:
    return lambda: value


def recursive(depth: int) -> object:
    def inner() -> object:
        return inner, depth

    return inner


VALUES = [
    1,
    2,
    1.0,
    "1",
    b"1",
    (1,),
    (1, 2),
    None,
    True,
    torch.ones(2),
    torch.zeros(2),
    np.ones(2),
    Holder(1),
    Holder(2),
    nn.ReLU(),
    nn.Linear,
]


def test_captured_values_are_told_apart() -> None:
    functions: list[object] = [captures(value) for value in VALUES]
    functions += [functools.partial(print, value) for value in VALUES[:6]]
    functions += [Holder(1).method, Holder(2).method, recursive(1), recursive(2)]
    functions += [make("def f(x): return K * x", K=k) for k in (1, 2)]
    functions += [
        make("def f(x, k=1): return k * x"),
        make("def f(x, k=2): return k * x"),
        make("def f(x, *, k=2): return k * x"),
    ]
    digests = [code_digest(function) for function in functions]
    assert len(set(digests)) == len(digests)
    assert code_digest(captures(Holder(1))) == code_digest(captures(Holder(1)))


@pytest.mark.parametrize("value", [3, len, object(), Holder, torch.eye(2).to_sparse(), torch.empty(2, device="meta")])
def test_anything_has_a_digest(value: object) -> None:
    assert code_digest(value) == code_digest(value)


def test_hooks_of_modules_count() -> None:
    module = nn.ReLU()
    assert hook_digests(module) == hook_digests(object()) == []
    module.register_forward_hook(lambda module, inputs, output: 2 * output)
    module.register_forward_pre_hook(lambda module, inputs: None)
    assert len(set(hook_digests(module))) == 2
