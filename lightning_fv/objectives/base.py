"""Base class of objectives: value, identity and algebra."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Self, TypeAlias

from torch import Tensor

from lightning_fv.networks.capture import LOGITS as LOGITS
from lightning_fv.objectives.identity import Identified

if TYPE_CHECKING:
    from lightning_fv.networks import VisionNetwork
    from lightning_fv.objectives.photo import Photo

Activations: TypeAlias = Mapping[str, Tensor]
"""Layer name -> the layer's output for the batch, batch axis first."""


class Objective(Identified, ABC):
    """A number per image, to be maximised; ``objective(activations, images)`` gives (B,), float32.

    Objectives compose by ``+``, ``-`` and ``*`` with each other and with numbers, and by ``/`` with numbers. A composition is a flat sum of
    weighted products, so thousands of terms need no recursion; operands are not modified; ``repr`` gives an
    expression that evaluates back to an equal objective.

    A subclass implements ``__call__`` and, if it reads activations, ``layers``. If each argument of its constructor is
    a plain value, stored in an attribute of the same name, it needs no ``__repr__`` of its own (see `Identified`).

    >>> from lightning_fv.objectives import Channel, L1
    >>> Channel("layer4", 12) - 0.5 * L1()
    Channel('layer4', 12) - 0.5 * L1()
    """

    @property
    def layers(self) -> frozenset[str]:
        """Names of the layers whose activations this reads; none unless a subclass says so."""
        return frozenset()

    @property
    def photos(self) -> frozenset[tuple[str, Photo | None]]:
        """Those of its layers whose activations it also reads for a photo, or for the picture that the render starts from (None),
        under the name that `lightning_fv.objectives.photo.activations_of` gives. One objective has one photo at most."""
        return frozenset()

    @property
    def reads_activations(self) -> bool:
        """Whether, as a penalty, it reads activations, and not only the picture."""
        return bool(self.layers)

    @property
    def multiplies(self) -> bool:
        """Whether, as a penalty d that reads activations, it multiplies the objective o, whose gradient is then that of o (1 - d). A share of its magnitude is
        subtracted otherwise, o - |o| d, where |o| has no gradient."""
        return False

    def for_network(self, network: VisionNetwork) -> Self:
        """This penalty, ready for a network; ``self`` unless it knows something of each network.

        Raises:
            UsageError: it knows nothing of this one.
        """
        return self

    def for_objectives(self, objectives: Sequence[Objective]) -> Self:
        """This penalty, ready for a batch of pictures; ``self`` unless it depends on what each of them maximizes.

        Args:
            objectives: one per picture.

        Raises:
            UsageError: it cannot be combined with one of them.
        """
        return self

    @abstractmethod
    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        """The objective of each image.

        Args:
            activations: the output of each layer in ``layers`` for the transformed images, and of ``photos``, which are
                transformed like the image that they belong to.
            images: the images before transforms, (B, 3, H, W) in [0, 1].

        Returns:
            (B,), higher is better.
        """

    def text(self, categories: Sequence[str] = ()) -> str:
        """The objective as a user writes it.

        Args:
            categories: names of the network's classes, if known.
        """
        return repr(self)

    @property
    def file_stem(self) -> str | None:
        """The prefix of its file names, such as ``layer4-0012``; None if they are made from the text and the key."""
        return None

    @property
    def class_index(self) -> int | None:
        """The class whose logit or probability this is; None for all other objectives."""
        return None

    @property
    def stack_key(self) -> Hashable:
        """Objectives with equal ``stack_key`` can be evaluated together, by `stacked`."""
        has_custom_repr = type(self).__repr__ is not Identified.__repr__  # which may not show all that matters
        return type(self), id(self) if has_custom_repr else self.key

    def stacked(self, objectives: Sequence[Self]) -> Objective:
        """One objective of a whole batch: its value for image i is that of ``objectives[i]``.

        Args:
            objectives: one per image, all with the same ``stack_key`` as this one.
        """
        return self

    def __add__(self, other: Objective | float) -> Objective:
        return _sum(self._terms(), _as_terms(other))

    def __radd__(self, other: Objective | float) -> Objective:
        return _sum(_as_terms(other), self._terms())

    def __neg__(self) -> Objective:
        return self * -1.0

    def __sub__(self, other: Objective | float) -> Objective:
        return self + -1.0 * _as_objective(other)

    def __rsub__(self, other: Objective | float) -> Objective:
        return _as_objective(other) + -1.0 * self

    def __mul__(self, other: Objective | float) -> Objective:
        # Distributes: (a + b) * c is a * c + b * c, so that a composition stays flat.
        return Sum(tuple(a.times(b) for a in self._terms() for b in _as_terms(other)))

    def __rmul__(self, other: Objective | float) -> Objective:
        return Sum(tuple(a.times(b) for a in _as_terms(other) for b in self._terms()))

    def __truediv__(self, number: float) -> Objective:
        return NotImplemented if isinstance(number, Objective) else self * (1.0 / float(number))

    def _terms(self) -> tuple[Term, ...]:
        return (Term(1.0, (self,)),)


class Term:
    """A weight times a product of objectives; with no factors, a constant."""

    __slots__ = ("factors", "weight")

    def __init__(self, weight: float, factors: tuple[Objective, ...]) -> None:
        self.weight, self.factors = weight, factors

    def times(self, other: Term) -> Term:
        return Term(self.weight * other.weight, self.factors + other.factors)

    def __repr__(self) -> str:
        weight = [] if abs(self.weight) == 1 and self.factors else [f"{abs(self.weight):g}"]
        if weight and float(weight[0]) != abs(self.weight):
            weight = [repr(abs(self.weight))]
        return " * ".join(weight + [repr(factor) for factor in self.factors])


class Sum(Objective):
    """A flat sum of weighted products of objectives; made by the operators."""

    def __init__(self, terms: tuple[Term, ...]) -> None:
        # Constants are summed at the position of the first, as Python does when it evaluates the expression.
        numbers = [term for term in terms if not term.factors]
        if len(numbers) > 1:
            total = Term(sum(number.weight for number in numbers), ())
            terms = tuple(total if t is numbers[0] else t for t in terms if t.factors or t is numbers[0])
        self.terms = terms

    @property
    def layers(self) -> frozenset[str]:
        return frozenset().union(*(factor.layers for term in self.terms for factor in term.factors))

    @property
    def photos(self) -> frozenset[tuple[str, Photo | None]]:
        return frozenset().union(*(factor.photos for term in self.terms for factor in term.factors))

    @property
    def reads_activations(self) -> bool:
        return any(factor.reads_activations for term in self.terms for factor in term.factors)

    @property
    def multiplies(self) -> bool:
        return any(factor.multiplies for term in self.terms for factor in term.factors)

    def for_network(self, network: VisionNetwork) -> Sum:
        return self._with(lambda factor: factor.for_network(network))

    def for_objectives(self, objectives: Sequence[Objective]) -> Sum:
        return self._with(lambda factor: factor.for_objectives(objectives))

    def _with(self, change: Callable[[Objective], Objective]) -> Sum:
        return Sum(tuple(Term(term.weight, tuple(map(change, term.factors))) for term in self.terms))

    @property
    def state(self) -> object:
        return Sum, [(term.weight, term.factors) for term in self.terms]

    @property
    def stack_key(self) -> Hashable:
        return Sum, tuple((term.weight, tuple(factor.stack_key for factor in term.factors)) for term in self.terms)

    def stacked(self, objectives: Sequence[Sum]) -> Sum:
        if len(objectives) == 1:
            return self
        columns = zip(*(objective.terms for objective in objectives), strict=True)
        return Sum(tuple(_stack_terms(column) for column in columns))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        total = images.new_zeros(len(images))
        values: dict[int, Tensor] = {}  # an objective that appears in several terms is evaluated once
        for term in self.terms:
            product: Tensor | float = term.weight
            for factor in term.factors:
                if id(factor) not in values:
                    values[id(factor)] = factor(activations, images)
                product = product * values[id(factor)]
            total = total + product
        return total

    def settings(self) -> dict[str, object]:
        """The terms as plain values and objectives, for the ids of jobs."""
        return {"terms": [[term.weight, *term.factors] for term in self.terms]}

    def _terms(self) -> tuple[Term, ...]:
        return self.terms

    def __repr__(self) -> str:
        text = ""
        for term in self.terms:
            negative = math.copysign(1.0, term.weight) < 0
            sign = (" - " if negative else " + ") if text else ("-" if negative else "")
            text += sign + repr(term)
        return text


def _stack_terms(terms: Sequence[Term]) -> Term:
    factors = zip(*(term.factors for term in terms), strict=True)
    return Term(terms[0].weight, tuple(column[0].stacked(column) for column in factors))


def _as_terms(value: Objective | float) -> tuple[Term, ...]:
    return value._terms() if isinstance(value, Objective) else (Term(float(value), ()),)


def _as_objective(value: Objective | float) -> Objective:
    return value if isinstance(value, Objective) else Sum(_as_terms(value))


def _sum(left: tuple[Term, ...], right: tuple[Term, ...]) -> Objective:
    return Sum(left + right)
