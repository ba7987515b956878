"""The recipes of other packages: their numbers, each beside the line of the source that it is from, and their arithmetic.

The sources were read at these commits: tensorflow/lucid 6dcc927, greentfrapp/lucent 6123386, Mayukhdeb/torch-dreams 9d97c69,
pytorch/captum optim-wip 39e6ab1, deel-ai/xplique 0c90fa4, serre-lab/Horama 060862c, fg91/visualizing-cnn-feature-maps cb245ed.
"""

import importlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_fv.commands.main import main
from lightning_fv.functional.color import CORRELATION
from lightning_fv.optimization.size import in_pixels
from lightning_fv.parameterizations import Fourier
from lightning_fv.runs.record import read_manifest
from lightning_fv.transforms import KeyedTransform
from tests.helpers import noise
from tests.test_recipes import settings

PEERS = ["lucid", "lucent", "torch_dreams", "captum", "xplique", "horama", "graetz"]


def test_numbers_of_maco(capsys: pytest.CaptureFixture[str]) -> None:
    """xplique/features_visualizations/maco.py, ``maco``."""
    recipe = settings(capsys, "maco")
    assert recipe["trainer"]["max_steps"] == 256  # nb_steps: int = 256
    # optimizer = tf.keras.optimizers.Nadam(1.0); one crop in place of 32 at a tenth of the rate, as the recipe says
    assert optimizer(recipe) == ("torch.optim.NAdam", 1.0 / 10)
    noise = dict(parts(recipe))["RandomNoise"]
    assert noise["std"] == 0.08  # noise_intensity: Optional[Union[float, Callable]] = 0.08
    assert parameterization(recipe, "MACO") == {"opacity": True}  # returns the image and the transparency map


def px(fraction: float) -> float:
    """A length of a recipe in pixels of a network trained at 224 px, to a hundredth."""
    return round(fraction * 224, 2)


def parts(recipe: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Names and arguments of a recipe's transforms, lengths in pixels."""
    lengths = {"Pad": ("pad",), "RandomJitter": ("crop",), "Resize": ("size",)}
    lengths |= dict.fromkeys(("RandomTranslate", "RandomBlur"), ("smallest", "largest"))
    found = []
    for transform in recipe["model"]["transforms"]:
        name = transform["class_path"].split(".")[-1]
        arguments = dict(transform["init_args"])
        found.append((name, arguments | {key: px(arguments[key]) for key in lengths.get(name, ())}))
    return found


def optimizer(recipe: dict[str, Any]) -> tuple[str, float]:
    return recipe["model"]["optimizer"]["class_path"], recipe["model"]["optimizer"]["init_args"]["lr"]


def parameterization(recipe: dict[str, Any], kind: str = "Fourier") -> dict[str, Any]:
    found: dict[str, Any] = recipe["model"]["parameterization"]
    assert found["class_path"] == f"lightning_fv.parameterizations.{kind}"
    arguments: dict[str, Any] = found["init_args"]
    return arguments


def scale(**arguments: Any) -> tuple[str, dict[str, Any]]:
    return "RandomScale", {"smallest": 0.9, "largest": 1.1, "choices": None, "per_axis": False} | arguments


def rotate(**arguments: Any) -> tuple[str, dict[str, Any]]:
    return "RandomRotate", {"largest": 10.0, "choices": None} | arguments


def translate(smallest: int, largest: int, padding_mode: str) -> tuple[str, dict[str, Any]]:
    return "RandomTranslate", {"smallest": smallest, "largest": largest, "padding_mode": padding_mode}


# scale([1 + (i - 5) / 50. for i in range(11)])                       lucid/optvis/transform/__init__.py, lucent/optvis/transform.py
SCALES = [0.9, 0.92, 0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.08, 1.1]
# rotate(list(range(-10, 11)) + 5 * [0])                              the same two files
ANGLES = [-10, -9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0, 0, 0]


def test_lucid_has_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = settings(capsys, "lucid")
    # pad(12, mode="constant", constant_value=.5), jitter(8), scale(...), rotate(...), jitter(4)   transform/__init__.py
    assert parts(recipe) == [
        ("Pad", {"pad": 12, "padding_mode": "grey"}),
        ("RandomJitter", {"crop": 8}),
        scale(choices=SCALES, padding_mode="reflection"),
        rotate(choices=ANGLES, padding_mode="black"),
        ("RandomJitter", {"crop": 4}),
    ]
    assert px(recipe["model"]["size"]) == 128  # t_image = param.image(128)                        render.py
    assert optimizer(recipe) == ("torch.optim.Adam", 0.05)  # tf.train.AdamOptimizer(0.05)         render.py
    assert recipe["trainer"]["max_steps"] == 513  # for i in range(max(thresholds)+1), (512,)      render.py
    # sd=None -> sd or 0.01, decay_power=1                                                         param/spatial.py
    assert parameterization(recipe) == {"decay": 1.0, "sd": 0.01, "decorrelate": True, "lowest": 1.0}
    # return_relu_grad = tf.greater(global_step_t, 16), so redirected in steps 0 to 16; overrides/redirected_relu_grad.py
    assert recipe["model"]["redirect_steps"] == 17
    assert recipe["model"]["penalties"] is None


def test_lucent_has_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = settings(capsys, "lucent")
    assert parts(recipe) == [
        ("Pad", {"pad": 12, "padding_mode": "grey"}),  # pad(12, mode="constant", constant_value=0.5)   transform.py
        translate(0, 7, "black"),  # jitter(8): dx = np.random.choice(d)                                transform.py
        scale(choices=SCALES, padding_mode="black"),  # F.pad(upsample(image_t), [pad_y, pad_x] * 2)    transform.py
        rotate(choices=ANGLES, padding_mode="black"),  # kornia.warp_affine(...)                        transform.py
        translate(0, 3, "black"),  # jitter(4)                                                          transform.py
        ("Resize", {"size": 224}),  # torch.nn.Upsample(size=224, mode='bilinear', align_corners=True)    render.py
    ]
    assert px(recipe["model"]["size"]) == 128  # param_f = lambda: param.image(128)                     render.py
    assert optimizer(recipe) == ("torch.optim.Adam", 0.05)  # torch.optim.Adam(params, lr=5e-2)         render.py
    assert recipe["trainer"]["max_steps"] == 512  # for i in range(1, max(thresholds) + 1), (512,)      render.py
    # sd = sd or 0.01; decay_power=1                                                                    param/spatial.py
    assert parameterization(recipe) == {"decay": 1.0, "sd": 0.01, "decorrelate": True, "lowest": 1.0}
    assert recipe["model"]["penalties"] is None


def test_torch_dreams_has_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = settings(capsys, "torch_dreams")
    assert parts(recipe) == [
        rotate(largest=15.0, padding_mode="grey"),  # RandomAffine, 15 degrees         dreamer.py
        scale(smallest=0.5, largest=1.2, per_axis=True, padding_mode="reflection"),  # random_resize     transforms.py
    ]
    assert px(recipe["model"]["size"]) == 256  # 256 px  auto_image_param.py
    assert recipe["trainer"]["max_steps"] == 120  # 120 iterations  dreamer.py
    kind, rate = optimizer(recipe)
    assert (
        kind == "torch.optim.AdamW"
    )  # torch.optim.AdamW(params_list, lr=lr, ...)                     auto_image_param.py
    times = 2**-0.75 * 256**0.5 / 0.25  # of our scale; test_a_spectrum_gives_the_peers_picture checks this
    assert rate == pytest.approx(0.009 * times, rel=1e-3)  # learning rate 0.009  dreamer.py
    assert recipe["model"]["optimizer"]["init_args"]["weight_decay"] == 0.0  # weight_decay = 0.  auto_image_param.py
    found = parameterization(recipe)
    assert found["sd"] == pytest.approx(0.01 * times, rel=1e-3)  # sd=0.01                               utils.py
    assert found["decay"] == 1.5  # freqs = (fx*fx + fy*fy) ** decay_power, decay_power=.75              utils.py
    # np.maximum(freqs, 1.0 / (max(w, h)*d)), d=.5**.5                                                   utils.py
    assert found["lowest"] == pytest.approx(256 ** (1 / 3) * 2 ** (-1 / 6), rel=1e-3)


def test_captum_has_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = settings(capsys, "captum")
    assert parts(recipe) == [
        # RandomScale(scale=(1, 0.975, 1.025, 0.95, 1.05)), RandomSpatialJitter(16)                _core/optimization.py
        scale(choices=[1.0, 0.975, 1.025, 0.95, 1.05], padding_mode="reflection"),
        # torch.randint(high=self.pad_range), pad_range = 2 * translate, ReflectionPad2d           _param/image/transforms.py
        translate(-16, 15, "reflection"),
    ]
    assert px(recipe["model"]["size"]) == 224  # NaturalImage((224, 224))                          _core/optimization.py
    assert optimizer(recipe) == ("torch.optim.Adam", 4 * 0.025)  # lr: float = 0.025               _core/optimization.py
    assert recipe["trainer"]["max_steps"] == 512  # n_steps(512)                                   _core/optimization.py
    found = parameterization(recipe)
    # random_coeffs / 50, and no division by 4                                                     _param/image/images.py
    assert (found["decay"], found["sd"]) == (1.0, 4 * 0.02)


def test_xplique_has_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = settings(capsys, "xplique")
    u = 32.0  # unit = int(size / 16), in pixels of the picture  transformations.py
    size = recipe["model"]["size"]
    assert px(size) == 512  # custom_shape = (512, 512)                                            optim.py
    crops = [2, 2, 4, 4, 4]  # random_jitter(unit * 2), random_jitter(unit * 2), unit * 4 (three)  transformations.py
    assert parts(recipe) == [
        ("Pad", {"pad": pytest.approx(4 * u, abs=0.01), "padding_mode": "black"}),  # pad(unit * 4, 0.0)
        *(("RandomJitter", {"crop": pytest.approx(number * u, abs=0.01)}) for number in crops),
        scale(smallest=0.92, largest=0.96, padding_mode="black"),  # random_scale((0.92, 0.96))
        ("RandomBlur", {"smallest": 1.0, "largest": 1.1}),  # random_blur(sigma_range=(1.0, 1.1))
        *(("RandomJitter", {"crop": pytest.approx(u, abs=0.01)}) for _ in range(2)),  # random_jitter(unit), twice
        ("RandomFlip", {"probability": 0.5}),  # tf.image.random_flip_left_right
        ("Resize", {"size": 224}),  # tf.image.resize(imgs, (input_shape[1], input_shape[2]))        optim.py
    ]
    assert recipe["trainer"]["max_steps"] == 256  # nb_steps: int = 256                            optim.py
    times = 512**-0.15  # of our scale, at decay 0.85
    kind, rate = optimizer(recipe)
    assert kind == "torch.optim.Adam"
    assert rate == pytest.approx(0.05 * times, rel=1e-3)  # tf.keras.optimizers.Adam(0.05)         optim.py
    found = parameterization(recipe)
    assert found["decay"] == 0.85  # fft_decay: float = 0.85                                       optim.py
    assert found["sd"] == pytest.approx(0.01 * times, rel=1e-3)  # std: float = 0.01               optim.py
    assert recipe["model"]["penalties"] is None  # regularizers = None                             optim.py


def test_horama_has_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = settings(capsys, "horama")
    noise_sd = math.sqrt(0.05**2 + 0.05**2 / 12) / 5  # randn * 0.05 + (rand - 0.5) * 0.05, of (-2.5, 2.5)   common.py
    assert parts(recipe) == [
        # rand * (box_size[1] - box_size[0]) + box_size[1], box_size=(0.20, 0.25)                  common.py, fourier_fv.py
        ("RandomCrop", {"smallest": 0.25, "largest": 0.25 + (0.25 - 0.20)}),
        ("Resize", {"size": 224}),  # output_size=(model_input_size, model_input_size), 224          common.py
        ("RandomNoise", {"std": pytest.approx(noise_sd, abs=1e-4)}),
    ]
    assert recipe["trainer"]["accumulate_grad_batches"] == 6  # crops_per_iteration=6              fourier_fv.py
    assert px(recipe["model"]["size"]) == 1280  # image_size=1280                                  fourier_fv.py
    assert recipe["trainer"]["max_steps"] == 1000  # total_steps=1000                              fourier_fv.py
    assert optimizer(recipe)[0] == "torch.optim.NAdam"  # torch.optim.NAdam([spectrum], lr=1.0)    fourier_fv.py
    found = parameterization(recipe)
    assert (found["decay"], found["sd"]) == (1.5, 1.0)  # decay_power=1.5, std=1.0                 fourier_fv.py


def test_graetz_has_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = settings(capsys, "graetz")
    assert recipe["model"]["transforms"] == []
    assert px(recipe["model"]["size"]) == 56  # FilterVisualizer(size=56, octave_n=12, octave_scale=1.2)
    (callback,) = recipe["trainer"]["callbacks"]
    grow = callback["init_args"]
    assert (grow["factor"], grow["every"]) == (1.2, 20)  # steps=20
    size = 56
    for _ in range(12 - 1):
        size = int(1.2 * size)  # sz = int(self.octave_scale * sz)
    assert px(grow["to"]) == size
    assert recipe["trainer"]["max_steps"] == 12 * 20
    box = np.arange(5)  # cv2.blur(img, (blur, blur)), blur=5
    assert px(grow["blur"]) == pytest.approx(float(box.std()), abs=0.01)
    assert optimizer(recipe) == ("torch.optim.Adam", 0.1)  # torch.optim.Adam([img_var], lr=lr, weight_decay=1e-6)
    assert recipe["model"]["optimizer"]["init_args"]["weight_decay"] == 1e-6
    assert recipe["model"]["moments"] == "reset"  # a new optimizer at each size
    # np.uint8(np.random.uniform(150, 180, (sz, sz, 3)))/255; the sigmoid's slope at mid grey is 1/4
    assert parameterization(recipe, "Pixel")["sd"] == pytest.approx(4 * 30 / 255 / math.sqrt(12), abs=1e-3)


@pytest.mark.parametrize("name", PEERS)
def test_a_few_steps_bring_both_classes_nearer(name: str, tmp_path: Path) -> None:
    scores = []
    for steps in (1, 12):
        out = str(tmp_path / str(steps))
        words = ["--targets", "logits:pizza,lion", "--trainer.max_steps", str(steps), "--trainer.accelerator", "cpu"]
        assert main(["--config", name, *words, "--out", out]) == 0
        scores.append([record.score or 0.0 for record in read_manifest(Path(out) / "manifest.jsonl")])
    assert all(after > before + 0.5 for before, after in zip(*scores, strict=True)), scores


def lucid_scale(size: int, decay: float) -> NDArray[np.float64]:
    """1 / max(f, 1 / N)^decay * sqrt(N^2), f in cycles per pixel."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    return np.maximum(f, 1 / size) ** -decay * size


def picture_of(name: str, spectrum: NDArray[np.complex128], size: int) -> NDArray[np.float64]:
    """What a peer makes of a spectrum, before colours and sigmoid; `numpy.fft.irfft2` divides by N^2."""
    if name == "torch_dreams":
        d = 0.5**0.5
        f2 = np.fft.fftfreq(size, d=d)[:, None] ** 2 + np.fft.rfftfreq(size, d=d)[None] ** 2
        weights = 1 / np.maximum(f2**0.75, 1 / (size * d))
        return np.fft.irfft2(weights * spectrum, s=(size, size), norm="ortho")
    if name == "lucent":
        return np.fft.irfft2(lucid_scale(size, 1) / size * spectrum, s=(size, size), norm="ortho") / 4
    weights = lucid_scale(size, 0.85 if name == "xplique" else 1)
    return np.fft.irfft2(weights * spectrum, s=(size, size)) / (1 if name == "captum" else 4)


@pytest.mark.parametrize(
    ("name", "size", "sd"),
    [
        ("lucid", 128, 0.01),
        ("lucent", 128, 0.01),
        ("torch_dreams", 256, 0.01),
        ("captum", 224, 0.02),
        ("xplique", 512, 0.01),
    ],
)
def test_a_spectrum_gives_the_peers_picture(
    name: str, size: int, sd: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """With values as many times theirs as the recipe's sd is of theirs."""
    found = parameterization(settings(capsys, name))
    values = noise(1, size, size // 2 + 1, 2, dtype=torch.float64)
    values[:, size // 2], values[:, :, -1] = 0, 0  # the Nyquist bins, which we leave out
    theirs = picture_of(name, values[0, ..., 0].numpy() + 1j * values[0, ..., 1].numpy(), size)
    ours = Fourier(**found).decode(values[None] * (found["sd"] / sd), (size, size))
    np.testing.assert_allclose(ours[0, 0].numpy(), theirs, atol=1e-3 * theirs.std())


def test_all_peers_have_one_colour_matrix_and_ours_is_near() -> None:
    lucid = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])  # lucid/optvis/param/color.py
    lucid /= np.linalg.norm(lucid, axis=0).max()
    xplique = np.array(  # xplique/features_visualizations/preconditioning.py, horama/common.py
        [[0.56282854, 0.58447580, 0.58447580], [0.19482528, 0.0, -0.19482528], [0.04329450, -0.10823626, 0.06494176]]
    )
    np.testing.assert_allclose(xplique.T, lucid, atol=1e-7)
    assert 0.01 < np.abs(np.array(CORRELATION) - lucid).max() < 0.014


def made(recipe: dict[str, Any]) -> list[KeyedTransform]:
    found = []
    for transform in recipe["model"]["transforms"]:
        module, _, kind = transform["class_path"].rpartition(".")
        found.append(getattr(importlib.import_module(module), kind)(**transform["init_args"]))
    return found


def sources(recipe: dict[str, Any], draws: list[list[float]]) -> tuple[Tensor, Tensor, Tensor]:
    """Where in the picture the network sees what: x and y in pixels of the picture at each of its pixels, (H, W), and whether
    that is a place well inside of it, found by transforming a picture of places."""
    side = in_pixels(recipe["model"]["size"], (224, 224))[0]
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    inside = torch.zeros(side, side)
    inside[2:-2, 2:-2] = 1
    seen = torch.stack([x, y, inside])[None]
    for transform, numbers in zip(made(recipe), draws, strict=True):
        seen = transform(seen, torch.tensor([numbers]).view(1, -1))
    return seen[0, 0], seen[0, 1], seen[0, 2] > 0.999


@pytest.mark.parametrize(
    ("factor", "angle", "first", "second"),
    [(5, 10, (0, 0), (0, 0)), (0, 10, (7, 3), (3, 0)), (3, 3, (2, 5), (1, 2)), (5, 20, (7, 0), (0, 3))],
)
@pytest.mark.parametrize("name", ["lucid", "lucent"])
def test_the_network_sees_what_it_sees_there(
    name: str,
    factor: int,
    angle: int,
    first: tuple[int, int],
    second: tuple[int, int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Place by place, against the formulas of their transforms: ceil and align_corners in Lucent, and all."""
    recipe = settings(capsys, name)
    index, turn = [(factor + 0.5) / 11], [(angle + 0.5) / 26]
    if name == "lucid":  # a crop of d px begins at one of d + 1 places
        draws = [[], [(first[0] + 0.5) / 9, (first[1] + 0.5) / 9], index, turn, [(s + 0.5) / 5 for s in second]]
    else:
        draws = [[], [(s + 0.5) / 8 for s in first], index, turn, [(s + 0.5) / 4 for s in second], []]
    x, y, inside = sources(recipe, draws)
    side = 128 + 24
    place = np.stack(
        np.meshgrid(np.arange(128.0), np.arange(128.0))
    )  # (2, 128, 128): x, y of each pixel of the picture
    place = place + 12
    shift = np.array(first)[:, None, None]
    if name == "lucid":
        place, side = place - shift, side - 8
        scaled = int(SCALES[factor] * side)  # tf.cast(scale * size, "int32")
        place = (place + 0.5) * scaled / side - 0.5 + (side - scaled) / 2  # we keep the size; there it is `scaled`
    else:
        place = place + shift
        scaled = math.ceil(SCALES[factor] * side)
        place = place * (scaled - 1) / (side - 1) + math.ceil((side - scaled) / 2)
        side = scaled + 2 * math.ceil((side - scaled) / 2)
    alpha, centre = math.radians(ANGLES[angle]), (side - 1) / 2
    across, down = place - centre
    # get_rotation_matrix2d and tfa.image.rotate turn counter-clockwise, we clockwise: the lists are symmetric.
    across, down = (
        math.cos(-alpha) * across + math.sin(-alpha) * down,
        -math.sin(-alpha) * across + math.cos(-alpha) * down,
    )
    place = np.stack([across + centre, down + centre])
    shift = np.array(second)[:, None, None]
    if name == "lucid":
        place, side = place - shift, side - 4
    else:
        place = (place + shift) * 223 / (side - 1)
        side = 224
    assert abs(x.shape[-1] - side) <= 1
    rows, columns = np.nonzero(inside.numpy())
    assert len(rows) > 0.4 * inside.numel()
    found = np.stack(
        [x.numpy()[rows, columns], y.numpy()[rows, columns]]
    )  # the place in the picture that is seen there
    nearest = np.clip(np.round(found).astype(int), 0, 127)
    step = found - nearest  # to where between pixels; scale and angle are near 1 and 0
    expected = place[:, nearest[1], nearest[0]]
    slope = (place[:, 64, 65] - place[:, 64, 64])[:, None] * step[0] + (place[:, 65, 64] - place[:, 64, 64])[
        :, None
    ] * step[1]
    difference = expected + slope - np.stack([columns, rows])
    assert np.abs(difference).max() < (0.8 if name == "lucent" else 0.6), np.abs(difference).max()


DOC = Path(__file__).parents[1] / "docs" / "coming_from.md"
COMMANDS = re.findall(r"^    (lightning-fv .*)$", DOC.read_text(), re.M)


def test_the_page_names_a_recipe_for_each_package() -> None:
    assert [line.split()[2] for line in COMMANDS] == [
        "lucid", "lucent", "torch_dreams", "captum", "xplique", "horama", "accentuation", "torch_dreams"
    ]  # fmt: skip
