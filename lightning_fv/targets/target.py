"""A target: an objective that was checked against a network, and the names of its outputs."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_fv.objectives import Objective

# A run must also unpack on Windows: letters, digits, dot, dash and underscore.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Device names that Windows reserves, whatever follows the first dot.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


@dataclass(frozen=True)
class Target:
    """An objective that can be rendered for a network, or one of several pictures of it; made by `resolve_targets`.

    Attributes:
        objective: what is maximised.
        text: the target as a user writes it, ``logits:pizza``, ``layer4:12@3,4``; of several pictures with the number of this
            one, ``logits:pizza #2``.
        id: a name for files; different targets of a network have different ids, even where case is ignored.
        tag: the image's tag in TensorBoard, grouped by layer: ``logits/pizza``, ``layer4/12``.
        facet: the number of this picture among those of its objective, from 1.
        facets: how many there are, as in ``logits:pizza x4``.
    """

    objective: Objective
    text: str
    id: str
    tag: str
    facet: int = 1
    facets: int = 1

    @classmethod
    def of(cls, objective: Objective, categories: Sequence[str] = (), facet: int = 1, facets: int = 1) -> "Target":
        """The target of an objective.

        Args:
            objective: what is maximised.
            categories: names of the network's classes, by index; none if they are not known.
            facet, facets: which of how many pictures.

        Raises:
            TargetError: the objective has no key that distinguishes it from others.
        """
        text = objective.text(categories)
        index = objective.class_index
        category = categories[index] if index is not None and categories else ""
        name, tag = _file_id(objective, text, category), _tag(objective, text, category, categories)
        number = _number(facet, facets)
        return cls(objective, text + number, name + number.replace(" #", "-"), tag + number, facet, facets)

    @property
    def unit(self) -> str:
        """The text without the number of the picture."""
        return self.text.removesuffix(_number(self.facet, self.facets))

    @property
    def names(self) -> dict[str, Any]:
        """The fields of its record that identify it."""
        several = {"unit": self.unit, "facet": self.facet} if self.facets > 1 else {}
        return {"id": self.id, "target": self.text, **several}

    @property
    def key(self) -> str:
        """What the target's random draws depend on; the same for a class's name and its index.

        That of the first of several pictures is that of the only one: without diversity they are the same picture.
        """
        return self.objective.key if self.facet == 1 else f"{self.objective.key} #{self.facet}"

    @property
    def class_index(self) -> int | None:
        """The class, if the target is the logit or the probability of one."""
        return self.objective.class_index


def _number(facet: int, facets: int) -> str:
    return f" #{facet}" if facets > 1 else ""


def _file_id(objective: Objective, text: str, category: str) -> str:
    name = objective.file_stem
    if name is None:
        return f"objective-{_slug(text)[:60]}-{_hash(objective.key)}"
    is_safe = _slug(name) == name and name.lower() == name and len(name) <= 80
    name = name if is_safe else f"{_slug(name)[:80]}-{_hash(objective.key)}"
    if name.partition(".")[0].lower() in _DEVICES:  # a layer called aux.0
        name = f"{name.replace('.', '-')}-{_hash(objective.key)}"
    return f"{name}-{_slug(category)[:40]}".rstrip("-.") if category else name


def _tag(objective: Objective, text: str, category: str, categories: Sequence[str]) -> str:
    if objective.file_stem is None:
        return f"objective/{text}"
    group, _, unit = text.partition(":")
    # Two classes may share a name, like ImageNet's two cranes: one image would hide the other.
    shared = category and sum(name == category for name in categories) > 1
    return f"{group}/{unit or 'all'}" + (f" ({objective.class_index})" if shared else "")


def _slug(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-.")


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
