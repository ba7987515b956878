"""Several tensors of a picture in one row: nothing is lost, mixed between pictures, or copied on the way back."""

import pytest
import torch

from lightning_fv.functional import pack, unpack
from tests.helpers import noise

SHAPES = [(3, 4, 5), (2,), (1, 1, 1), (6, 2)]


def test_a_row_holds_the_tensors_of_its_picture_one_after_another() -> None:
    tensors = [noise(2, *shape, seed=number) for number, shape in enumerate(SHAPES)]
    rows = pack(tensors)
    assert rows.shape == (2, 60 + 2 + 1 + 12)
    assert torch.equal(rows[1], torch.cat([tensor[1].flatten() for tensor in tensors]))


def test_unpack_is_the_inverse_and_gives_views() -> None:
    tensors = [noise(2, *shape, seed=number) for number, shape in enumerate(SHAPES)]
    rows = pack(tensors)
    parts = unpack(rows, SHAPES)
    assert all(torch.equal(part, tensor) for part, tensor in zip(parts, tensors, strict=True))
    parts[1].zero_()
    assert rows[:, 60:62].eq(0).all()


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(RuntimeError, match="split"):
        unpack(noise(2, 74), SHAPES)
