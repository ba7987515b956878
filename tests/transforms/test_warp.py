"""The warp, against slices and turns that need no interpolation."""

import copy
import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_fv import render
from lightning_fv.errors import UsageError
from lightning_fv.transforms import KeyedTransform, RandomWarp, study_warp
from tests.helpers import noise

MIDDLE = 0.5
LAST = 1 - 2**-24  # the largest number below 1 that torch.rand can give
ANGLE, SCALE, X, Y = range(4)


def uniforms(images: Tensor, **draws: float) -> Tensor:
    """The same draws for each picture; the middle of the range unless told."""
    row = [draws.get(name, MIDDLE) for name in ("angle", "scale", "x", "y")]
    return torch.tensor(row).expand(len(images), 4).to(images)


def warp(**arguments: Any) -> RandomWarp:
    """A warp that does nothing but what is asked for, with lengths in units of 40 px."""
    made = RandomWarp(**{"pad": 0.0, "crop": 0.0, "rotate": 0.0, "scale": (1.0, 1.0), **arguments})
    made.unit = 40
    return made


def close(got: Tensor, expected: Tensor | np.ndarray, tolerance: float = 1e-4) -> None:
    assert tuple(got.shape) == tuple(expected.shape)
    np.testing.assert_allclose(got.detach().cpu().numpy(), np.asarray(expected), atol=tolerance)


@pytest.fixture
def images(photo: Tensor, device: torch.device) -> Tensor:
    return photo.to(device)


@pytest.mark.parametrize("mode", ["reflection", "border", "grey"])
@pytest.mark.parametrize("draw", [0.0, 0.3, LAST])
def test_nothing_asked_for_is_the_identity(
    images: Tensor, mode: Literal["reflection", "border", "grey"], draw: float
) -> None:
    warped = warp(padding_mode=mode)(images, uniforms(images, angle=draw, scale=draw, x=draw, y=draw))
    close(warped, images.cpu())


@pytest.mark.parametrize(("mode", "numpys"), [("reflection", "reflect"), ("border", "edge"), ("grey", "constant")])
@pytest.mark.parametrize(("pad", "crop"), [(4, 8), (6, 4), (2, 8), (0, 8), (4, 0)])
@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.0, 1.0), (1.0, 0.0), (0.25, 0.75), (0.5, 0.0)])
def test_a_shift_by_whole_pixels_is_a_slice_of_the_padded_picture(
    images: Tensor, mode: Any, numpys: Any, pad: int, crop: int, x: float, y: float
) -> None:
    moved = warp(pad=pad / 40, crop=crop / 40, padding_mode=mode)
    warped = moved(images, uniforms(images, x=x, y=y))
    values = {"constant_values": 0.5} if numpys == "constant" else {}
    padded = np.pad(images.cpu().numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)), numpys, **values)
    # At 1 the picture has moved furthest to the right or down: the window starts at the padding's edge.
    top, left = round(crop * (1 - y)), round(crop * (1 - x))
    height, width = 37 + 2 * pad - crop, 29 + 2 * pad - crop
    close(warped, padded[..., top : top + height, left : left + width])


def test_larger_x_moves_right_and_larger_y_moves_down(images: Tensor) -> None:
    moved = warp(pad=0.1, crop=0.2)
    close(moved(images, uniforms(images, x=1.0))[..., 4:], images[..., :-4].cpu())
    close(moved(images, uniforms(images, y=1.0))[..., 4:, :], images[..., :-4, :].cpu())


@pytest.mark.parametrize(("draw", "quarters"), [(1.0, -1), (0.0, 1)])
def test_a_quarter_turn(images: Tensor, draw: float, quarters: int) -> None:
    """The largest angle is clockwise; torch.rot90 counts counter-clockwise."""
    turned = warp(rotate=90.0)(images, uniforms(images, angle=draw))
    square = images[..., 4:33, :]  # about the centre of 37 x 29
    close(turned[..., 4:33, :], torch.rot90(square, quarters, (2, 3)).cpu())


def test_a_quarter_turn_of_a_square_picture() -> None:
    square = noise(1, 3, 12, 12).sigmoid()
    close(warp(rotate=90.0)(square, uniforms(square, angle=1.0)), torch.rot90(square, -1, (2, 3)))


def test_twice_as_large(images: Tensor) -> None:
    """Pixels at even distances from the centre (18, 14) come from half that distance."""
    enlarged = warp(scale=(2.0, 2.0))(images, uniforms(images))
    close(enlarged[..., ::2, ::2], images[..., 9:28, 7:22].cpu())


def test_half_as_large_shows_grey_around(images: Tensor) -> None:
    """A scale below 1 shrinks the picture about its centre; outside of it is mid grey."""
    reduced = warp(scale=(0.5, 0.5), padding_mode="grey")(images, uniforms(images))
    close(reduced[..., 9:28, 7:22], images[..., ::2, ::2].cpu())
    outside = torch.ones(37, 29, dtype=torch.bool)
    outside[8:29, 6:23] = False
    assert torch.equal(reduced.cpu()[..., outside], torch.full((2, 3, int(outside.sum())), 0.5))


def test_a_reduced_picture_is_not_low_passed() -> None:
    """A wave of 0.45 cycles a pixel would have 0.675 at a scale of 2/3: what the pixels show of it has 1 - 0.675."""
    waves = 0.5 + 0.5 * torch.cos(2 * math.pi * 0.45 * torch.arange(600.0)).expand(1, 1, 600, 600)
    reduced = warp(scale=(2 / 3, 2 / 3))(waves, uniforms(waves))[0, 0, 300, 200:400]
    amplitudes = torch.fft.rfft(reduced).abs() / 100  # of 200 pixels: 0.005 cycles a pixel from one to the next
    strongest = int(amplitudes[1:].argmax()) + 1
    assert strongest == 65  # 0.325 cycles a pixel
    assert 0.4 < float(amplitudes[strongest]) / 0.5 < 0.5


def aliased(made: RandomWarp, pictures: Tensor) -> float:
    """Share of the energy of warped pictures, without their mean, that is aliased: waves too short for the window's pixels."""
    generator = torch.Generator().manual_seed(0)
    height, width = pictures.shape[-2:]
    pictures = pictures - pictures.mean((2, 3), keepdim=True)
    mirrored = torch.cat([pictures, pictures.flip(-1)], -1)  # so that the periodic picture has no edges
    spectrum = torch.fft.fft2(torch.cat([mirrored, mirrored.flip(-2)], -2))
    waves = torch.stack(torch.meshgrid(*map(torch.fft.fftfreq, (2 * width, 2 * height)), indexing="xy"))
    shares = []
    for _ in range(16):
        draws = torch.rand(len(pictures), 4, generator=generator)
        turned = made.matrices(draws, (height, width))[:, :, :2]
        # p -> M p takes the wave k to the wave M^-T k; M is a rotation times a factor.
        seen = torch.einsum("bij,jhw->bihw", turned / torch.linalg.det(turned)[:, None, None], waves)
        short = (seen.abs() > 0.5).any(1)
        lost = torch.fft.ifft2(spectrum * short[:, None]).real[..., :height, :width]
        whole = made(pictures + 0.5, draws)
        energy = (whole - whole.mean((2, 3), keepdim=True)).square().sum((1, 2, 3))
        shares.append((made(lost + 0.5, draws) - 0.5).square().sum((1, 2, 3)) / energy)
    return float(torch.stack(shares).mean())


def test_hardly_anything_in_a_rendered_picture_is_aliased() -> None:
    """Why the warp needs no low-pass filter. White noise shows that aliasing would be found."""
    rendered = render("demo", "logits:pizza+logits:lion", progress=False).images
    white = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for made in (RandomWarp(), study_warp()):
        made.unit = 64
        assert aliased(made, rendered) < 0.001
        assert 0.03 < aliased(made, white) < 0.1


def test_what_lies_outside_far_away(images: Tensor) -> None:
    moved = warp(pad=0.5, padding_mode="grey")(images, uniforms(images))
    assert moved.shape == (2, 3, 77, 69)
    close(moved[..., :19, :], torch.full((2, 3, 19, 69), 0.5), 1e-6)
    close(moved[..., -19:], torch.full((2, 3, 77, 19), 0.5), 1e-6)
    close(moved[..., 20:57, 20:49], images.cpu())


@pytest.mark.parametrize("mode", ["reflection", "border", "grey"])
def test_result_stays_in_range(mode: Any, device: torch.device) -> None:
    images = (noise(8, 3, 37, 29) > 0).float().to(device)
    draws = torch.rand(8, 4, generator=torch.Generator().manual_seed(0)).to(device)
    warped = RandomWarp(padding_mode=mode)(images, draws)
    assert warped.min() >= -1e-6
    assert warped.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("pad", "crop", "unit", "expected"),
    [
        (0.0, 0.0, 224, (37, 29)),
        (0.06, 0.12, 224, (37, 29)),
        (0.125, 0.0, 224, (37 + 56, 29 + 56)),
        (24 / 224, 12 / 224, 224, (37 + 36, 29 + 36)),
        (0.1, 0.3, 64, (37 - 6, 29 - 6)),
    ],
)
def test_window_is_h_plus_two_pad_minus_crop(
    pad: float, crop: float, unit: int, expected: tuple[int, int], images: Tensor
) -> None:
    made = RandomWarp(pad=pad, crop=crop)
    made.unit = unit
    assert made.window((37, 29)) == expected
    assert made(images, uniforms(images)).shape == (2, 3, *expected)


def parts(matrix: Tensor, made: RandomWarp, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Angle in degrees, factor, and where the centre goes: x, y in pixels from the centre of the window."""
    m = matrix.double().numpy()
    height, width = size
    new_height, new_width = made.window(size)
    x, y = m @ [(width - 1) / 2, (height - 1) / 2, 1] - [(new_width - 1) / 2, (new_height - 1) / 2]
    return math.degrees(math.atan2(m[1, 0], m[0, 0])), math.hypot(m[0, 0], m[1, 0]), x, y


@pytest.mark.parametrize(("draw", "end"), [(0.0, -1), (LAST, 1), (0.5, 0)])
@pytest.mark.parametrize("which", [ANGLE, SCALE, X, Y])
def test_ranges_are_reached_to_both_ends(draw: float, end: int, which: int) -> None:
    made = RandomWarp(pad=0.1, crop=0.15, rotate=20.0, scale=(0.7, 1.5))  # in sides of 224
    draws = torch.full((1, 4), MIDDLE)
    draws[0, which] = draw
    got = parts(made.matrices(draws, (37, 29))[0], made, (37, 29))
    middle, half = (0.0, 1.1, 0.0, 0.0), (20.0, 0.4, 0.075 * 224, 0.075 * 224)
    expected = [m + (end * h if number == which else 0) for number, (m, h) in enumerate(zip(middle, half, strict=True))]
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_draws_are_spread_evenly() -> None:
    made = RandomWarp(rotate=20.0, scale=(0.7, 1.5))
    grid = torch.linspace(0, 1, 5)[:, None].expand(5, 4)
    got = [parts(matrix, made, (8, 8))[:2] for matrix in made.matrices(grid, (8, 8))]
    np.testing.assert_allclose([angle for angle, _ in got], [-20, -10, 0, 10, 20], atol=1e-4)
    np.testing.assert_allclose([factor for _, factor in got], [0.7, 0.9, 1.1, 1.3, 1.5], atol=1e-6)


def test_each_picture_has_its_own_draws(images: Tensor) -> None:
    same = images[:1].expand(3, -1, -1, -1)
    draws = torch.rand(3, 4, generator=torch.Generator().manual_seed(1)).to(images)
    made = RandomWarp()
    warped = made(same, draws)
    assert (warped[0] - warped[1]).abs().max() > 0.1
    assert (warped[1] - warped[2]).abs().max() > 0.1
    for row in range(3):
        close(made(images[:1], draws[row : row + 1])[0], warped[row].cpu(), 1e-5)


def test_draws_nothing_itself(images: Tensor) -> None:
    made = RandomWarp()
    assert made.draws == 4
    assert isinstance(made, KeyedTransform)
    draws = torch.rand(2, 4, generator=torch.Generator().manual_seed(1)).to(images)
    before = torch.random.get_rng_state()
    first = made(images, draws)
    assert torch.equal(made(images, draws), first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_input_is_left_as_it_was(images: Tensor) -> None:
    before = images.clone()
    for mode in ("reflection", "border", "grey"):
        RandomWarp(padding_mode=mode)(images, uniforms(images, angle=0.9))
    assert torch.equal(images, before)


def test_gradient_reaches_each_pixel(images: Tensor) -> None:
    images.requires_grad_()
    turned = warp(rotate=40.0, scale=(0.6, 0.6))(images, uniforms(images, angle=0.8))
    turned.sum().backward()
    assert images.grad is not None
    assert (images.grad > 0).all()


@pytest.mark.parametrize("mode", ["reflection", "border", "grey"])
def test_gradients(mode: Any, device: torch.device) -> None:
    images = noise(2, 1, 5, 4, dtype=torch.float64).to(device).requires_grad_()
    draws = torch.tensor([[0.2, 0.7, 0.9, 0.1], [0.6, 0.1, 0.3, 0.8]], dtype=torch.float64).to(device)
    made = warp(pad=0.1, crop=0.15, rotate=30.0, scale=(0.7, 1.4), padding_mode=mode)
    assert torch.autograd.gradcheck(lambda x: made(x, draws), images)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pad": -0.1},
        {"crop": -0.1},
        {"rotate": -1.0},
        {"scale": (0.0, 1.0)},
        {"scale": (-1.0, 1.0)},
        {"scale": (1.2, 0.8)},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(UsageError) as raised:
        RandomWarp(**wrong)
    assert f"{name}={value}" in str(raised.value)
    assert "at least 0" in str(raised.value)


def test_copies_warp_alike(images: Tensor) -> None:
    made = RandomWarp(pad=0.02, crop=0.01, padding_mode="border")
    made.unit = 64
    draws = uniforms(images, angle=0.9, scale=0.1)
    assert torch.equal(copy.deepcopy(made)(images, draws), made(images, draws))


def test_a_window_that_crops_everything_is_refused() -> None:
    warp = RandomWarp(pad=0.0, crop=0.5)
    warp.unit = 64
    with pytest.raises(UsageError, match="crops 32 px from pictures of 30x30"):
        warp(torch.zeros(1, 3, 30, 30), torch.zeros(1, 4))
