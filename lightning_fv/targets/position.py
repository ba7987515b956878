"""Targets at one position of a layer."""

from collections.abc import Sequence

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Neuron, Objective, Token
from lightning_fv.targets.grammar import Spec


def at_position(
    spec: Spec,
    layer: str,
    units: Sequence[int],
    shape: tuple[int, ...],
    trained: tuple[int, ...],
    side: tuple[int, int],
) -> Sequence[Objective]:
    """Neurons of a map, or units at a token of a sequence.

    Args:
        spec: the target, with a position.
        layer: its layer.
        units: channels.
        shape: of the layer's output for a picture of the size to render.
        trained: the same at the network's training size, which a neuron's position refers to.
        side: (height, width) in pixels of that size.

    Raises:
        TargetError: the layer has no such position.
    """
    assert spec.position is not None
    if len(shape) not in (3, 4):
        raise TargetError(f"{spec}: layer {layer!r} outputs {shape}, without rows and columns; leave out the @")
    if len(spec.position) != len(shape) - 2:
        what = "a map: write @Y,X" if len(shape) == 4 else "a sequence: write @TOKEN"
        raise TargetError(f"{spec}: layer {layer!r} outputs {shape}, {what}")
    if len(shape) == 3:
        (token,) = spec.position
        if token >= shape[2]:
            raise TargetError(f"{spec}: layer {layer} has tokens 0 to {shape[2] - 1}")
        return [Token(layer, unit, token) for unit in units]
    (y, x), (height, width) = spec.position, trained[2:]
    if y >= height or x >= width:
        rows = f"rows 0 to {height - 1} and columns 0 to {width - 1}"
        raise TargetError(
            f"{spec}: the map of {layer} has {rows} at the network's training size of {side[0]}x{side[1]} px"
        )
    return [Neuron(layer, unit, y, x, of=(height, width)) for unit in units]
