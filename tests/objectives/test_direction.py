from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lightning_fv import load_network, render, resolve_targets
from lightning_fv.errors import FeatureVisualizationError, TargetError
from lightning_fv.objectives import Channel, Direction, stack_objectives
from lightning_fv.objectives.base import Activations
from tests.helpers import assert_gradient, noise

MAPS, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 3, 9, 7)
VECTOR = noise(6, seed=2)


def expected(maps: Tensor, vector: Tensor, power: float) -> list[float]:
    """By the formula, place by place, in numpy."""
    values = []
    for picture in maps.double().numpy():
        places = picture.reshape(len(vector), -1).T
        v = vector.double().numpy() / np.linalg.norm(vector.double().numpy())
        along = [a @ v * max(a @ v / np.linalg.norm(a), 0.1) ** power for a in places]
        values.append(float(np.mean(along)))
    return values


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_the_mean_over_places_of_the_formula(power: float) -> None:
    found = Direction("maps", VECTOR, cosine_power=power)({"maps": MAPS}, IMAGES)
    np.testing.assert_allclose(found, expected(MAPS, VECTOR, power), rtol=1e-4)
    one = Direction("maps", VECTOR, cosine_power=power, position=(4, 2))({"maps": MAPS}, IMAGES)
    np.testing.assert_allclose(one, expected(MAPS[:, :, 4:, 2:], VECTOR, power), rtol=1e-4)
    token = Direction("maps", VECTOR, cosine_power=power, position=(3,))({"maps": MAPS.flatten(2)}, IMAGES)
    np.testing.assert_allclose(token, expected(MAPS.flatten(2)[:, :, 3:4], VECTOR, power), rtol=1e-4)
    flat = Direction("maps", VECTOR, cosine_power=power)({"maps": MAPS[:, :, 0, 0]}, IMAGES)
    np.testing.assert_allclose(flat, expected(MAPS[:, :, :1, :1], VECTOR, power), rtol=1e-4)


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_its_gradient(power: float) -> None:
    maps = MAPS.double().requires_grad_()
    direction = Direction("maps", VECTOR, cosine_power=power)
    # In float32, as all objectives: compared with the formula's finite differences in float64.
    (gradient,) = torch.autograd.grad(direction({"maps": maps}, IMAGES).sum(), maps)
    assert_gradient(
        gradient, lambda maps: expected(maps, VECTOR, power), MAPS, ((0, 1, 2, 1), (3, 5, 0, 0)), rel=1e-3, abs=1e-6
    )


def test_a_channel_is_the_direction_of_its_axis() -> None:
    axis = torch.eye(6)[4] * 3
    found = Direction("maps", axis)({"maps": MAPS}, IMAGES)
    torch.testing.assert_close(found, Channel("maps", 4)({"maps": MAPS}, IMAGES))


def test_files_of_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", VECTOR.numpy().astype(np.float64))
    save_file({"decoder": noise(3, 6, seed=3)}, tmp_path / "rows.safetensors")
    one, given = Direction("maps", tmp_path / "one.npy"), Direction("maps", VECTOR)
    assert one.digest == given.digest
    row = Direction("maps", str(tmp_path / "rows.safetensors"), 1)
    assert row.digest == Direction("maps", noise(3, 6, seed=3)[1]).digest
    assert eval(repr(row)) == row
    assert repr(row) == f"Direction('maps', {str(tmp_path / 'rows.safetensors')!r}, row=1, digest={row.digest!r})"
    assert Direction("maps", VECTOR.tolist()).key == given.key
    assert given.key != Direction("maps", -VECTOR).key
    np.save(tmp_path / "one.npy", noise(6, seed=5).numpy())
    with pytest.raises(TargetError, match=r"one\.npy has changed: its digest is"):
        Direction("maps", tmp_path / "one.npy", digest=one.digest)


def test_what_is_no_vector_is_told_in_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    np.save(tmp_path / "rows.npy", np.ones((2, 6)))
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    save_file({"a": VECTOR, "b": -VECTOR}, tmp_path / "two.safetensors")
    (tmp_path / "text.txt").write_text("1 2")
    for name, message in {
        "nowhere.npy": "cannot read vectors from .*nowhere.npy: No such file",
        "cube.npy": r"holds an array \(2, 2, 2\); vectors are",
        "rows.npy": "is 2 vectors; choose one by its row, 0 to 1",
        "objects.npy": "cannot read vectors from .*: Object arrays",
        "two.safetensors": "it holds 2 tensors: a, b",
        "text.txt": "its name ends neither in .npy nor in .safetensors",
    }.items():
        with pytest.raises(TargetError, match=message):
            Direction("maps", tmp_path / name)
    with pytest.raises(TargetError, match="has no row 2; there are 0 to 1"):
        Direction("maps", tmp_path / "rows.npy", 2)
    with pytest.raises(TargetError, match="finite numbers, not all of them 0"):
        Direction("maps", torch.zeros(6))
    with pytest.raises(TargetError, match="layer maps has 6 channels, and the vector 5 numbers"):
        Direction("maps", VECTOR[:5])({"maps": MAPS}, IMAGES)
    with pytest.raises(TargetError, match="without the position"):
        Direction("maps", VECTOR, position=(1,))({"maps": MAPS}, IMAGES)
    with pytest.raises(TargetError, match="cosine_power of at least 0"):
        Direction("maps", VECTOR, cosine_power=-1)


def test_directions_of_a_layer_are_evaluated_together() -> None:
    directions = [Direction("maps", noise(6, seed=seed), cosine_power=1.0) for seed in range(4)]
    ((rows, stack),) = stack_objectives(directions)
    assert rows == [0, 1, 2, 3]
    one_by_one = [d({"maps": MAPS[i : i + 1]}, IMAGES[i : i + 1]) for i, d in enumerate(directions)]
    torch.testing.assert_close(stack({"maps": MAPS}, IMAGES), torch.cat(one_by_one))


def test_a_subclass_is_evaluated_by_itself() -> None:
    class Squared(Direction):
        def __call__(self, activations: Activations, images: Tensor) -> Tensor:
            return super().__call__(activations, images) ** 2

    pair = [Direction("maps", VECTOR), Squared("maps", VECTOR)]
    assert [rows for rows, _ in stack_objectives(pair)] == [[0], [1]]


def test_a_power_is_a_number_of_any_kind() -> None:
    assert Direction("maps", VECTOR, cosine_power=2).same_as(Direction("maps", VECTOR, cosine_power=2.0))


def test_targets_as_text(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", noise(3, 128, seed=3).numpy())
    np.save(tmp_path / "one.npy", noise(128, seed=4).numpy())
    network, rows = load_network("demo"), tmp_path / "rows.npy"
    texts = [f"vector:{rows}:{row}@layer3" for row in range(3)]
    assert [t.text for t in resolve_targets(f"vector:{rows}:all@layer3", network)] == texts
    assert [t.text for t in resolve_targets(f"vector:{rows}:0,2@layer3", network)] == [texts[0], texts[2]]
    assert [t.text for t in resolve_targets(f"vector:{rows}:1-2@layer3 x2", network)][:2] == [
        f"{texts[1]} #1",
        f"{texts[1]} #2",
    ]
    (single,) = resolve_targets(f"vector:{tmp_path / 'one.npy'}@layer3", network)
    assert single.objective == Direction("layer3", tmp_path / "one.npy")
    for text, message in {
        f"vector:{rows}": "write vector:FILE@LAYER",
        f"vector:{rows}@layer3": "3 vectors; choose one by its row",
        f"vector:{rows}:7@layer3": "no row 7; there are 0 to 2",
        f"vector:{rows}:x@layer3": "rows are numbers, ranges or all, not 'x'",
        f"vector:{rows}:0@layer4": "layer4 has 256 channels, and the vector 128 numbers",
        f"vector:{rows}:0@layer9": "no layer 'layer9'",
    }.items():
        with pytest.raises(FeatureVisualizationError, match=message):
            resolve_targets(text, network)


def test_a_picture_of_a_direction_points_along_it() -> None:
    network = load_network("demo")
    vector = noise(128, seed=7)
    target = Direction("layer3", vector, cosine_power=1.0)
    before = render(network, target, steps=1).scores
    after = render(network, target, steps=48).scores
    assert after[0] > 3 * before[0]
