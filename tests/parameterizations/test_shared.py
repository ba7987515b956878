"""What Shared promises: a group has its coarse shapes in common, and other pictures do not come into it."""

import math

import pytest
import torch

from lightning_fv import FeatureVisualizer, Rendering, VisionNetwork, render
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.commands.main import main
from lightning_fv.errors import UsageError
from lightning_fv.functional import unpack
from lightning_fv.objectives import Logit
from lightning_fv.parameterizations import Alpha, Fourier, LaplacianPyramid, Parameterization, Pixel, Shared
from lightning_fv.parameterizations.shared import GroupMean
from tests.helpers import TinyNet, generators, noise, smooth_photos
from tests.optimization.test_nonfinite import Flawed


@pytest.fixture
def network() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(37, 29))


def test_it_adds_the_groups_mean_to_each_picture() -> None:
    """Of four pictures in two groups; enlarged twice by 2, from sides that were rounded up."""
    made, plain = Shared(2, Pixel(sd=1.0), factor=4), Pixel(sd=1.0)
    made.initialize((9, 6), generators(range(4)))
    plain.initialize((9, 6), generators(range(4)))
    torch.testing.assert_close(made(), plain())  # the common part starts with nothing
    own, low = unpack(made.values.detach(), [(3, 9, 6), (3, 3, 2)])
    low.copy_(noise(4, 3, 3, 2))
    mean = low.view(2, 2, 3, 3, 2).mean(1)
    for size in ((5, 3), (9, 6)):
        mean = torch.nn.functional.interpolate(mean, size=size, mode="bilinear", align_corners=False)
    expected = own + mean.repeat_interleave(2, 0)
    torch.testing.assert_close(made().logit(), expected, atol=1e-5, rtol=1e-5)


def test_gradient_of_the_common_part_is_the_groups_and_finite() -> None:
    rows = noise(6, 2, 3, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: GroupMean.apply(x, 3), rows)
    gradient = noise(6, 2, 3, 3, dtype=torch.float64)
    gradient[1, 0, 0, 0], gradient[4, 1, 2, 2] = torch.nan, 1e300  # the square of the second is infinite
    (found,) = torch.autograd.grad(GroupMean.apply(rows, 3), rows, gradient)
    for group, good in (((0, 1, 2), (0, 2)), ((3, 4, 5), (3, 5))):
        for row in group:
            torch.testing.assert_close(found[row], gradient[list(good)].sum(0) / 3)


BASES: list[Parameterization] = [Fourier(), Pixel(), LaplacianPyramid(3)]


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_pictures_can_be_given_grow_and_be_blurred(base: Parameterization) -> None:
    photo = smooth_photos(37, 29)
    made = Shared(2, base)
    made.from_image(photo)
    torch.testing.assert_close(made(), photo, atol=1e-5, rtol=0)
    with torch.no_grad():
        made.values[:, -3 * 10 * 8 :] = 0.5 * noise(2, 3 * 10 * 8)
    before = made().detach()
    made.resize((74, 58))
    assert made.values.shape == (2, *made.shape((74, 58)))
    small = torch.nn.functional.avg_pool2d(made(), 2)
    assert float((small - before).abs().mean()) < 0.1 * float(before.std())
    rough = made().detach()
    made.blur(3.0)
    assert float((made().diff(dim=-1)).abs().mean()) < float(rough.diff(dim=-1).abs().mean())
    moments = made.resample(torch.ones_like(made.values), (74, 58), (37, 29))
    assert moments.shape == (2, *made.shape((37, 29)))


def test_a_group_is_aligned() -> None:
    """Pictures between two pairs of the demo network's classes: correlation of neighbours' means over 8 x 8 pixels."""
    pairs, steps = ((0, 4), (11, 13)), (0.0, 0.3, 0.7, 1.0)  # goldfish and king penguin, pizza and orange
    objectives = [(1 - t) * Logit(a) + t * Logit(b) for a, b in pairs for t in steps]

    def likeness(parameterization: Parameterization) -> float:
        images = render("demo", objectives, steps=64, parameterization=parameterization, progress=False).images
        cells = torch.nn.functional.avg_pool2d(images, 8).view(2, 4, -1)
        cells = torch.nn.functional.normalize(cells - cells.mean(2, keepdim=True), dim=2)
        return float((cells[:, 1:] * cells[:, :-1]).sum(2).mean())

    assert likeness(Shared(4)) > likeness(Fourier(decay=1.5)) + 0.1


def test_a_group_does_not_depend_on_other_groups(network: VisionNetwork) -> None:
    recipe = FeatureVisualizer(Shared(2), size=24)
    grow = ProgressiveUpscale(to=37, factor=1.3, every=5)
    alone, among = (
        render(network, targets, visualizer=recipe, steps=16, callbacks=[grow], progress=False)
        for targets in ("logits:2-3", "logits:0-3")
    )
    torch.testing.assert_close(among.images[2:], alone.images, rtol=0, atol=1e-3)
    begin = render(network, "logits:0-3", visualizer=recipe, steps=1, progress=False)
    assert bool((among.scores > begin.scores).all())


def test_nan_of_a_picture_stays_its_own(network: VisionNetwork) -> None:
    """Other groups keep their bits; the rest of its group goes on."""
    options = {"parameterization": Shared(2), "steps": 30, "progress": False}

    def run(limit: float) -> Rendering:
        targets = ["logits:0", Flawed(limit, "gradient"), "logits:2-3"]
        return render(network, targets, **options)  # type: ignore[arg-type]

    healthy, broken = run(math.inf), run(-math.inf)
    assert [record.status for record in broken.records] == ["done", "diverged", "done", "done"]
    assert torch.equal(healthy.images[2:], broken.images[2:])
    begin = render(network, "logits:0+logits:1", **{**options, "steps": 1})  # type: ignore[arg-type]
    assert float(broken.scores[0]) > float(begin.scores[0]) + 0.5 * float(healthy.scores[0] - begin.scores[0])
    assert bool(broken.images.isfinite().all())


def test_groups_that_jobs_would_cut_are_refused(network: VisionNetwork, capsys: pytest.CaptureFixture[str]) -> None:
    told = r"the parameterization shares among groups of 3 pictures, and a job has 2 targets; .* multiples of 3"
    with pytest.raises(UsageError, match=told):
        render(network, "logits:0-1", parameterization=Shared(3), progress=False)
    with pytest.raises(UsageError, match=told):
        render(network, "logits:0-2", parameterization=Alpha(Shared(3)), batch_size=2, progress=False)
    words = ["--targets", "logits:0-1", "--model.parameterization", "Shared", "--model.parameterization.group", "3"]
    assert main([*words, "--trainer.max_steps", "1"]) == 2
    assert "shares among groups of 3 pictures" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [{"group": 0}, {"group": 2, "factor": 3}, {"group": 2, "factor": 0}])
def test_what_makes_no_groups_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="Shared needs a group of at least 1 and a power of 2 as factor"):
        Shared(**arguments)
    with pytest.raises(
        UsageError, match=r"Shared is not for pictures of Alpha; put it inside, as in Alpha\(Shared\(4\)\)"
    ):
        Shared(2, Alpha())
