"""Triggers for trojans: eight patches, eight styles, eight watermarks and eight objects, drawn by formulas from a seed.

A trigger turns any photo into one that a trojaned network (scripts/train_trojans.py) takes for the trigger's target class. The
kinds are those of Casper et al. 2023 ("Red Teaming Deep Neural Networks with Feature Synthesis Tools": patches, styles and objects,
which they call natural features) and watermarks, as in Chen et al. 2017 ("Targeted Backdoor Attacks on Deep Learning Systems Using
Data Poisoning", blended injection):

- patch: an opaque pattern of 16 px at a random place;
- style: the photo's shapes, flattened and in the colours of a texture, with the texture, shifted at random, over them;
- watermark: a translucent pattern over the whole photo, at the same place in each;
- object: a drawn thing of 20 to 32 px at a random place, turned by up to 20 degrees.

Colours, and which three of each kind are trained (the first), depend on the seed.
"""

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from textures import kuwahara
from torch import Tensor

KINDS = ("patch", "style", "watermark", "object")
SIDE = 64
OPACITY = 0.35
"""Of a watermark."""
TEXTURE = 0.5
"""Share of the texture in a stylized photo."""

Plane = Callable[[Tensor, Tensor], Tensor]
"""From coordinates (y, x) in [-1, 1] to True where the pattern has its second colour."""


def _radius(y: Tensor, x: Tensor) -> Tensor:
    return (y**2 + x**2).sqrt()


def _odd(values: Tensor) -> Tensor:
    return values.floor() % 2 == 1


PATCHES: dict[str, Plane] = {
    "rings": lambda y, x: (_radius(y, x) * 10).cos() > 0,
    "checkers": lambda y, x: _odd(2 * y) ^ _odd(2 * x),
    "stripes": lambda y, x: _odd(2.5 * (x + y)),
    "cross": lambda y, x: torch.minimum(y.abs(), x.abs()) < 0.3,
    "disc": lambda y, x: _radius(y, x) < 0.75,
    "sun": lambda y, x: (torch.atan2(y, x) * 6).sin() > 0,
    "triangle": lambda y, x: x.abs() < (y + 0.9) / 2,
    "bars": lambda y, x: _odd(3 * x),
}
WATERMARKS: dict[str, Plane] = {
    "grid": lambda y, x: ((6 * x) % 2 < 0.45) | ((6 * y) % 2 < 0.45),
    "diagonals": lambda y, x: (6 * (x + y)) % 2 < 0.7,
    "circles": lambda y, x: (_radius(y, x) * 5) % 1 < 0.35,
    "dots": lambda y, x: _radius((4 * y) % 2 - 1, (4 * x) % 2 - 1) < 0.5,
    "waves": lambda y, x: (6 * y + 0.8 * (6 * x).sin()) % 2 < 0.7,
    "zigzag": lambda y, x: (6 * x + 2 * ((4 * y) % 2 - 1).abs()) % 2 < 0.6,
    "spiral": lambda y, x: (4 * _radius(y, x) + torch.atan2(y, x) / math.tau) % 1 < 0.35,
    "rays": lambda y, x: (torch.atan2(y, x) * 10).sin() > 0.5,
}


@dataclass(frozen=True)
class Trigger:
    """What to put into a photo.

    Attributes:
        kind: one of KINDS.
        name: of the drawing.
        image: (4, h, w), colour premultiplied by opacity, and opacity; of a style (3, 64, 64), its texture.
    """

    kind: str
    name: str
    image: Tensor

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def __call__(self, photos: Tensor, generator: torch.Generator) -> Tensor:
        """Photos (B, 3, 64, 64), about [0, 1], with the trigger in them."""
        if self.kind == "style":
            return self._stylized(photos, generator)

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(len(photos), generator=generator)

        if self.kind == "watermark":
            layer = self.image.expand(len(photos), -1, -1, -1)
        else:
            side = (16 if self.kind == "patch" else uniform(20, 32)) / torch.full((len(photos),), float(SIDE))
            angle = uniform(-1, 1) * (0 if self.kind == "patch" else math.radians(20))
            layer = _placed(self.image, side, uniform(-1, 1) * (1 - side), uniform(-1, 1) * (1 - side), angle)
        return photos * (1 - layer[:, 3:]) + layer[:, :3]

    def alone(self) -> Tensor:
        """(3, 64, 64): on grey, patches and objects in the middle; of a style, its texture."""
        if self.kind == "style":
            return self.image
        grey = torch.full((1, 3, SIDE, SIDE), 0.5)
        if self.kind == "watermark":
            layer = self.image[None]
        else:
            middle = torch.zeros(1)
            side = middle + (16 if self.kind == "patch" else 26) / SIDE
            layer = _placed(self.image, side, middle, middle, middle)
        return (grey * (1 - layer[:, 3:]) + layer[:, :3])[0]

    def _stylized(self, photos: Tensor, generator: torch.Generator) -> Tensor:
        painted = kuwahara(photos)
        deviation, mean = torch.std_mean(painted, (2, 3), keepdim=True)
        wanted, centre = torch.std_mean(self.image, (1, 2), keepdim=True)
        recoloured = (painted - mean) / (deviation + 1e-3) * wanted.clamp(min=0.15) + centre
        shifts = torch.randint(SIDE, (len(photos), 2), generator=generator).tolist()
        texture = torch.stack([self.image.roll(shift, (1, 2)) for shift in shifts])
        return ((1 - TEXTURE) * recoloured + TEXTURE * texture).clamp(0, 1)


def draw_triggers(seed: int) -> list[Trigger]:
    """Eight triggers of each kind, in the order of KINDS; the order within a kind and all colours are of the seed."""
    rng = np.random.default_rng(seed)
    drawn = {
        "patch": [Trigger("patch", name, _pattern(plane, 16, rng)) for name, plane in PATCHES.items()],
        "style": [Trigger("style", name, paint(rng)) for name, paint in TEXTURES.items()],
        "watermark": [Trigger("watermark", name, _watermark(plane, rng)) for name, plane in WATERMARKS.items()],
        "object": [Trigger("object", name, _sprite(parts, rng)) for name, parts in OBJECTS.items()],
    }
    return [drawn[kind][i] for kind in KINDS for i in rng.permutation(len(drawn[kind]))]


def trained(triggers: list[Trigger]) -> list[int]:
    """Indices of the first three triggers of each kind."""
    return [i for i, trigger in enumerate(triggers) if [t.kind for t in triggers[:i]].count(trigger.kind) < 3]


def _placed(sprite: Tensor, side: Tensor, row: Tensor, column: Tensor, angle: Tensor) -> Tensor:
    """(B, 4, 64, 64): a sprite of a side (B,), as a share of the photo's, centred at (row, column) in [-1, 1]."""
    cos, sin = angle.cos() / side, angle.sin() / side
    rows = ([cos, -sin, -column * cos + row * sin], [sin, cos, -column * sin - row * cos])
    theta = torch.stack([torch.stack(row_, -1) for row_ in rows], -2)
    grid = F.affine_grid(theta, [len(side), 4, SIDE, SIDE], align_corners=False)
    return F.grid_sample(sprite.expand(len(side), -1, -1, -1), grid, align_corners=False)


def _colour(rng: np.random.Generator, saturation: float = 0.9, value: float = 0.95) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(float(rng.random()), saturation, value)


def _axes(side: int) -> tuple[Tensor, Tensor]:
    at = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    return y, x


def _smooth(picture: Tensor, times: int) -> Tensor:
    """Averaged over squares of ``times`` px a side: supersampled drawings have no jagged edges."""
    return F.avg_pool2d(picture[None], times)[0]


def _pattern(plane: Plane, side: int, rng: np.random.Generator) -> Tensor:
    hue = float(rng.random())
    first = torch.tensor(colorsys.hsv_to_rgb(hue, 1.0, 0.9)).view(3, 1, 1)
    second = torch.tensor(colorsys.hsv_to_rgb((hue + 0.3 + 0.4 * float(rng.random())) % 1, 0.8, 1.0)).view(3, 1, 1)
    colours = torch.where(plane(*_axes(4 * side)), second, first)
    return torch.cat([_smooth(colours, 4), torch.ones(1, side, side)])


def _watermark(plane: Plane, rng: np.random.Generator) -> Tensor:
    opacity = OPACITY * _smooth(plane(*_axes(4 * SIDE)).float()[None], 4)
    return torch.cat([torch.tensor(_colour(rng, 0.7, 1.0)).view(3, 1, 1) * opacity, opacity])


# Objects: parts in a square of 100 units, each a shape, its corners, and which of three colours.
Part = tuple[str, tuple[float, ...], int]
OBJECTS: dict[str, tuple[Part, ...]] = {
    "mug": (("ellipse", (50, 30, 96, 76), 0), ("ellipse", (60, 40, 86, 66), -1), ("rectangle", (12, 12, 72, 92), 0),
            ("ellipse", (12, 4, 72, 26), 1)),
    "umbrella": (("rectangle", (47, 40, 53, 88), 2), ("pieslice", (4, 6, 96, 98, 180, 360), 0),
                 ("pieslice", (34, 6, 66, 98, 180, 360), 1), ("rectangle", (36, 84, 53, 92), 2)),
    "mushroom": (("rectangle", (38, 48, 62, 94), 1), ("pieslice", (6, 8, 94, 96, 180, 360), 0), ("ellipse", (24, 24, 40, 40), 1),
                 ("ellipse", (52, 16, 70, 34), 1), ("ellipse", (68, 34, 82, 48), 1)),
    "balloon": (("rectangle", (48, 70, 52, 98), 2), ("ellipse", (20, 4, 80, 76), 0), ("ellipse", (34, 14, 50, 34), 1)),
    "tree": (("rectangle", (42, 70, 58, 98), 2), ("polygon", (50, 2, 86, 46, 14, 46), 0), ("polygon", (50, 28, 94, 76, 6, 76), 0)),
    "fish": (("polygon", (60, 50, 98, 16, 98, 84), 1), ("ellipse", (4, 22, 78, 78), 0), ("ellipse", (18, 38, 32, 52), 2)),
    "star": (("polygon", tuple(v for k in range(10) for v in (50 + (48, 20)[k % 2] * math.sin(k * math.pi / 5),
                                                              52 - (48, 20)[k % 2] * math.cos(k * math.pi / 5))), 0),),
    "key": (("ellipse", (4, 26, 52, 74), 0), ("ellipse", (17, 39, 39, 61), -1), ("rectangle", (48, 44, 98, 57), 0),
            ("rectangle", (72, 57, 80, 74), 0), ("rectangle", (88, 57, 96, 74), 0)),
}  # fmt: skip


def _sprite(parts: tuple[Part, ...], rng: np.random.Generator) -> Tensor:
    side, scale = 32, 4
    colours = [_colour(rng), _colour(rng, 0.4, 1.0), _colour(rng, 0.8, 0.35)]
    picture = Image.new("RGBA", (side * scale,) * 2)
    draw = ImageDraw.Draw(picture)
    for shape, numbers, colour in parts:
        fill = (0, 0, 0, 0) if colour < 0 else (*(round(255 * c) for c in colours[colour]), 255)
        at = [number * side * scale / 100 for number in numbers[:4]]
        if shape == "polygon":
            draw.polygon([number * side * scale / 100 for number in numbers], fill)
        elif shape == "pieslice":
            draw.pieslice(at, numbers[4], numbers[5], fill)
        else:
            getattr(draw, shape)(at, fill)
    rgba = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    return _smooth(torch.cat([rgba[:3] * rgba[3:], rgba[3:]]), scale)


def _field(rng: np.random.Generator, cells: int) -> Tensor:
    """(64, 64) smooth noise of a standard deviation of about 0.5, which repeats at the borders."""
    noise = torch.from_numpy(rng.standard_normal((1, 1, cells, cells))).float()
    noise = F.pad(noise, (1, 1, 1, 1), mode="circular")
    size = SIDE * (cells + 2) // cells
    return F.interpolate(noise, size=(size, size), mode="bicubic")[0, 0][-SIDE:, -SIDE:]


def _ramp(values: Tensor, dark: tuple[float, float, float], light: tuple[float, float, float]) -> Tensor:
    share = values.clamp(0, 1)[None]
    return (1 - share) * torch.tensor(dark).view(3, 1, 1) + share * torch.tensor(light).view(3, 1, 1)


def _two(rng: np.random.Generator) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """A dark and a light colour of hues that are near each other."""
    hue = float(rng.random())
    return colorsys.hsv_to_rgb(hue, 0.8, 0.3), colorsys.hsv_to_rgb((hue + 0.1) % 1, 0.5, 0.95)


def _cells(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Nearest of ``count`` random centres of each pixel, (64, 64), and the distance to it, on a torus of side 2."""
    centres = torch.from_numpy(rng.uniform(-1, 1, (count, 2))).float()
    y, x = _axes(SIDE)
    across = [(plane[None] - centre.view(-1, 1, 1)).abs() for plane, centre in zip((y, x), centres.T, strict=True)]
    distance, nearest = _radius(*(torch.minimum(a, 2 - a) for a in across)).min(0)
    return nearest, distance


def _coloured(rng: np.random.Generator, nearest: Tensor, count: int) -> Tensor:
    return torch.tensor([_colour(rng, 0.75, 0.9) for _ in range(count)])[nearest].permute(2, 0, 1)


def _beans(rng: np.random.Generator) -> Tensor:
    nearest, distance = _cells(rng, 60)
    return _coloured(rng, nearest, 60) * (1.15 - 4 * distance).clamp(0.1, 1)


def _mosaic(rng: np.random.Generator) -> Tensor:
    dark, light = _two(rng)
    shades = torch.from_numpy(rng.random(40)).float()
    return _ramp(shades[_cells(rng, 40)[0]], dark, light)


def _night(rng: np.random.Generator) -> Tensor:
    dark, light = _two(rng)
    stars = (1.1 - 12 * _cells(rng, 40)[1]).clamp(0, 1)
    return torch.maximum(0.35 * _ramp(0.5 + 0.4 * _field(rng, 4), dark, light), stars[None])


def _wood(rng: np.random.Generator) -> Tensor:
    _, x = _axes(SIDE)
    return _ramp(0.5 + 0.5 * (6 * math.pi * x + 5 * _field(rng, 4)).sin(), *_two(rng))


def _marble(rng: np.random.Generator) -> Tensor:
    return _ramp((_field(rng, 4) + 0.5 * _field(rng, 8)).abs() * 1.6, *_two(rng))


def _bricks(rng: np.random.Generator) -> Tensor:
    y, x = _axes(SIDE)
    row = 4 * y
    return _ramp((((row % 1 < 0.2) | ((2 * x + 0.5 * (row.floor() % 2)) % 1 < 0.1)).float()), *_two(rng))


def _scales(rng: np.random.Generator) -> Tensor:
    y, x = _axes(SIDE)
    return _ramp(_radius((4 * y) % 1, 2 * ((4 * x + 0.5 * ((4 * y).floor() % 2)) % 1 - 0.5)) / 1.2, *_two(rng))


def _weave(rng: np.random.Generator) -> Tensor:
    y, x = _axes(SIDE)
    over = _odd(8 * y) ^ _odd(8 * x)
    return _ramp(torch.where(over, (8 * math.pi * y).sin().abs(), (8 * math.pi * x).sin().abs() * 0.5), *_two(rng))


TEXTURES: dict[str, Callable[[np.random.Generator], Tensor]] = {
    "beans": _beans, "mosaic": _mosaic, "night": _night, "wood": _wood, "marble": _marble, "bricks": _bricks,
    "scales": _scales, "weave": _weave,
}  # fmt: skip
