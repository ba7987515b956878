"""A target is found among those rendered by whatever names it."""

import pytest

from lightning_fv.objectives import Channel, Facets, Function, Logit, Objective, Probability
from lightning_fv.targets import Target
from lightning_fv.targets.lookup import rows_of

NAMES = ("cat", "dog", "T-shirt, black")
SUM = Logit(0) - 0.5 * Logit(1)
TARGETS = [
    Target.of(Logit(1), NAMES),
    Target.of(Logit(2), NAMES, facet=1, facets=2),
    Target.of(Logit(2), NAMES, facet=2, facets=2),
    Target.of(Probability(1), NAMES),
    Target.of(Channel("layer", 3)),
    Target.of(SUM),
]


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ("logits:dog", [0]),
        ("logits:1", [0]),
        ("logits:Dog", [0]),
        (Logit(1), [0]),
        ("logits:T-shirt, black", [1, 2]),
        ("logits:2", [1, 2]),
        ("logits:2 x2", [1, 2]),
        ("logits:2 #2", [2]),
        (Facets(Logit(2), 2), [1, 2]),
        (TARGETS[2], [2]),
        ("probability:1", [3]),
        (Probability(1), [3]),
        ("layer:3", [4]),
        (Channel("layer", 3), [4]),
        ("Logit(0) - 0.5 * Logit(1)", [5]),
        ("sum(logits:cat - 0.5*logits:1)", [5]),
        ("sum( logits:0 - 0.5 * logits:dog ) x3", [5]),
        (Logit(0) - 0.5 * Logit(1), [5]),
        (Function(lambda activations, images: images.mean((1, 2, 3)), layers=[], name="other"), []),
        *((text, []) for text in ("logits:0", "logits:cow", "logits:0-3", "logits:1+logits:2", "layer", "layer:3@1,2", "sum(", "")),
    ],
)  # fmt: skip
def test_what_names_a_target(wanted: str | Objective | Target, rows: list[int]) -> None:
    assert rows_of(wanted, TARGETS, NAMES) == rows


def test_without_names_of_classes() -> None:
    targets = [Target.of(Logit(1)), Target.of(SUM)]
    assert rows_of("logits:1", targets) == [0]
    assert rows_of("sum(logits:0 - 0.5*logits:1)", targets) == [1]
    assert rows_of("logits:dog", targets) == []
