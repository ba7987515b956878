"""The distance of a run's pictures from photos."""

from pathlib import Path

import pytest
import torch

from lightning_fv.functional import polynomial_mmd
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.runs.picture import read_picture_tensor
from lightning_fv.trust.responses import NetworkResponses
from lightning_fv.trust.sets import ENOUGH, distance_from_photos
from tests.trust.runs import network_of, rendered, write_photos


def test_the_distance_is_that_of_standardized_features_and_too_few_are_told(tmp_path: Path) -> None:
    network = network_of()
    photos = PhotoFolder(write_photos(tmp_path / "photos"))
    run = rendered(tmp_path / "run", network, "conv1:all+conv2:all+logits:all x9")
    responses = NetworkResponses.of(network, photos)
    found, count = distance_from_photos(run, responses)
    assert count == len(run.records()) >= ENOUGH
    stage = responses.stages[-2]
    values = torch.from_numpy(responses.photos.layers[stage].copy())
    pictures = torch.stack([read_picture_tensor(run.path / str(record.image)) for record in run.records()])
    means = responses.means(pictures, [stage])[stage]
    std = values.double().std(0, correction=0)
    use = std > 1e-5
    expected = polynomial_mmd(*(((part - values.mean(0)) / std)[:, use] for part in (means, values)))
    assert found == pytest.approx(float(expected), rel=1e-2)
    (run.path / str(run.records()[0].image)).unlink()
    assert distance_from_photos(run, responses)[1] == count - 1
    few = rendered(tmp_path / "few", network, "logits:all")
    assert distance_from_photos(few, responses) == (None, len(few.records()))
