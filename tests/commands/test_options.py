"""The options of a run: what is wrong with them is one line, before any work."""

from pathlib import Path

import pytest
import torchvision.transforms
import yaml

from lightning_fv.commands.main import main
from lightning_fv.runs.digests import seal
from lightning_fv.runs.record import read_manifest
from tests.processes import pictures

QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]


def fit(out: Path, *args: str) -> int:
    return main(["--out", str(out), *QUICK, *args])


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--targets", "logits:piza"], "did you mean pizza (11)"),
        (["--targets", "layr4:3"], "did you mean layer4"),
        (["--targets", "layer4:256"], "layer4 has units 0 to 255"),
        (["--targets", "layer4:-1"], "layer4 has units 0 to 255"),
        (["--targets", "layer4:3@4,0"], "rows 0 to 3 and columns 0 to 3"),
        (["--targets", "layer4:"], "cannot read the target"),
        (["--network", "demmo"], "did you mean demo"),
        (["--config", "study_upscalin"], "did you mean study_upscaling"),
        (["--trainer.max_steps", "0"], "trainer.max_steps"),
        (["--trainer.max_epochs", "3"], "trainer.max_steps alone"),
        (["--trainer.fast_dev_run", "true"], "trainer.max_steps alone"),
        (["--trainer.limit_train_batches", "0.5"], "trainer.max_steps alone"),
        (["--trainer.precision", "16-true"], "use 32-true or bf16-mixed"),
        (["--trainer.strategy", "fsdp"], "give independent"),
        (["--batch-size", "0"], "at least 1"),
        (["--batch-size", "2.5"], "batch_size: expected int or 'auto', got 2.5"),
        (["--model.size", "0"], "less than one pixel"),
        (["--model.size", "2"], "give at least 8 pixels, or 2.0 for 2 times the network's training size"),
        (
            ["--model.size", "[4, 7]"],
            "pictures of 4x7 px, in which nothing can be seen; give at least 8 pixels (--model.size, size= in Python)",
        ),
        (
            ["--targets", "sae:demo/vit:0-2"],
            "demo has no layer blocks.3, of which this is an autoencoder; choose the network that it was trained on: demo/vit (--network demo/vit)",
        ),
        (["--mean", "a", "b", "c"], "mean: a is no list of numbers; give one for each channel: --mean 0.5 0.5 0.5"),
        (
            ["--input-size", "64", "64", "3"],
            "input_size: [64, 64, 3] is no size; give height and width, --input_size 224 224, or one number",
        ),
        (["--input-size", "64px"], "input_size: 64px is no size"),
        (["--input-size", "0"], "the input size needs a height and a width of 1 to"),
        (["--model.nope", "3"], "--model.nope"),
        (["--model.parameterization", "Pixl"], "no class 'Pixl'"),
        (["--model.transforms", "[{class_path: RandomWarp, init_args: {pad: -1}}]"], "pad=-1.0"),
        (["--trainer.callbacks+=PeriodicBlur", "--trainer.callbacks.every=0"], "every >= 1"),
        (["--resume"], "it holds no config.yaml"),
        (["--trainer.accelerator", "cuda"], "invalid Trainer options"),
        (["--trainer.default_root_dir", "x"], "given by --out"),
        (["--checkpoint-seconds", "-1"], "above 0 s"),
        (["--seed_everything", "5"], "give --seed"),
        (["--seed_everything", "0"], "give --seed"),
        (["--seed_everything", "true"], "give --seed"),
        (["--model.size", "48.0"], "write 48 for pixels"),
        (["--model.size", "100000000"], "more than 16384 px"),
        (["--categories", "x" * 5000], "cannot be read: File name too long"),
        (["--categories", "/dev/zero"], "cannot be read: it is a device"),
    ],
)
def test_bad_usage_is_one_line_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], told: str
) -> None:
    run = tmp_path / "run"
    assert fit(run, *args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning-fv: error: ")
    assert told in line
    assert not run.exists()


@pytest.mark.parametrize("name", ["trainer", "ray"])
def test_a_null_in_place_of_settings_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    config = tmp_path / "null.yaml"
    config.write_text(f"{name}: null\n")
    assert fit(tmp_path / "run", "--config", str(config), "--trainer.max_steps", "1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f": {name}." in line
    assert "null is no value for it" in line


def test_targets_as_a_yaml_list_and_jobs_by_batch_size(tmp_path: Path) -> None:
    config = tmp_path / "targets.yaml"
    config.write_text("targets: ['logits:0-2', layer3:7]\nbatch_size: 3\n")
    assert fit(tmp_path / "run", "--config", str(config), "--trainer.max_steps", "1") == 0
    records = read_manifest(tmp_path / "run" / "manifest.jsonl")
    assert [record.target for record in records] == [
        "logits:goldfish",
        "logits:jellyfish",
        "logits:ladybug",
        "layer3:7",
    ]
    assert len(list((tmp_path / "run" / "jobs").iterdir())) == 2


def test_resume_with_other_settings_shows_the_differences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert fit(run, "--targets", "logits:1", "--trainer.max_steps", "2") == 0
    assert (
        main(
            [
                "--out",
                str(run),
                "--resume",
                *QUICK,
                "--seed",
                "5",
                "--model.optimizer.lr",
                "0.2",
                "--matmul_precision",
                "high",
            ]
        )
        == 2
    )
    told = capsys.readouterr().err
    assert "seed: 0 in the run, 5 now" in told
    assert "matmul_precision: highest in the run, high now" in told
    assert "model.optimizer.init_args.lr: 0.1 in the run, 0.2 now" in told


def test_resume_of_what_another_version_has_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert fit(run, "--targets", "logits:1", "--trainer.max_steps", "2") == 0
    config = run / "config.yaml"
    config.write_text(seal(config.read_text().replace("redirect_steps:", "redirected_steps:")))
    capsys.readouterr()
    assert main(["--out", str(run), "--resume", *QUICK]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{config} does not fit this version of lightning_fv" in line
    assert "redirected_steps" in line


def test_print_config_can_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print_config"]) == 0
    config = tmp_path / "all.yaml"
    config.write_text(capsys.readouterr().out)
    # The file says `out: null` and `max_steps: 128`; options win, also those that stand before it.
    assert fit(tmp_path / "run", "--trainer.max_steps", "1", "--config", str(config), "--targets", "logits:0") == 0
    assert read_manifest(tmp_path / "run" / "manifest.jsonl")[0].steps == 1


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"- a\n- b\n"])
def test_resume_of_damaged_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    assert main(["--out", str(tmp_path), "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "config.yaml was truncated or modified since the run was started (it does not end with" in line


OWN = """
from lightning_fv.objectives import Objective

def brightness(activations, images):
    return images.flatten(1).mean(1)

class Margin(Objective):
    layers = frozenset(["logits"])

    def __init__(self, unit: int, other: int = 0) -> None:
        self.unit, self.other = unit, other

    def __call__(self, activations, images):
        return activations["logits"][:, self.unit] - activations["logits"][:, self.other]
"""
OWN_TARGETS = """
targets:
- class_path: lightning_fv.objectives.Channel
  init_args: {layer: layer3, unit: 5}
- logits:pizza+logits:iPod
- class_path: Logit  # logits:pizza again
  init_args: {unit: 11}
- class_path: own_objectives.Margin
  init_args: {unit: 11, other: 12}
- class_path: Function
  init_args: {fn: own_objectives.brightness, layers: []}
- class_path: Neuron
  init_args: {layer: layer1, unit: 3, y: 10, x: 20, of: [32, 32]}  # of the 8x8 that there are at 16 px
- class_path: Facets
  init_args: {objective: {class_path: own_objectives.Margin, init_args: {unit: 3}}, count: 2}
- layer2:7 x2
batch_size: 3
"""


def test_a_short_name_of_a_transform_is_this_packages_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert hasattr(torchvision.transforms, "RandomCrop")
    assert main(["--model.transforms=[{class_path: RandomCrop}]", "--print_config"]) == 0
    (transform,) = yaml.safe_load(capsys.readouterr().out)["model"]["transforms"]
    assert transform["class_path"] == "lightning_fv.transforms.RandomCrop"


def test_objectives_by_class_path_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_objectives.py").write_text(OWN)
    (tmp_path / "targets.yaml").write_text(OWN_TARGETS)
    monkeypatch.syspath_prepend(tmp_path)
    args = ["--config", str(tmp_path / "targets.yaml"), "--trainer.max_steps", "2", "--model.size", "16"]
    run = tmp_path / "run"
    assert fit(run, *args) == 0
    records = read_manifest(run / "manifest.jsonl")
    assert [record.target for record in records] == [
        "layer3:5", "logits:pizza", "logits:iPod", "Margin(11, other=12)", "Function(name='brightness', layers=())",
        "layer1:3@10,20", "Margin(3) #1", "Margin(3) #2", "layer2:7 #1", "layer2:7 #2",
    ]  # fmt: skip
    assert [record.id for record in records[:3]] == ["layer3-0005", "logits-0011-pizza", "logits-0012-iPod"]
    assert ["top1" in record.scores for record in records[:6]] == [False, True, True, False, False, False]
    before = pictures(run)
    for picture in (run / "images").glob("objective-*.png"):
        picture.unlink()
    (last,) = (done for done in (run / "jobs").glob("*/done.jsonl") if "Margin(11" in done.read_text())
    last.unlink()
    assert fit(run, "--resume") == 0
    assert pictures(run) == before
    assert fit(tmp_path / "again", "--config", str(run / "config.yaml")) == 0
    assert pictures(tmp_path / "again") == before


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{class_path: Channel, init_args: {layer: layr3, unit: 5}}", "did you mean layer3"),
        ("{class_path: Channel, init_args: {layer: layer3, unit: 256}}", "reads what does not exist"),
        ("{class_path: Channel, init_args: {layer: layer3, unit: -1}}", "unit indices start at 0, got -1"),
        ("{class_path: Channel, init_args: {layer: layer3}}", "unit"),
        ("{class_path: Chanel, init_args: {layer: layer3, unit: 5}}", "Chanel"),
        ("{class_path: lightning_fv.transforms.RandomWarp}", "RandomWarp"),
        ("{class_path: Function, init_args: {fn: builtins.nothing, layers: []}}", "builtins.nothing"),
        ("3", "targets"),
    ],
)
def test_objectives_that_cannot_be_constructed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: str, told: str
) -> None:
    (tmp_path / "targets.yaml").write_text(f"targets: [logits:1, {entry}]\n")
    assert fit(tmp_path / "run", "--config", str(tmp_path / "targets.yaml")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert "Traceback" not in line
    assert not (tmp_path / "run").exists()


def test_an_input_size_of_one_number_is_a_square(tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("input_size: 32\n")
    words = ["--targets", "logits:1", "--trainer.max_steps", "1"]
    for name, size in {
        "a": ["--input_size", "32"], "b": ["--input-size=32"], "c": ["--input-size", "32", "32"], "d": ["--config", str(config)],
    }.items():  # fmt: skip
        assert fit(tmp_path / name, *words, *size) == 0
        (record,) = read_manifest(tmp_path / name / "manifest.jsonl")
        assert record.size == [32, 32]
    assert len({str(sorted(pictures(tmp_path / name).items())) for name in "abcd"}) == 1
