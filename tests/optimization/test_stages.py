"""Stages of a render."""

from lightning_fv.optimization.stages import STAGES, Steps, steps_of_a_stage


def test_stages() -> None:
    assert steps_of_a_stage(None, 128) * STAGES == 128
    assert [steps_of_a_stage(None, steps) for steps in (-1, 1, 16, 17)] == [1, 1, 1, 2]
    assert steps_of_a_stage(7, 128) == 7
    assert list(Steps(3)) == [0, 1, 2]
    assert len(Steps(3)) == 3
