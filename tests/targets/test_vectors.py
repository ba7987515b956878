from pathlib import Path

import numpy as np
import pytest

from lightning_fv.errors import TargetError
from lightning_fv.targets.vectors import parse_vectors
from tests.helpers import noise


def test_rows_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a@b:c.npy"
    np.save(file, noise(12, 4).numpy())
    for rows, expected in {
        "3": [3],
        "0-2": [0, 1, 2],
        "5, 1,5": [5, 1],
        "all": list(range(12)),
        "9-10,0": [9, 10, 0],
    }.items():
        found = parse_vectors(f"vector:{file}:{rows}@layer4.0")
        assert [direction.row for direction in found] == expected
        assert {direction.layer for direction in found} == {"layer4.0"}


def test_a_file_of_one_vector(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", noise(4).numpy())
    (direction,) = parse_vectors(f"vector:{tmp_path / 'one.npy'}@layer4")
    assert direction.row is None
    with pytest.raises(TargetError, match="give one vector, without a row"):
        parse_vectors(f"vector:{tmp_path / 'one.npy'}:0@layer4")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("12", "no row 12; there are 0 to 11"),
        ("3-99", "no row 99"),
        ("x", "not 'x'"),
        ("-1", "not '-1'"),
        ("5-3", "5 comes after 3; write 3-5"),
    ],
)
def test_rows_that_are_not_there(tmp_path: Path, rows: str, message: str) -> None:
    np.save(tmp_path / "rows.npy", noise(12, 4).numpy())
    with pytest.raises(TargetError, match=message):
        parse_vectors(f"vector:{tmp_path / 'rows.npy'}:{rows}@layer4")
