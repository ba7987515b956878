"""What every parameterization promises; what only one of them does is in its own file."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_fv import render
from lightning_fv.commands.main import main
from lightning_fv.functional import spectrum_weights
from lightning_fv.parameterizations import CPPN, Alpha, Fourier, LaplacianPyramid, Parameterization, Pixel, Shared
from tests.helpers import generators, low_pass, noise, smooth_photos

KINDS: dict[str, Callable[[], Parameterization]] = {
    "pixel": Pixel,
    "pixel-decorrelated": lambda: Pixel(decorrelate=True),
    "fourier": Fourier,
    "fourier-rgb": lambda: Fourier(decorrelate=False),
    "laplacian": LaplacianPyramid,
    "laplacian-rgb": lambda: LaplacianPyramid(3, decorrelate=False),
    "cppn": CPPN,
    "cppn-rgb": lambda: CPPN(3, 5, decorrelate=False),
    "shared": lambda: Shared(1, Pixel(decorrelate=True)),
}
FROM_IMAGES = [kind for kind in KINDS if "cppn" not in kind]
"""Those that can start from any pictures, and be blurred."""


@pytest.fixture(params=KINDS, ids=list(KINDS))
def make(request: pytest.FixtureRequest, device: torch.device) -> Callable[[], Parameterization]:
    return lambda: KINDS[request.param]().to(device)


@pytest.fixture(params=FROM_IMAGES)
def make_from_images(request: pytest.FixtureRequest, device: torch.device) -> Callable[[], Parameterization]:
    return lambda: KINDS[request.param]().to(device)


def strong_noise(
    make: Callable[[], Parameterization], size: tuple[int, int], device: torch.device, times: float = 50.0
) -> Parameterization:
    """Two pictures of noise that is far from grey; to start with, noise is faint."""
    made = make()
    made.initialize(size, generators([0, 1]))
    with torch.no_grad():
        made.values.mul_(times)
    return made.to(device)


def high_frequency_power(images: Tensor) -> float:
    """Power above half of the Nyquist frequency, of all pictures together, under a window: not all are periodic."""
    window = np.hanning(images.shape[-2])[:, None] * np.hanning(images.shape[-1])[None]
    power = np.abs(np.fft.fft2(images.detach().cpu().numpy() * window)) ** 2
    f = np.hypot(np.fft.fftfreq(images.shape[-2])[:, None], np.fft.fftfreq(images.shape[-1])[None])
    return float(power[..., f > 0.25].sum())


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two coarse pictures, each colour's mean left out."""
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (first, second))
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


@pytest.mark.parametrize("size", [(37, 29), (36, 28), (6, 9), (1, 1)])
def test_gives_pictures(make: Callable[[], Parameterization], size: tuple[int, int], device: torch.device) -> None:
    for times in (1.0, 1e5):  # also where the sigmoid is flat
        made = strong_noise(make, size, device, times)
        images = made()
        assert images.shape == (2, 3, *size)
        assert images.dtype == torch.float32
        assert images.device.type == device.type
        assert made.size == size
        assert 0 <= images.min() <= images.max() <= 1
    if size != (1, 1):  # the last pictures are strong ones
        assert images.max() > 0.99
        assert images.min() < 0.01


def test_has_no_size_to_start_with(make: Callable[[], Parameterization]) -> None:
    assert make().size == (0, 0)


def test_starts_near_grey_but_not_alike(make: Callable[[], Parameterization]) -> None:
    made = make()
    made.initialize((37, 29), generators([0, 1]))
    images = made().detach().cpu()
    assert (images - 0.5).abs().max() < 0.1
    assert images.std() > 1e-4
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize("size", [(37, 29), (8, 6)])
def test_gradient_reaches_every_value_that_counts(
    make: Callable[[], Parameterization], size: tuple[int, int], device: torch.device
) -> None:
    made = strong_noise(make, size, device)
    (made() * noise(2, 3, *size).to(device)).sum().backward()
    assert made.values.grad is not None
    reached = made.values.grad.cpu() != 0
    expected = torch.ones_like(reached)
    if isinstance(made, Fourier):
        expected &= (spectrum_weights(*size) > 0)[..., None]
        expected[:, :, 0, 0, 1] = False  # the mean of a real picture has no imaginary part
    assert torch.equal(reached, expected)


def test_gradient_of_a_picture_stays_in_its_row(make: Callable[[], Parameterization], device: torch.device) -> None:
    made = strong_noise(make, (37, 29), device)
    made()[1].square().sum().backward()
    assert made.values.grad is not None
    assert made.values.grad[0].abs().max() == 0
    assert made.values.grad[1].abs().max() > 0


def test_state_dict_round_trip(make: Callable[[], Parameterization], device: torch.device) -> None:
    made, other = strong_noise(make, (37, 29), device), make()
    other.initialize((37, 29), generators([7, 8]))
    assert not torch.equal(other().to(device), made())
    file = io.BytesIO()
    torch.save(made.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    other.to(device)
    assert torch.equal(other(), made())
    assert list(made.state_dict()) == ["values"]


def test_copies_give_the_same_pictures_and_go_their_own_way(
    make: Callable[[], Parameterization], device: torch.device
) -> None:
    made = strong_noise(make, (37, 29), device)
    before = made().detach().clone()
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(twin(), before)
        assert twin.size == made.size
        with torch.no_grad():
            twin.values.mul_(2.0)
        twin.resize((20, 20))
        assert torch.equal(made(), before)


def test_can_be_copied_before_it_has_pictures(make: Callable[[], Parameterization]) -> None:
    """A recipe is made first and given pictures per job."""
    made = make()
    first, second = copy.deepcopy(made), pickle.loads(pickle.dumps(made))
    for twin in (first, second):
        twin.initialize((5, 4), generators([0]))
    assert torch.equal(first(), second())


@pytest.mark.parametrize(
    ("size", "tolerance"),
    [
        ((37, 29), 1e-5),
        ((36, 28), 1e-3),  # Fourier leaves out the Nyquist bins of even sides, which hold little of a smooth picture
    ],
)
def test_starts_from_given_pictures(
    make_from_images: Callable[[], Parameterization], size: tuple[int, int], tolerance: float, device: torch.device
) -> None:
    photo = smooth_photos(*size).to(device)
    made = make_from_images()
    made.from_image(photo)
    assert made.size == size
    assert made.values.requires_grad
    torch.testing.assert_close(made(), photo, atol=tolerance, rtol=0)


def test_black_and_white_are_moved_inwards(
    make_from_images: Callable[[], Parameterization], device: torch.device
) -> None:
    extremes = (noise(2, 3, 37, 29) > 0).float().to(device)
    made = make_from_images()
    made.from_image(extremes)
    expected = extremes.clamp(1 / 512, 511 / 512)
    torch.testing.assert_close(made(), expected, atol=2e-5, rtol=0)
    assert made.values.isfinite().all()


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Sums may be split among threads in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_a_picture_depends_on_its_own_generator_alone(make: Callable[[], Parameterization]) -> None:
    tolerance = 1e-6 if isinstance(make(), CPPN) else 0  # products of matrices are rounded by how threads share them
    size = (40, 32)  # whole vectors: torch rounds the numbers left over at the end of a tensor in another way
    together, turned = make(), make()
    together.initialize(size, generators([5, 6, 7]))
    turned.initialize(size, generators([7, 5]))
    images = together()
    for row, seed in enumerate((5, 6, 7)):
        alone = make()
        alone.initialize(size, generators([seed]))
        assert torch.equal(alone.values[0], together.values[row])
        torch.testing.assert_close(alone()[0], images[row], atol=tolerance, rtol=0)
    torch.testing.assert_close(turned(), images[[2, 0]], atol=tolerance, rtol=0)


def test_noise_leaves_torchs_own_generator_alone(make: Callable[[], Parameterization]) -> None:
    before = torch.random.get_rng_state()
    make().initialize((5, 4), generators([0]))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("size", [(74, 58), (55, 43), (36, 28), (25, 19), (41, 60)])
def test_resize_keeps_the_picture_recognisable(
    make_from_images: Callable[[], Parameterization], photo: Tensor, size: tuple[int, int], device: torch.device
) -> None:
    made = make_from_images()
    made.from_image(photo.to(device))
    made.resize(size)
    images = made()
    assert images.shape == (2, 3, *size)
    assert made.size == size
    assert made.values.requires_grad
    assert made.values.is_leaf
    shown, expected = low_pass(images), low_pass(photo)
    assert likeness(expected[0], expected[1]) < 0.5  # the bound tells pictures apart
    for number in range(2):
        assert likeness(shown[number], expected[number]) > 0.95
    np.testing.assert_allclose(shown.mean((2, 3)), expected.mean((2, 3)), atol=0.01)


def test_resize_of_moments_does_not_touch_the_pictures(
    make: Callable[[], Parameterization], device: torch.device
) -> None:
    made = strong_noise(make, (9, 7), device)
    before = made.values.detach().clone()
    moments = made.resample(before.square(), (9, 7), (18, 15))
    assert torch.equal(made.values, before)
    assert made.size == (9, 7)
    assert moments.min() >= 0
    made.resize((18, 15))
    assert moments.shape == made.values.shape


def test_blur_lowers_high_frequencies_and_keeps_the_mean(
    make_from_images: Callable[[], Parameterization], device: torch.device
) -> None:
    made = strong_noise(make_from_images, (37, 29), device)
    before = made().detach()
    parameter = made.values
    made.blur(1.5)
    after = made().detach()
    assert made.values is parameter  # in place: the optimizer holds on to it
    assert high_frequency_power(after) < 0.05 * high_frequency_power(before)
    assert after.std() > 0
    torch.testing.assert_close(after.mean((2, 3)), before.mean((2, 3)), atol=0.01, rtol=0)


def test_pictures_stay_float32_under_autocast(make: Callable[[], Parameterization], device: torch.device) -> None:
    """The network may run in bfloat16; a picture in bfloat16 would have 8 bits, and its steps would be lost."""
    made = strong_noise(make, (9, 7), device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        images = made()
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, made())


def test_can_be_fitted_to_a_photo(make: Callable[[], Parameterization], photo: Tensor, device: torch.device) -> None:
    wanted = photo.to(device)
    made = make()
    made.initialize((37, 29), generators([0, 1]))
    made.to(device)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (made() - wanted).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < (0.01 if isinstance(made, CPPN) else 1e-3)  # the photo's variance is 0.03


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ("LaplacianPyramid levels=3 decay=1 sd=0.1 decorrelate=false", LaplacianPyramid(3, 1.0, 0.1, False)),
        ("CPPN layers=3 hidden=5 sd=0.1 decorrelate=false", CPPN(3, 5, 0.1, False)),
        ("Alpha", Alpha()),
        ("Alpha base=CPPN base.hidden=5", Alpha(CPPN(hidden=5))),
        ("Shared group=1 base=LaplacianPyramid base.levels=2 factor=2", Shared(1, LaplacianPyramid(2), 2)),
    ],
    ids=lambda value: value.replace(" ", ",") if isinstance(value, str) else "",
)
def test_from_the_command_line_and_from_python_it_is_the_same(
    words: str, made: Parameterization, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of one is continued by the other, which refuses other settings."""
    kind, *arguments = words.split()
    options = [f"--model.parameterization.{argument}" for argument in arguments]
    typed, called = tmp_path / "typed", tmp_path / "called"
    command = ["--out", str(typed), "--targets", "logits:0", "--trainer.max_steps", "1", "--model.size", "24"]
    assert main([*command, "--model.parameterization", kind, *options]) == 0
    for run in (typed, called):
        rendering = render("demo", "logits:0", parameterization=made, steps=1, size=24, out=run, progress=False)
        assert [record.status for record in rendering.records] == ["done"]
    capsys.readouterr()
    assert main(["--out", str(called), "--resume"]) == 0
    assert "is finished; nothing is left to do" in capsys.readouterr().out
    (one,), (other,) = ([file.read_bytes() for file in (run / "images").iterdir()] for run in (typed, called))
    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        assert np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(make: Callable[[], Parameterization], channels: int) -> None:
    made = make()
    made.channels = channels
    made.initialize((9, 7), generators([0, 1]))
    assert made().shape == (2, channels, 9, 7)
    assert not torch.equal(made()[:, :1], made()[:, -1:]) or channels == 1
    made.resize((13, 11))
    assert made().shape == (2, channels, 13, 11)
    wanted = 0.2 + 0.6 * torch.rand(2, channels, 9, 7, generator=torch.Generator().manual_seed(0))
    if made.can_blur:
        made.from_image(wanted)
        torch.testing.assert_close(made(), wanted, atol=1e-5, rtol=0)
