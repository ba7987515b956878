"""What is checked before the first step, and what is known of jobs without rendering them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.engines.batch_size import BATCH_SIZE
from lightning_fv.engines.plan import batch_size_for, make_plan
from lightning_fv.engines.rank import RankInfo
from lightning_fv.errors import LayerNotFoundError, TargetError, UsageError
from lightning_fv.objectives import LayerDistance
from lightning_fv.optimization.visualizer import FeatureVisualizer
from tests.engines.runs import Fails, Signal, again, tiny_plan, work


def test_targets_are_cut_into_jobs_in_order() -> None:
    plan = tiny_plan("logits:4,3,0-2+conv1:2", 4)
    assert [[target.text for target in job.targets] for job in plan.jobs] == [
        ["logits:4", "logits:3", "logits:0", "logits:1"],
        ["logits:2", "conv1:2"],
    ]
    assert [target for job in plan.jobs for target in job.targets] == plan.targets


def test_what_is_wrong_with_the_run_is_said() -> None:
    setup = tiny_plan().setup
    with pytest.raises(UsageError, match="batch size must be at least 1, got 0"):
        make_plan(setup, "logits:0", 0)
    with pytest.raises(TargetError, match="7"):
        make_plan(setup, "logits:7", 1)


def test_a_penalty_whose_layer_does_not_exist_is_named_with_its_option() -> None:
    setup = tiny_plan().setup
    missing = LayerDistance("layer2"), LayerDistance("conv1")
    recipe = FeatureVisualizer(penalties=list(reversed(missing)))
    with pytest.raises(LayerNotFoundError, match=r"penalty LayerDistance .*no layer 'layer2'.*--model\.penalties=\[\]"):
        make_plan(replace(setup, visualizer=recipe), "logits:0", 1)


def test_pictures_that_several_devices_share_are_one_job_and_do_not_grow() -> None:
    setup = replace(tiny_plan().setup, shared=True, rank=RankInfo(0, 2))
    assert len(make_plan(setup, "logits:0-1", 2).jobs) == 1
    with pytest.raises(UsageError, match=r"3 targets make 2 jobs; use .* independent, or fewer"):
        make_plan(setup, "logits:0-2", 2)
    growing = replace(setup, options={**setup.options, "callbacks": [ProgressiveUpscale(to=24)]})
    with pytest.raises(UsageError, match="ProgressiveUpscale cannot grow"):
        make_plan(growing, "logits:0-1", 2)


def ids(**options: Any) -> list[str]:
    return [job.id for job in tiny_plan("logits:0-1", **options).jobs]


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({}, True),
        ({"enable_progress_bar": True}, True),
        ({"accelerator": "auto"}, True),
        ({"log_every_n_steps": 1}, True),
        ({"callbacks": [Signal(1)]}, True),  # it says that it has no settings
        ({"max_steps": 5}, False),
        ({"accumulate_grad_batches": 2}, False),
        ({"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}, False),
        ({"precision": "bf16-mixed"}, False),
        ({"callbacks": [PeriodicBlur(every=2)]}, False),
    ],
)
def test_a_job_is_another_if_its_pictures_are(options: dict[str, Any], same: bool) -> None:
    assert (ids(**options) == ids()) == same


def test_targets_that_are_given_several_times_are_told_once() -> None:
    with pytest.warns(UserWarning, match="^duplicate targets are rendered once: logits:1; that leaves 2$") as told:
        plan = tiny_plan(["logits:1", "logits:0-1"])
    assert (len(told), [target.text for target in plan.targets]) == (1, ["logits:1", "logits:0"])
    with pytest.warns(UserWarning, match="once: logits:0, logits:1, logits:2 and 1 more; that leaves 4$"):
        tiny_plan("logits:0-3+logits:0-3")


def test_what_changes_pictures_beside_options() -> None:
    plan = tiny_plan("logits:0-1")
    for changed in (
        replace(plan.setup, seed=1),
        replace(plan.setup, visualizer=FeatureVisualizer(size=20)),
        replace(plan.setup, shared=True, rank=RankInfo(0, 2)),
    ):
        assert make_plan(changed, "logits:0-1", 2).jobs[0].id != plan.jobs[0].id
    devices = {**plan.setup.options, "devices": 2}
    elsewhere = replace(plan.setup, options=devices, rank=RankInfo(1, 2, 1), checkpoint_seconds=60.0)
    assert make_plan(elsewhere, "logits:0-1", 2).jobs[0].id == plan.jobs[0].id


@pytest.mark.parametrize(
    ("shared", "rank", "writes"), [(False, 0, True), (False, 1, True), (True, 0, True), (True, 1, False)]
)
def test_of_ranks_that_share_pictures_the_first_writes(shared: bool, rank: int, writes: bool) -> None:
    assert replace(tiny_plan().setup, shared=shared, rank=RankInfo(rank, 2)).writes == writes


def test_blank_records_have_all_that_is_known_beforehand() -> None:
    plan = tiny_plan("logits:0-2", 2)
    first, second = plan.blank_records(plan.targets[:2], "failed", steps=3, error="why")
    assert (first.target, second.target) == ("logits:0", "logits:1")
    assert (first.id, first.network, first.size, first.seed) == (plan.targets[0].id, "tiny", [16, 20], 0)
    assert (first.status, first.steps, first.error) == ("failed", 3, "why")
    assert (first.score, first.image, first.scores) == (None, None, {})
    several = tiny_plan("conv1:3 x2", 2)
    assert [(r.target, r.unit, r.facet) for r in several.blank_records(several.targets)] == [
        ("conv1:3 #1", "conv1:3", 1),
        ("conv1:3 #2", "conv1:3", 2),
    ]


def test_without_a_folder_nothing_is_known() -> None:
    plan = tiny_plan()
    assert [record.status for record in plan.known_records(plan.jobs[0])] == ["pending"] * 2


@pytest.mark.filterwarnings("ignore:job .* failed")
def test_what_a_folder_knows_of_jobs(tmp_path: Path) -> None:
    """Done, failed, stopped in its third step, and not begun."""
    callbacks = [Fails(ValueError("x"), "logits:1"), Signal(3, "logits:2")]
    plan = tiny_plan("logits:0-3", 1, tmp_path / "run", callbacks=callbacks)
    rendered = work(plan)
    assert len(rendered) == 3
    known = [plan.known_records(job) for job in plan.jobs]
    assert known[:3] == [result.records for result in rendered]
    assert [(record.status, record.steps) for (record,) in known] == [
        ("done", 4), ("failed", 0), ("partial", 3), ("pending", 0),
    ]  # fmt: skip


def test_a_checkpoint_tells_how_far_a_killed_job_has_come(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    plan = tiny_plan("logits:0", 1, tmp_path / "run", callbacks=[Signal(3)])
    work(plan)
    (job,), folder = plan.jobs, plan.folder
    assert folder is not None
    folder.job(job).unfinished_file.unlink()  # a kill leaves checkpoints alone
    assert [(record.status, record.steps) for record in plan.known_records(job)] == [("partial", 3)]
    for checkpoint in folder.job(job).checkpoints.iterdir():
        checkpoint.write_bytes(b"damaged")
    assert [(record.status, record.steps) for record in plan.known_records(job)] == [("pending", 0)]
    assert not [w for w in recwarn if "cannot be read" in str(w.message)]  # said when the job is taken up again


@pytest.mark.parametrize(("asked", "size"), [(3, 3), ("auto", BATCH_SIZE)])
def test_the_batch_size_of_a_cpu(asked: Any, size: int) -> None:
    assert batch_size_for(tiny_plan().setup, "logits:0", asked) == size


def test_the_workers_of_a_cpu_each_get_a_job() -> None:
    setup = tiny_plan().setup
    two = replace(setup, rank=replace(setup.rank, ranks=2), options={**setup.options, "devices": 1})
    assert batch_size_for(two, "logits:0-4", "auto") == 3
    assert batch_size_for(two, "logits:0 x64", "auto") == BATCH_SIZE


def test_a_device_that_is_not_there_is_said_before_anything_is_measured() -> None:
    setup = tiny_plan().setup
    setup = replace(setup, options={**setup.options, "accelerator": "abacus"})
    with pytest.raises(UsageError, match=r"invalid Trainer options: .*abacus"):
        batch_size_for(setup, "logits:0", "auto")


def test_two_plans_on_a_folder_have_signals_of_their_own(tmp_path: Path) -> None:
    plan = tiny_plan("logits:0", 1, tmp_path / "run", callbacks=[Signal(1)])
    (stopped,) = work(plan)
    assert stopped.signal is not None
    other = again(plan, setup=replace(plan.setup, options={**plan.setup.options, "callbacks": []}))
    assert [result.records[0].status for result in work(other)] == ["done"]
