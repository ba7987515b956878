"""Dead units: restarted from other noise, on their own, and given up after a few times."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, VisionNetwork, render, resolve_targets
from lightning_fv.functional import keyed_generator
from lightning_fv.optimization.dead_units import DEAD_STEPS, MAX_RESTARTS, DeadUnitMonitor, zero_moments
from lightning_fv.parameterizations import Pixel
from tests.helpers import noise


class Units(nn.Module):
    """Unit 0 always fires; unit 1 fires for one noise in four or so; unit 2 never does, and has no weights."""

    def __init__(self, bias: float = -0.7) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 3)
        with torch.no_grad():
            self.linear.weight.copy_(noise(3, 3 * 8 * 8) / math.sqrt(3 * 8 * 8))
            self.linear.weight[2] = 0
            self.linear.bias.copy_(torch.tensor([5.0, bias, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)).relu()


def units(bias: float = -0.7) -> VisionNetwork:
    return VisionNetwork(Units(bias), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(8, 8), fixed_size=True)


def awake(**arguments: Any) -> FeatureVisualizer:
    return FeatureVisualizer(Pixel(sd=1.0), transforms=[], redirect_steps=0, **arguments)


def dead_seed() -> int:
    """A seed whose first noise does not excite unit 1, and the second or third does."""
    network = units()
    (target,) = resolve_targets("logits:1", network)
    for seed in range(200):
        pixels = awake().bind(network, [target], seed).parameterization
        fires = []
        for key in ((), (1,), (2,)):
            pixels.initialize((8, 8), [keyed_generator(seed, target.key, "start", *key)])
            fires.append(bool(network(pixels())[0, 1] > 0))
        if not fires[0] and any(fires):
            return seed
    raise AssertionError("no such seed")


def test_a_dead_unit_is_restarted_from_other_noise_a_few_times_at_most() -> None:
    seed = dead_seed()

    def go(bias: float, targets: str) -> Any:
        return render(
            units(bias), targets, visualizer=awake(), steps=DEAD_STEPS * (MAX_RESTARTS + 2), seed=seed, progress=False
        )

    together = go(-0.7, "logits:0-2")
    fires, wakes, never = together.records
    assert [r.status for r in together.records] == ["done", "done", "dead"]
    assert 1 <= wakes.scores["restarts"] <= MAX_RESTARTS
    assert wakes.score > 0
    assert never.scores["restarts"] == MAX_RESTARTS
    assert "restarts" not in fires.scores
    # The noise that it is restarted from depends on nothing else in its batch.
    alone = go(-0.7, "logits:1")
    torch.testing.assert_close(alone.images[0], together.images[1], rtol=0, atol=1e-5)
    assert alone.records[0].scores["restarts"] == wakes.scores["restarts"]
    # And its restarts do not change the others: unit 0 beside a unit 1 that fires at once.
    assert torch.equal(go(5.0, "logits:0-2").images[0], together.images[0])


def test_a_restarted_picture_has_redirected_relus_again() -> None:
    network = units()
    bound = FeatureVisualizer(Pixel(), redirect_steps=4).bind(network, resolve_targets("logits:0-2", network))
    trainer = pl.Trainer(max_steps=37, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    with network.frozen():
        trainer.fit(bound)
    assert bound.dead_units.restarts.tolist() == [0, 0, 2]  # at 16 and 32; redirected ReLUs made unit 1 active
    assert bound.dead_units.redirect_mask(3, 4) is True
    assert bound.dead_units.redirect_mask(34, 4).tolist() == [False, False, True]  # type: ignore[union-attr]
    assert bound.dead_units.redirect_mask(36, 4) is False


def test_a_unit_is_to_be_restarted_after_inactive_steps_unless_it_diverged_or_had_its_chances() -> None:
    monitor, none = DeadUnitMonitor(), torch.zeros(4, dtype=torch.bool)
    monitor.reset(4, torch.device("cpu"))
    monitor.record_activity(torch.tensor([True, False, False, False]), DEAD_STEPS - 1)
    monitor.record_activity(none, DEAD_STEPS - 1)  # a second batch of the step takes nothing back
    assert monitor.rows_to_restart(DEAD_STEPS - 1, none) == []
    assert monitor.rows_to_restart(DEAD_STEPS, torch.tensor([False, False, True, False])) == [1, 3]
    for number in range(1, MAX_RESTARTS + 1):
        monitor.record_restart([3], DEAD_STEPS * number)
        assert monitor.rows_to_restart(DEAD_STEPS * number, none)[-1] == 2
    assert monitor.rows_to_restart(DEAD_STEPS * (MAX_RESTARTS + 2), none) == [0, 1, 2]
    assert monitor.start_step.tolist() == [0, 0, 0, DEAD_STEPS * MAX_RESTARTS]


def test_the_redirect_mask_survives_a_checkpoint() -> None:
    monitor, loaded = DeadUnitMonitor(), DeadUnitMonitor()
    for one in (monitor, loaded):
        one.reset(2, torch.device("cpu"))
    monitor.record_restart([1], 20)
    loaded.load_state_dict(monitor.state_dict())
    loaded.read_latest_start()
    for step in (0, 3, 4, 19, 23, 24):
        expected, found = (one.redirect_mask(step, 4) for one in (monitor, loaded))
        assert torch.equal(torch.as_tensor(expected), torch.as_tensor(found))
    assert loaded.redirect_mask(23, 4).tolist() == [False, True]  # type: ignore[union-attr]
    assert loaded.redirect_mask(24, 4) is False


def test_restarted_rows_have_no_moments_and_the_others_keep_theirs() -> None:
    values = nn.Parameter(noise(3, 2, 5))
    optimizer = torch.optim.Adam([values], lr=0.1)
    values.sum().backward()
    optimizer.step()
    before = {name: moment.clone() for name, moment in optimizer.state[values].items()}
    zero_moments(values, [1], [optimizer])
    for name in ("exp_avg", "exp_avg_sq"):
        moment = optimizer.state[values][name]
        assert not moment[1].any()
        assert torch.equal(moment[[0, 2]], before[name][[0, 2]])
    assert torch.equal(optimizer.state[values]["step"], before["step"])
