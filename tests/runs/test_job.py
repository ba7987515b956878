"""Jobs: cut by batch size alone, and named by all that changes a picture."""

import pytest
import torch

from lightning_fv import FeatureVisualizer, RandomWarp, VisionNetwork, resolve_targets
from lightning_fv.callbacks import PeriodicBlur
from lightning_fv.engines.plan import Setup
from lightning_fv.objectives import L1
from lightning_fv.parameterizations import Fourier, Pixel
from lightning_fv.runs.job import differences, make_jobs, smallest_batch_size
from tests.helpers import TinyNet


def network(seed: int = 0) -> VisionNetwork:
    module = TinyNet()
    with torch.no_grad():
        next(module.parameters()).add_(seed)
    return VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(37, 29))


def test_jobs_are_batches_in_order() -> None:
    targets = resolve_targets("logits:0-4", network())
    jobs = make_jobs(targets, 2, {})
    assert [[target.class_index for target in job.targets] for job in jobs] == [[0, 1], [2, 3], [4]]
    assert len({job.id for job in jobs}) == 3


@pytest.mark.parametrize(
    ("targets", "batch_size", "sizes"),
    [
        ("logits:0-1 x4", 8, [8]),
        ("logits:0-1 x4", 7, [4, 4]),
        ("logits:0+logits:1 x3+logits:2+logits:3", 3, [1, 3, 2]),
        ("logits:0-1+logits:2 x5+logits:3-4", 2, [2, 5, 2]),
        ("logits:0-1 x4", 1, [4, 4]),
        ("logits:0 x2+logits:1-4", 16, [6]),
        ("logits:0-4", 2, [2, 2, 1]),
    ],
)
def test_several_pictures_of_a_unit_stay_in_one_job(targets: str, batch_size: int, sizes: list[int]) -> None:
    chosen = resolve_targets(targets, network())
    start = torch.arange(len(chosen)).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    jobs = make_jobs(chosen, batch_size, {}, [target.text for target in chosen], start)
    assert [len(job.targets) for job in jobs] == sizes
    assert [target for job in jobs for target in job.targets] == chosen
    assert torch.equal(torch.cat([job.start for job in jobs if job.start is not None]), start)
    smallest = smallest_batch_size(jobs)
    assert smallest <= batch_size
    assert [job.id for job in make_jobs(chosen, smallest, {}, [target.text for target in chosen], start)] == [
        job.id for job in jobs
    ]


def test_one_picture_of_several_is_not_the_only_one() -> None:
    ids = [make_jobs(resolve_targets(f"logits:0 x{count}", network()), 8, {})[0].id for count in (1, 2, 3)]
    assert len(set(ids)) == 3
    assert ids[0] == make_jobs(resolve_targets("logits:0", network()), 8, {})[0].id


def test_whatever_changes_a_picture_changes_the_id() -> None:
    same = network()
    targets = resolve_targets("logits:0-1", same)
    options = {"max_steps": 10}
    setups = {
        "plain": Setup(same, FeatureVisualizer(), options),
        "weights": Setup(network(1), FeatureVisualizer(), options),
        "seed": Setup(same, FeatureVisualizer(), options, seed=1),
        "steps": Setup(same, FeatureVisualizer(), {"max_steps": 11}),
        "blur": Setup(same, FeatureVisualizer(), {**options, "callbacks": [PeriodicBlur(3)]}),
        "blur 4": Setup(same, FeatureVisualizer(), {**options, "callbacks": [PeriodicBlur(4)]}),
        "pixel": Setup(same, FeatureVisualizer(Pixel()), options),
        "decay": Setup(same, FeatureVisualizer(Fourier(decay=1.25)), options),
        "warp": Setup(same, FeatureVisualizer(transforms=[RandomWarp(rotate=3)]), options),
        "none": Setup(same, FeatureVisualizer(transforms=[]), options),
        "penalty": Setup(same, FeatureVisualizer(penalties=[L1(0.5)]), options),
        "rate": Setup(same, FeatureVisualizer(optimizer=lambda p: torch.optim.Adam(p, lr=0.2)), options),
        "optimizer": Setup(same, FeatureVisualizer(optimizer=lambda p: torch.optim.SGD(p, lr=0.05)), options),
        "size": Setup(same, FeatureVisualizer(size=30), options),
        "diversity": Setup(same, FeatureVisualizer(diversity=1), options),
        "other diversity": Setup(same, FeatureVisualizer(diversity=1, diversity_layer="conv1"), options),
        "products": Setup(same, FeatureVisualizer(), options, matmul_precision="high"),
        "clip": Setup(same, FeatureVisualizer(), {**options, "gradient_clip_val": 1.0}),
    }
    ids = {name: make_jobs(targets, 2, setup.settings)[0].id for name, setup in setups.items()}
    assert len(set(ids.values())) == len(ids), ids
    again = Setup(network(), FeatureVisualizer(), {**options, "accelerator": "cpu", "enable_progress_bar": False})
    assert make_jobs(targets, 2, again.settings)[0].id == ids["plain"]


def test_a_setting_that_differs_is_named_also_in_a_list_of_parts() -> None:
    saved = {"penalties": [{"class": "L1"}, {"class": "L2", "settings": {"weight": 1}}], "size": [3, 4]}
    now = {"penalties": [{"class": "L1"}, {"class": "L2", "settings": {"weight": 2}}], "size": [3, 5]}
    assert differences(saved, now) == [
        "penalties.1.settings.weight is 2, in the run 1",
        "size is [3, 5], in the run [3, 4]",
    ]
    assert differences({"penalties": [{"class": "L1"}]}, {"penalties": []})[0].startswith("penalties is [], in the run")
