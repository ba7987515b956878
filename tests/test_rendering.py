"""What a render returns."""

import numpy as np
import pytest
import torch

import lightning_fv
from lightning_fv.errors import TargetError
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
