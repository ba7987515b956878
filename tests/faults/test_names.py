"""Names of classes and layers that no file should have: files stay in the run folder, and the name is told everywhere."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

import lightning_fv
from lightning_fv.commands.main import main
from lightning_fv.errors import NetworkError
from lightning_fv.objectives import Channel
from lightning_fv.runs.picture import CHUNK
from lightning_fv.runs.record import Record, read_manifest
from tests.faults.runs import check_files
from tests.processes import QUICK

NAMES = [
    "../../../etc/passwd", "/etc/shadow", "..", ".", "a/b\\c", "nul\0byte", "-rf", "--out", "x" * 300, "Crane", "crane",
    "CON", "nul.txt", "COM1.png", "trailing dot.", "trailing space ", "  ", "猫", "e\u0301 é", "\u202egnp.exe", "a:b*c?d",
    '<b>"&amp;', "line\u2028separator", "${HOME}%PATH%~",
]  # fmt: skip
"""24 of them, as many as the embedded network has classes; all fit on a line of a file."""
WINDOWS = {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}


def check_names(run: Path, names: list[str]) -> None:
    """The pictures' files are safe and unlike; manifest, PNG, gallery and TensorBoard have the names as they are."""
    records = read_manifest(run / "manifest.jsonl")
    assert [record.target.partition(":")[2] for record in records] == names
    files = [Path(str(record.image)) for record in records]
    assert len({str(file).lower() for file in files}) == len(names)
    for file, record in zip(files, records, strict=True):
        check_file(run, file)
        with Image.open(run / file) as picture:
            assert json.loads(picture.text[CHUNK])["record"]["target"] == record.target  # type: ignore[attr-defined]
    assert {file.name for file in (run / "images").iterdir()} == {file.name for file in files}
    page = (run / "gallery.html").read_text()
    assert "<b>" not in page
    assert all(told(record) in page for record in records)
    tags: set[str] = set()
    for job in (run / "jobs").iterdir():
        events = EventAccumulator(str(job), size_guidance={"images": 0})
        events.Reload()
        tags |= set(events.Tags()["images"])
    assert tags - {"pictures"} == {f"logits/{name}" for name in names}
    check_files(run)


def check_file(run: Path, file: Path) -> None:
    assert (run / file).resolve().parent == (run / "images").resolve()
    assert file.name.partition(".")[0].lower() not in WINDOWS
    assert file.name.isascii()
    assert len(file.name) < 160
    assert file.stem == file.stem.strip(" .-")
    assert not set(file.name) & set('<>:"/\\|?*\0')


def told(record: Record) -> str:
    """The target as it stands in the page's data: JSON, in which the page's template escapes what HTML would read."""
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"}
    text = json.dumps(record.target)[1:-1]
    return "".join(escapes.get(letter, letter) for letter in text)


def test_through_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    before = {path.name for path in tmp_path.parent.iterdir()}
    args = [*QUICK, "--targets", "logits:all", "--trainer.max_steps", "1", "--model.size", "16"]
    assert main(["--out", str(tmp_path / "run"), *args, "--categories", str(file)]) == 0
    check_names(tmp_path / "run", NAMES)
    assert {path.name for path in tmp_path.iterdir()} == {"classes.txt", "run"}
    assert {path.name for path in tmp_path.parent.iterdir()} == before
    assert main(["--out", str(tmp_path / "run"), "--resume", *QUICK]) == 0  # the settings can be read back


class Wide(nn.Module):
    """A layer of every name, and as many classes as there are names."""

    def __init__(self, layers: list[str], classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.names = layers
        for name in layers:
            self.add_module(name, nn.Identity())
        self.add_module("con", nn.Sequential(nn.ReLU()))
        self.head = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for name in [*self.names, "con"]:
            x = getattr(self, name)(x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def wide(layers: list[str], names: list[str]) -> lightning_fv.VisionNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Wide(layers, len(names))
    return lightning_fv.VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(16, 16), categories=names)


def test_through_python(tmp_path: Path) -> None:
    names = [*NAMES, "two\nlines", "tab\tbell\a", "\x1b[31mred"]
    lightning_fv.render(wide([], names), "logits:all", steps=1, out=tmp_path / "run", progress=False)
    check_names(tmp_path / "run", names)


def test_two_classes_of_one_name(tmp_path: Path) -> None:
    """ImageNet has two cranes: a bird and a machine."""
    lightning_fv.render(wide([], ["crane", "crane", "ox"]), "logits:all", steps=1, out=tmp_path / "run", progress=False)
    assert len(list((tmp_path / "run" / "images").iterdir())) == 3
    (job,) = (tmp_path / "run" / "jobs").iterdir()
    events = EventAccumulator(str(job))
    events.Reload()
    assert set(events.Tags()["images"]) == {"pictures", "logits/crane (0)", "logits/crane (1)", "logits/ox"}


def test_layers(tmp_path: Path) -> None:
    layers = ["a/b", "Block", "block", "-x", "aux", "ö", "l" * 300, "nul\0", "x+y:z", " "]
    found = [*layers, "con.0", "con"]
    run = tmp_path / "run"
    targets = [Channel(layer, unit) for layer in found for unit in (0, 3)]
    plain = [f"{layer}:1" for layer in found if not set(layer) & set("+:\0 ")]
    lightning_fv.render(wide(layers, ["one"]), [*targets, *plain], steps=1, out=run, progress=False)
    records = read_manifest(run / "manifest.jsonl")
    texts = [
        repr(one) if set(one.layer) & set("+:") or one.layer == " " else f"{one.layer}:{one.unit}" for one in targets
    ]
    assert [record.target for record in records] == [*texts, *plain]
    files = [Path(str(record.image)) for record in records]
    assert len({str(file).lower() for file in files}) == len(files)
    for file in files:
        check_file(run, file)


@pytest.mark.parametrize("name", ["lone \ud800", 3, None])
def test_names_that_no_file_can_hold(name: str) -> None:
    with pytest.raises(NetworkError, match="is not text that UTF-8 can encode"):
        wide([], ["one", name])


def test_a_file_of_names_that_is_not_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names").write_bytes(b"caf\xe9\n")
    assert main(["--out", str(tmp_path / "run"), *QUICK, "--categories", str(tmp_path / "names")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "names is not UTF-8 text" in line
    assert not (tmp_path / "run").exists()
