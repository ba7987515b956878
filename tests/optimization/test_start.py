"""Pictures to start from. What `render` makes of them is tested in test_api.py."""

import lightning.pytorch as pl
import pytest
import torch

from lightning_fv import FeatureVisualizer, VisionNetwork, render, resolve_targets
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.errors import UsageError
from lightning_fv.optimization.start import check_count, check_start, refuse_given, size_of, start_from
from lightning_fv.parameterizations import Pixel
from tests.helpers import TinyNet, generators, smooth_photos

START = smooth_photos(24, 20)


def test_one_for_all_or_one_for_each() -> None:
    assert check_start(START, 2).shape == (2, 3, 24, 20)
    assert torch.equal(check_start(START[0].double(), 3)[2], START[0])
    assert size_of(START[0]) == size_of(START) == (24, 20)
    with pytest.raises(UsageError, match="2 pictures for 3 targets"):
        check_start(START, 3)


def test_they_are_resized() -> None:
    pixel = Pixel()
    start_from(pixel, START, (12, 10))
    assert pixel.size == (12, 10)
    assert pixel.holds_images
    with pytest.raises(UsageError, match="2 pictures for 3 targets"):
        check_count(pixel, 3)
    with pytest.raises(UsageError, match="pass them as start= to render or bind"):
        refuse_given(pixel)
    pixel.initialize((3, 4), generators([0]))
    refuse_given(pixel)


def test_pictures_given_before_and_after_bind() -> None:
    network = VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(48, 40))
    targets = resolve_targets("logits:0-1", network)
    pixel = Pixel()
    pixel.from_image(START)
    with pytest.raises(UsageError, match="which bind would replace"):
        FeatureVisualizer(pixel).bind(network, targets)
    grow = ProgressiveUpscale(to=48, every=1, factor=2.0, blur=0.0)
    bound = FeatureVisualizer(Pixel(), [], optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0)).bind(
        network, targets
    )
    bound.parameterization.from_image(START)
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_steps=2, max_epochs=-1, callbacks=[grow], enable_model_summary=False, **options)  # type: ignore[arg-type]
    trainer.fit(bound)
    assert bound.start_size == (24, 20)  # growth goes on from the pictures that were given
    assert bound.pictures().shape == (2, 3, 48, 40)
    small = torch.nn.functional.avg_pool2d(bound.pictures(), 2)
    torch.testing.assert_close(small, START, rtol=0, atol=0.05)
    bound.parameterization.from_image(START[:1])
    with pytest.raises(UsageError, match="1 pictures for 2 targets"):
        trainer.fit(bound)


def test_what_is_learned_beside_the_rows_is_refused() -> None:
    """The optimizer would change it, and NaN in it would be nobody's."""

    class Toned(Pixel):
        def __init__(self) -> None:
            super().__init__()
            self.tone = torch.nn.Parameter(torch.zeros(3, 1, 1))

        def decode(self, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
            return values + self.tone

    network = VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))
    with pytest.raises(UsageError, match="Toned has the Parameters tone besides values"):
        render(network, "logits:0", parameterization=Toned(), steps=1, progress=False)
