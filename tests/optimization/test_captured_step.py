"""Which steps can be replayed as CUDA graphs; that they are is tested on the mock device (tests/mock_device/test_graphs.py)."""

import pytest
import torch
from torch import nn

from lightning_fv import FeatureVisualizer, load_network, resolve_targets
from lightning_fv.optimization.transform_pipeline import TransformPipeline
from lightning_fv.transforms import Pad, RandomJitter, RandomNoise, RandomWarp
from tests.helpers import noise


def test_a_recipe_says_whether_it_wants_graphs_and_job_ids_do_not() -> None:
    assert FeatureVisualizer().describe() == FeatureVisualizer(cuda_graph=True).describe()


def test_held_draws_are_those_of_their_step() -> None:
    pipeline = TransformPipeline([Pad(), RandomJitter(), RandomWarp(), RandomNoise()], 0, ["a", "b"], 64)
    assert pipeline.can_hold
    images = noise(2, 3, 32, 32).sigmoid()
    pipeline(images, 0)  # from which it knows sizes and device
    for step in (3, 63, 64):
        pipeline.hold(step)
        assert torch.equal(pipeline(images, None), pipeline(images, step))


def test_held_draws_stay_where_they_are() -> None:
    pipeline = TransformPipeline([RandomWarp(), RandomNoise()], 0, ["a", "b"], 64)
    images = noise(2, 3, 32, 32).sigmoid()
    pipeline(images, 0)
    pipeline.hold(1)
    before = [tensor.data_ptr() for held in pipeline._held.values() for tensor in held]
    pipeline.hold(2)
    assert [tensor.data_ptr() for held in pipeline._held.values() for tensor in held] == before


def test_others_draw_themselves() -> None:
    assert not TransformPipeline([nn.Dropout()], 0, ["a"], 64).can_hold

    class Own(RandomNoise):
        pass

    assert not TransformPipeline([Own()], 0, ["a"], 64).can_hold


@pytest.mark.parametrize("step", [0, 200])
def test_a_step_as_a_tensor_is_not_redirected(step: int) -> None:
    network = load_network("demo")
    visualizer = FeatureVisualizer(size=16).bind(network, resolve_targets("logits:0", network))
    assert visualizer.dead_units.redirect_mask(torch.tensor(step), 16) is False
    visualizer.dead_units.record_activity(torch.tensor([True]), torch.tensor(step))
    assert visualizer.dead_units.last_active_step.tolist() == [step]
