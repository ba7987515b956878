"""The table of what further transforms do, with a few noisy photos in place of Tiny ImageNet."""

import io
import re
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from tests.helpers import noise, save_picture

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from compare_transforms import AUGMENTATIONS, main, table, transforms_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """96 photos, as many as questions and hints need."""
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        for number, photo in enumerate(noise(96, 3, 64, 64).sigmoid()):
            save_picture(tmp_path / "photo.jpg", photo)
            content = (tmp_path / "photo.jpg").read_bytes()
            member = tarfile.TarInfo(f"val/{number:03}.JPEG")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return tmp_path


def test_a_row_for_each_of_the_transforms(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    words = (
        f"--data {data} --runs {runs} --layers layer3 --channels 2 --classes 0-1 --steps 2 --transforms default blur"
    )
    main(words.split())
    written = (runs / "compare_transforms.md").read_text()
    header, _, default, blur = written.splitlines()
    columns = "transforms | layer3, right | p(judge) | p(judge, 32 px) | p(demo/antialiased)"
    assert header == f"| {columns} |"
    assert re.fullmatch(r"\| default( \| [01]\.\d{3} ± [01]\.\d{3}){4} \|", default)
    assert re.fullmatch(r"\| blur( \| [01]\.\d{3} ± [01]\.\d{3} \([+-][01]\.\d{3} ± [01]\.\d{3}\)){4} \|", blur)
    assert ", seed 0" in capsys.readouterr().out
    main(words.split())  # nothing is rendered again
    assert ", seed 0" not in capsys.readouterr().out
    assert (runs / "compare_transforms.md").read_text() == written


def test_each_is_added_in_front_of_the_default_transforms() -> None:
    default = transforms_of("default")
    assert [settings["class_path"].rpartition(".")[2] for settings in default] == ["RandomWarp", "RandomNoise"]
    assert transforms_of("none") == []
    for name, (kind, _) in AUGMENTATIONS.items():
        first, *others = transforms_of(name)
        assert others == default
        assert first["class_path"] == f"kornia.augmentation.{kind}"


def test_differences_are_paired() -> None:
    """A change that is the same for every channel has no standard error, whatever the channels' own spread."""
    channels = torch.tensor([0.2, 0.9, 0.5])
    lines = table({"default": {"right": channels}, "blur": {"right": channels + 0.05}}).splitlines()
    assert lines[-1].endswith("(+0.050 ± 0.000) |")
