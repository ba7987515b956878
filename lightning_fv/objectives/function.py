"""A plain function as an objective."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import Activations, Objective
from lightning_fv.objectives.photo import Photo


class Function(Objective):
    """A function of the activations and the images as an objective, identified by its name.

    The name stands for the function in keys, file names and when a run is resumed: give the function another name when
    you change what it computes. Any callable will do, including an `Objective` whose ``repr`` cannot identify it.

    >>> def contrast(activations, images):
    ...     return images.flatten(1).std(1)
    >>> Function(contrast, layers=[])
    Function(name='contrast', layers=())

    Args:
        fn: ``fn(activations, images)`` gives (B,), higher is better; see `Objective.__call__`.
        layers: names of the layers that it reads; those of ``fn`` if that is an `Objective`.
        name: what identifies it. A function defined by ``def`` that captures no variables has one already.

    Raises:
        TargetError: it cannot be called, or has no name, or the layers are not given.
    """

    def __init__(
        self,
        fn: Callable[..., Any],  # with precise types, configuration files could only name annotated functions
        layers: Sequence[str] | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(fn) or isinstance(fn, type):
            raise TargetError(f"Function needs something to call with (activations, images), not {fn!r}")
        if layers is None and isinstance(fn, Objective):
            layers = sorted(fn.layers)
        if layers is None or isinstance(layers, str):
            raise TargetError(f"Function needs a list of the layers that it reads: layers={[layers or 'layer4']}")
        if name is None:
            name = _name_of(fn)
        if not name.strip():
            raise TargetError('the name of a Function is empty; give it one: name="..."')
        self.fn, self.name = fn, name
        self._layers = frozenset(layers)

    @property
    def layers(self) -> frozenset[str]:
        return self._layers

    @property
    def photos(self) -> frozenset[tuple[str, Photo | None]]:
        return self.fn.photos if isinstance(self.fn, Objective) else frozenset()

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        value: Tensor = self.fn(activations, images)
        return value

    def __repr__(self) -> str:
        return f"Function(name={self.name!r}, layers={tuple(sorted(self._layers))!r})"


def _name_of(fn: object) -> str:
    """The name of a plain function; that of a closure or lambda would not show what it captures or does."""
    if inspect.isfunction(fn) and fn.__closure__ is None and fn.__name__ != "<lambda>":
        return fn.__name__
    kind = type(fn).__name__
    if inspect.isfunction(fn):
        kind = "lambda" if fn.__name__ == "<lambda>" else "function that captures variables"
    raise TargetError(f'a {kind} has no name that identifies it; give it one: Function(..., name="...")')
