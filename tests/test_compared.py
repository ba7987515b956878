"""Targets and penalties that compare with photos: by text, in config files, resumed, in several processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import lightning_fv
from lightning_fv.commands.main import main
from lightning_fv.engines.plan import Setup, make_plan
from lightning_fv.objectives import Caricature, Inversion, LayerDistance
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import read_manifest
from tests.engines.runs import QUICK, Signal, again, work
from tests.helpers import save_picture, smooth_photos
from tests.processes import finish, pictures, start

PHOTOS = smooth_photos(70, 90)
WORDS = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "3"]
TEXT = "inversion:a.png@layer2+caricature:b.png@layer2+logits:pizza+inversion:b.png@layer2"
NEAR = "[{class_path: LayerDistance, init_args: {layer: layer2, weight: 2}}]"


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, photo in zip("ab", PHOTOS, strict=True):
        save_picture(f"{name}.png", photo)


def test_as_text_and_in_a_config_file(tmp_path: Path) -> None:
    assert main(["--targets", TEXT, "--start", "a.png", "--model.penalties", NEAR, *WORDS, "--out", "text"]) == 0
    records = read_manifest(tmp_path / "text" / "manifest.jsonl")
    assert [record.target for record in records] == TEXT.split("+")
    digest = Inversion("layer2", "a.png").digest
    targets: list[Any] = [
        {"class_path": "Inversion", "init_args": {"layer": "layer2", "photo": "a.png", "digest": digest}},
        {"class_path": "lightning_fv.objectives.Caricature", "init_args": {"layer": "layer2", "photo": "b.png"}},
        "logits:pizza",
        "inversion:b.png@layer2",
    ]
    near = {"class_path": "lightning_fv.objectives.LayerDistance", "init_args": {"layer": "layer2", "weight": 2.0}}
    config = {"targets": targets, "start": "a.png", "model": {"penalties": [near]}}
    Path("own.yaml").write_text(yaml.safe_dump(config))
    assert main(["--config", "own.yaml", *WORDS, "--out", "named"]) == 0
    assert pictures(Path("named")) == pictures(Path("text"))
    save_picture("a.png", PHOTOS[1])
    assert main(["--config", "own.yaml", *WORDS, "--out", "no"]) == 2
    assert not Path("no").exists()


def test_a_run_of_render_is_continued_by_the_command_line_and_refused_with_another_photo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options: dict[str, Any] = {"steps": 3, "progress": False, "accelerator": "cpu", "batch_size": 1}
    targets = [Inversion("layer2", "a.png"), Caricature("layer2", "b.png", cosine_power=2)]
    lightning_fv.render("demo", targets, out="run", **options)
    before = pictures(Path("run"))
    for done in Path("run").glob("jobs/*/done.jsonl"):
        done.unlink()
    assert main(["--resume", "--out", "run"]) == 0
    assert pictures(Path("run")) == before
    save_picture("b.png", PHOTOS[0])
    capsys.readouterr()
    assert main(["--resume", "--out", "run"]) == 2
    assert "the photo b.png has changed: its digest is" in capsys.readouterr().err
    text = ["--targets", "inversion:a.png@layer2", *WORDS, "--out", "text"]
    assert main(text) == 0
    save_picture("a.png", PHOTOS[1])
    capsys.readouterr()
    assert main(text) == 2
    assert "the code, a file or a setting of an objective differs" in capsys.readouterr().err


def setup(**options: Any) -> Setup:
    recipe = lightning_fv.FeatureVisualizer(penalties=[LayerDistance("layer1", 0.5)], size=32)
    options = {**QUICK, "max_steps": 6, "callbacks": [], **options}
    return Setup(lightning_fv.load_network("demo"), recipe, options, start=PHOTOS[:1], checkpoint_seconds=1e-6)


def test_an_interrupted_run_ends_in_the_same_bits() -> None:
    targets = [Inversion("layer2", "a.png"), Caricature("layer2", "b.png"), "logits:3"]
    found = {}
    for name, callbacks in (("whole", []), ("stopped", [Signal(4)])):
        plan = make_plan(setup(callbacks=callbacks), targets, 3)
        plan.folder = RunFolder(name)
        plan.folder.create()
        plan.folder.register(plan.jobs)
        (result,) = work(plan)
        if name == "stopped":
            assert {record.status for record in result.records} == {"partial"}
            work(again(plan, setup=setup(), jobs=make_plan(setup(), targets, 3).jobs))
        found[name] = pictures(Path(name))
    assert len(found["whole"]) == 3
    assert found["stopped"] == found["whole"]


def test_another_photo_is_another_job() -> None:
    def job(target: Any, plan: Setup) -> str:
        return make_plan(plan, target, 1).jobs[0].id

    one, same, other = (Inversion("layer2", photo) for photo in (PHOTOS[0], PHOTOS[0].clone(), PHOTOS[1]))
    assert job(one, setup()) == job(same, setup()) != job(other, setup())
    before = job("inversion:a.png@layer2", setup())
    save_picture("a.png", PHOTOS[1])
    assert job("inversion:a.png@layer2", setup()) != before


def test_workers_read_the_photos_too() -> None:
    words = ["--targets", TEXT, "--batch-size", "1", *WORDS]
    assert main([*words, "--out", "one"]) == 0
    code, told = finish(start(*words, "--out", "two", "--trainer.devices", "2", cwd=Path.cwd()))
    assert code == 0, told
    assert pictures(Path("two")) == pictures(Path("one"))


def test_a_machine_of_a_cluster_needs_no_photo() -> None:
    cloudpickle = pytest.importorskip("ray.cloudpickle", reason="what the driver pickles by")
    plan = make_plan(setup(), [Inversion("layer2", "a.png"), "logits:3"], 2)
    content = cloudpickle.dumps((plan.setup, plan.jobs))
    (here,) = work(plan)
    for file in Path.cwd().glob("*.png"):
        file.unlink()
    sent, jobs = cloudpickle.loads(content)
    (there,) = work(again(plan, setup=sent, jobs=jobs))
    assert here.pictures is not None
    assert there.pictures is not None
    assert torch.equal(there.pictures, here.pictures)
