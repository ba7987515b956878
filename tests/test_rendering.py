"""What a render returns."""

from pathlib import Path

import numpy as np
import pytest
import torch

import lightning_fv
from lightning_fv.errors import RunFolderError, TargetError
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import Facets, Logit
from tests.helpers import TinyNet


def tiny() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))


def test_a_rendering_is_a_sequence_of_pictures() -> None:
    rendering = lightning_fv.render(tiny(), "logits:0-3", steps=1, progress=False)
    assert [picture.target.text for picture in rendering] == [target.text for target in rendering.targets]
    image, score, target, record = rendering[-1]
    assert torch.equal(image, rendering.images[3])
    assert (score, target, record) == (float(rendering.scores[3]), rendering.targets[3], rendering.records[3])
    assert rendering[np.int64(2)].score == rendering["logits:2"].score == float(rendering.scores[2])
    some = rendering[1:3]
    assert len(some) == len(some.records) == len(some.images) == 2
    assert some[0].target.text == "logits:1"
    assert [picture.target.text for picture in rendering.facets("logits:2")] == ["logits:2"]
    with pytest.raises(TargetError, match="no picture of 'logits:9'; available: logits:"):
        rendering["logits:9"]
    with pytest.raises(IndexError):
        rendering[4]


def test_what_was_asked_for_finds_its_picture() -> None:
    network = lightning_fv.load_network("demo")
    objective = Logit(11) - Logit(6)
    asked = ["logits:11", "sum(logits:pizza - 0.5*logits:lion)", objective]
    rendering = lightning_fv.render(network, asked, steps=1, progress=False)
    for row, key in enumerate([*asked[:2], objective]):
        assert rendering[key].record is rendering.records[row]
    assert rendering[1:]["sum(logits:pizza - 0.5*logits:lion)"].record is rendering.records[1]
    assert rendering[rendering.targets[2]].record is rendering.records[2]
    assert len(rendering.facets(objective)) == 1
    with pytest.raises(
        TargetError, match=r"no picture of 'logits:lion'; available: logits:pizza, Logit\(11\) - .*, Logit"
    ):
        rendering["logits:lion"]
    with pytest.raises(TargetError, match=r"no picture of 'Logit\(3\)'"):
        rendering[Logit(3)]
    with pytest.raises(TypeError, match="a target as text or an objective, not by a float"):
        rendering[1.5]  # type: ignore[call-overload]


def test_saved_again(tmp_path: Path) -> None:
    first = lightning_fv.render(tiny(), "logits:0-1", steps=1, progress=False)
    second = lightning_fv.render(tiny(), "logits:1-2", steps=1, seed=1, progress=False)
    folder = first.save(tmp_path / "saved")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="holds pictures already; replace them with overwrite=True"):
        second.save(folder)
    second.save(folder, overwrite=True)
    assert sorted(file.name for file in (folder / "images").iterdir()) == ["logits-0001.png", "logits-0002.png"]
    fresh = second.save(tmp_path / "fresh", overwrite=True)
    for name in ("manifest.jsonl", "sheet.png", "images/logits-0001.png"):
        assert (folder / name).read_bytes() == (fresh / name).read_bytes()
    assert (folder / "notes.txt").read_text() == "mine"
    lightning_fv.render(tiny(), "logits:0", steps=1, out=tmp_path / "run", progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for place in ("run", "other"):
        with pytest.raises(RunFolderError, match="was not written by save; choose another folder"):
            second.save(tmp_path / place, overwrite=True)


def test_several_pictures_of_a_target() -> None:
    rendering = lightning_fv.render(tiny(), ["logits:3 x3+logits:0", Facets(-1 * Logit(1), 2)], steps=4, progress=False)
    assert [target.text for target in rendering.targets] == [
        "logits:3 #1", "logits:3 #2", "logits:3 #3", "logits:0", "-Logit(1) #1", "-Logit(1) #2",
    ]  # fmt: skip
    pictures = rendering.facets("logits:3")
    assert isinstance(pictures, lightning_fv.Rendering)
    assert torch.equal(pictures.images, rendering.images[:3])
    assert len({image.sum().item() for image in pictures.images}) == 3
    best = rendering["logits:3"]
    assert best.score == float(pictures.scores.max())
    assert best.record.scores["rank"] == 1
    assert rendering["-Logit(1)"].score == float(rendering.scores[4:].max())
    assert torch.equal(rendering["logits:3 #2"].image, rendering.images[1])
    assert [(record.unit, record.facet) for record in rendering.records[2:5]] == [
        ("logits:3", 3), (None, None), ("-Logit(1)", 1),
    ]  # fmt: skip
    assert ["rank" in record.scores for record in rendering.records] == [True] * 3 + [False] + [True] * 2
    with pytest.raises(TargetError, match="no picture of 'logits:3 #4'; available: logits:3 #"):
        rendering["logits:3 #4"]


def test_its_text_is_short(tmp_path: Path) -> None:
    """What a prompt or a notebook prints of it, alone and in a list: no tensors."""
    out = tmp_path / "run"
    rendering = lightning_fv.render(tiny(), "logits:0-3+logits:4 x2", steps=1, progress=False, out=out)
    assert repr(rendering) == (
        f"<Rendering of 6 pictures: logits:0, logits:1, logits:2 and 2 more; 24 x 20 px, in {out}>"
    )
    assert repr(rendering[:1]) == f"<Rendering of 1 picture: logits:0; 24 x 20 px, in {out}>"
    score = float(rendering.scores[5])
    assert repr([rendering[5]]) == f"[<RenderedPicture of logits:4 #2: 24 x 20 px, done, score {score:.4g}>]"
    loose = lightning_fv.render(tiny(), "logits:0", steps=1, progress=False)
    loose.records[0].status = "dead"
    assert repr(loose) == "<Rendering of 1 picture: logits:0; 24 x 20 px, 1 dead>"


def test_a_notebook_shows_the_first_of_very_many() -> None:
    rendering = lightning_fv.render(tiny(), "logits:0-1", steps=1, progress=False)
    html = rendering._repr_html_()
    assert html.count("<img ") == html.count('alt="Picture of logits:') == 2
    assert html.endswith("</figure>")
    many = lightning_fv.Rendering(
        rendering.images[:1].expand(130, -1, -1, -1), rendering.scores[:1].expand(130), rendering.targets[:1] * 130,
        rendering.records[:1] * 130,
    )  # fmt: skip
    html = many._repr_html_()
    assert html.count("<img ") == 100
    assert html.endswith("<p>the first 100 of 130 pictures</p>")
