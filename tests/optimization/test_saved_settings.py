"""What a checkpoint says of its render, and which checkpoints are refused."""

import pytest

from lightning_fv import FeatureVisualizer, VisionNetwork, resolve_targets
from lightning_fv.errors import CheckpointError
from lightning_fv.optimization.saved_settings import restored_settings, saved_settings
from tests.helpers import TinyNet


@pytest.fixture
def network() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(37, 29))


def bound(network: VisionNetwork, targets: str = "logits:0", seed: int = 0) -> FeatureVisualizer:
    return FeatureVisualizer(size=16).bind(network, resolve_targets(targets, network), seed)


def test_sizes_and_chunk_come_back(network: VisionNetwork) -> None:
    one, other = bound(network), bound(network)
    assert one.chunked_objective is not None
    one.chunked_objective.chunk = 3
    one.resize((24, 20))
    assert restored_settings(other, saved_settings(one)) == (one.start_size, (24, 20))
    assert other.chunked_objective is not None
    assert other.chunked_objective.chunk == 3


def test_a_checkpoint_of_another_render_is_refused(network: VisionNetwork) -> None:
    checkpoint: dict[str, object] = {}
    bound(network).on_save_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="targets"):
        bound(network, "logits:1").on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="seed"):
        bound(network, seed=1).on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="not made by"):
        bound(network).on_load_checkpoint({})
