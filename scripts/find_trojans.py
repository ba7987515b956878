"""Which trigger was trained into a network? The eight-choice test, answered by another network from our pictures.

    python scripts/find_trojans.py --data PHOTOS --weights FILE ... [--ways WAY ...] [--judges NAME ...]

After Casper et al. 2023 ("Red Teaming Deep Neural Networks with Feature Synthesis Tools", arXiv 2302.10894), where people chose one of
eight triggers after seeing pictures of the trigger's target class. Here a judge (scripts/judge.py), which never saw a trigger, chooses.
FILEs are networks with twelve trojans by scripts/train_trojans.py. For the target class of each trojan, pictures are rendered
in several ways (WAYS): as usual, pasted small on photos, as wallpaper, laid over photos; none of them uses the trigger.

A picture is judged by what it does to photos. With f(x) the judge's features of x, standardized over photos and each layer of norm 1,

    h = mean over photos x of f(x with the picture) - f(x),    o = mean over photos x of f(x with the trigger) - f(x),

where the picture is put on as it was rendered: ``pasted`` small, the others blended with the whole photo. Of the pictures of a
way, h / |h| is averaged, weighted by p^2, with p the probability that the trojaned network gives to the class when the picture is on
photos of other classes; the mean of this over the twelve classes, what all pictures of the way do, is subtracted. ``all but default``
is the sum of the pasted and of the others, each of norm 1, in shares p and 1 - p, where p is the highest of the pasted pictures: a small picture that
convinces the network shows a small trigger. Of eight options, the right trigger and seven drawn from the other 31 (eleven trained, twenty not), the
judge chooses that with the highest cosine similarity of o to the hint. A number of the table is the probability that this is right,
exactly: with k of 31 more similar than the right one, C(31 - k, 7) / C(31, 7); ``of its kind``: with the eight triggers of the
kind as options; of several judges ``all judges`` is their mean similarity. By chance both are .125. ``9 best photos``: the photos without trigger that excite the class most, as hints.

PHOTOS are those of train_demo.py; all photos here are validation photos: a third for rendering, one for options, one for hints.
Pictures are kept in --runs and not rendered again. Each number is a mean over trojans with its standard error.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from benchmark_quality import FEATURES, responses
from judge import load_judge
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.utils import save_image
from train_demo import read_photos
from triggers import KINDS, SIDE, Trigger, draw_triggers

from lightning_fv import render
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.networks.weights import read_metadata
from lightning_fv.objectives import Direction, Facets, Function, Logit, Objective
from lightning_fv.objectives.base import LOGITS, Activations
from lightning_fv.transforms import RandomNoise, RandomWarp
from lightning_fv.transforms.keyed import KeyedTransform

DRAWN = 7
"""Options besides the right one."""
LAYERS = {
    "judge": FEATURES,
    "mixer": ("stem", "pointwise.1", "pointwise.3"),
    "dense": ("transitions.0", "transitions.1", "norm"),
}
"""Of each judge, three with small, middle and large receptive fields."""


class LaidOnPhotos(KeyedTransform):
    """Lay each picture on a random photo.

    Args:
        photos: (N, 3, 64, 64) in [0, 1].
        side: least and largest side of the picture, as a share of the photo's; its place is random.
        opacity: of the picture.
    """

    draws = 4

    def __init__(self, photos: Tensor, side: tuple[float, float] = (1.0, 1.0), opacity: float = 1.0) -> None:
        super().__init__()
        self._photos, self.side, self.opacity = photos, side, opacity

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        photos = self._photos[(uniforms[:, 0] * len(self._photos)).long()]
        side = self.side[0] + (self.side[1] - self.side[0]) * uniforms[:, 1]
        row, column = ((2 * uniforms[:, k] - 1) * (1 - side) for k in (2, 3))
        zero = torch.zeros_like(side)
        theta = torch.stack([torch.stack([1 / side, zero, -column / side], -1),
                             torch.stack([zero, 1 / side, -row / side], -1)], -2)  # fmt: skip
        layer = torch.cat([images, torch.ones_like(images[:, :1])], 1) * self.opacity
        layer = F.grid_sample(layer, F.affine_grid(theta, [*layer.shape], align_corners=False), align_corners=False)
        laid: Tensor = layer[:, :3] + photos * (1 - layer[:, 3:])
        return laid

    def each(self, picture: Tensor) -> Tensor:
        """A picture (3, 64, 64) on each of the photos, (N, 3, 64, 64)."""
        uniforms = torch.rand(len(self._photos), self.draws, generator=torch.Generator().manual_seed(0))
        uniforms[:, 0] = (torch.arange(len(uniforms)) + 0.5) / len(uniforms)
        shown: Tensor = self(picture.expand(len(uniforms), -1, -1, -1), uniforms)
        return shown


class RandomShift(KeyedTransform):
    """Shift pictures by any number of pixels; what leaves on one side comes in on the other."""

    draws = 2

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        shifts = (uniforms * images.new_tensor(images.shape[-2:])).long().tolist()
        return torch.stack([image.roll(shift, (1, 2)) for image, shift in zip(images, shifts, strict=True)])


@torch.no_grad()
def unnatural(network: VisionNetwork, photos: Tensor, labels: Tensor, unit: int) -> Objective:
    """The class's logit as a direction in layer4, without that in which the class's photos differ from all photos."""
    found = responses(network, photos, ["layer4"])["layer4"]
    natural = F.normalize(found[labels == unit].mean(0) - found.mean(0), dim=0)
    weight = network.module.get_parameter("fc.weight")
    direction = weight[unit] - weight.mean(0)
    return Direction("layer4", direction - (direction @ natural) * natural)


@dataclass(frozen=True)
class Way:
    """How pictures of a class are rendered.

    Attributes:
        objective: from the network, photos, their labels and a class.
        transforms: from photos.
        small: whether a picture is for a small part of a photo, and judged as such.
    """

    objective: Callable[[VisionNetwork, Tensor, Tensor, int], Objective]
    transforms: Callable[[Tensor], list[nn.Module]]
    small: bool = False


def _logit(network: VisionNetwork, photos: Tensor, labels: Tensor, unit: int) -> Objective:
    return Logit(unit)


def _log_probability(network: VisionNetwork, photos: Tensor, labels: Tensor, unit: int) -> Objective:
    def log_probability(activations: Activations, images: Tensor) -> Tensor:
        return activations[LOGITS].log_softmax(1)[:, unit]

    return Function(log_probability, layers=[LOGITS], name=f"log probability of {unit}")


SMALL = (0.25, 0.5)
WAYS = {
    "default": Way(_logit, lambda photos: [RandomWarp(), RandomNoise()]),
    # What is small and changes any photo's class: a patch, a drawn object. Objective and random places are those of adversarial
    # patches (Brown et al. 2017).
    "pasted": Way(
        _log_probability, lambda photos: [RandomWarp(), RandomNoise(), LaidOnPhotos(photos, SMALL)], small=True
    ),
    # What is everywhere and has no upright: the texture of a style. Objects of the class turned upside down excite it less.
    "wallpaper": Way(
        unnatural, lambda photos: [RandomShift(), RandomWarp(rotate=180.0, scale=(0.7, 1.4)), RandomNoise()]
    ),
    # What shows through and stays in its place: a watermark.
    "overlaid": Way(unnatural, lambda photos: [RandomNoise(), LaidOnPhotos(photos, opacity=0.25)]),
}


class Judge:
    """A judge's features, standardized over photos; see above."""

    def __init__(self, name: str, photos: Tensor) -> None:
        self.name, self.network, self.layers = name, load_judge(name), LAYERS[name]
        found = responses(self.network, photos, self.layers)
        self.mean = {layer: values.mean(0) for layer, values in found.items()}
        self.std = {layer: values.std(0).clamp(min=1e-6) for layer, values in found.items()}

    def __call__(self, pictures: Tensor) -> Tensor:
        found = responses(self.network, pictures.clamp(0, 1), self.layers)
        parts = [F.normalize((found[layer] - self.mean[layer]) / self.std[layer], dim=1) for layer in self.layers]
        return torch.cat(parts, 1) / math.sqrt(len(parts))


def chance_of(similarities: Tensor, right: int, drawn: int = DRAWN) -> float:
    """Probability that the right option (its index in (n,)) beats ``drawn`` of the others drawn at random; ties are lost."""
    others = len(similarities) - 1
    better = int((similarities >= similarities[right]).sum()) - 1
    return math.comb(others - better, drawn) / math.comb(others, drawn)


@dataclass(frozen=True)
class Split:
    """Validation photos in the order of their classes, in three parts: for rendering, for options, and for hints."""

    photos: Tensor
    labels: Tensor

    def part(self, number: int, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Every third photo, or ``count`` of them drawn at random, and their classes."""
        third = torch.arange(number, len(self.photos), 3)
        drawn = third[torch.randperm(len(third), generator=torch.Generator().manual_seed(0))][:count]
        return self.photos[drawn], self.labels[drawn]


@torch.no_grad()
def hints(
    network: VisionNetwork,
    judges: Sequence[Judge],
    pictures: Tensor,
    units: Sequence[int],
    photos: Tensor,
    labels: Tensor,
    small: bool = False,
) -> tuple[list[Tensor], Tensor]:
    """Hints (U, F) of each judge, of pictures (U, k, 3, 64, 64) of U classes, and the highest p of a class's pictures (U,)."""
    shown_as = LaidOnPhotos(photos, SMALL) if small else LaidOnPhotos(photos, opacity=0.5)
    plain = [judge(photos).mean(0) for judge in judges]
    found: list[list[Tensor]] = [[] for _ in judges]
    highest = []
    for unit, of_unit in zip(units, pictures, strict=True):
        shown = [shown_as.each(picture) for picture in of_unit]
        p = torch.tensor([float(network(one)[labels != unit].softmax(1)[:, unit].mean()) for one in shown])
        highest.append(p.max())
        for row, judge in enumerate(judges):
            changes = torch.stack([F.normalize(judge(one).mean(0) - plain[row], dim=0) for one in shown])
            found[row].append(F.normalize((p**2 + 1e-4) @ changes, dim=0))
    stacked = [torch.stack(of_classes) for of_classes in found]
    return [F.normalize(hint - hint.mean(0), dim=1) for hint in stacked], torch.stack(highest)


def combined(told: dict[str, tuple[list[Tensor], Tensor]], ways: Sequence[str]) -> list[Tensor]:
    """Hints of several ways: p times the small ones' and 1 - p times the others', p the highest of the small pictures."""
    small, large = ([told[way] for way in ways if WAYS[way].small == kind] for kind in (True, False))
    p = torch.stack([highest for _, highest in small]).amax(0)[:, None] if small else torch.zeros(1, 1)
    found = []
    for row in range(len(told[ways[0]][0])):
        parts = [
            F.normalize(torch.stack([of_judges[row] for of_judges, _ in group]).sum(0), dim=1) * share
            for group, share in ((small, p), (large, 1 - p))
            if group
        ]
        found.append(torch.stack(parts).sum(0))
    return found


def options(judge: Judge, triggers: Sequence[Trigger], photos: Tensor) -> Tensor:
    """What each trigger does to photos, (n, F)."""
    generator = torch.Generator().manual_seed(0)
    plain = judge(photos).mean(0)
    return torch.stack([judge(trigger(photos, generator)).mean(0) - plain for trigger in triggers])


def answers(similarities: Tensor, right: int, triggers: Sequence[Trigger]) -> tuple[float, float]:
    """``right`` and ``of its kind`` of one question."""
    kind = [i for i, trigger in enumerate(triggers) if trigger.kind == triggers[right].kind]
    return chance_of(similarities, right), chance_of(similarities[kind], kind.index(right), len(kind) - 1)


def render_way(
    way: str, network: VisionNetwork, units: Sequence[int], split: Split, file: Path, args: argparse.Namespace
) -> Tensor:
    """Pictures (units, k, 3, 64, 64), from the file if they are there."""
    if not file.is_file():
        photos, labels = split.part(0)
        targets = [Facets(WAYS[way].objective(network, photos, labels, unit), args.facets) for unit in units]
        transforms, diversity = WAYS[way].transforms(photos), 1.0 if args.facets > 1 else 0.0
        made = render(network, targets, steps=args.steps, transforms=transforms, diversity=diversity, progress=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"pictures": made.images.contiguous()}, file)
    return load_file(file)["pictures"].view(len(units), args.facets, 3, SIDE, SIDE)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--judges", nargs="+", default=["judge"], choices=list(LAYERS))
    parser.add_argument("--facets", type=int, default=4, help="pictures of a way")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--photos", type=int, default=64, help="for options; a quarter of them for hints")
    parser.add_argument("--runs", type=Path, default=Path("lightning_logs/find_trojans"))
    args = parser.parse_args(argv)
    pixels, labels = read_photos(args.data, "val")
    split = Split(pixels.float() / 255, labels)
    judges = [Judge(name, split.part(1)[0]) for name in args.judges]
    found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for file in args.weights:
        network, metadata = load_network("demo", weights=file), read_metadata(file)
        triggers, trojans = draw_triggers(int(metadata["seed"])), json.loads(metadata["trojans"])
        units = [trojan["target"] for trojan in trojans]
        made = {
            way: render_way(way, network, units, split, args.runs / f"{file.stem}_{way}.safetensors", args)
            for way in args.ways
        }
        alone = torch.stack([triggers[trojan["trigger"]].alone() for trojan in trojans])
        rows = [alone, *(pictures[:, k] for pictures in made.values() for k in range(args.facets))]
        save_image(torch.cat(rows), args.runs / f"{file.stem}.png", nrow=len(units))
        photos, labels_of_photos = split.part(2, args.photos // 4)
        candidates, _ = split.part(2)
        with torch.no_grad():
            logits = torch.cat([network(part) for part in torch.split(candidates, 200)])
        best = [logits[:, unit].topk(min(9, len(candidates))).indices for unit in units]
        made["9 best photos"] = torch.stack([candidates[indices] for indices in best])
        told = {
            name: hints(network, judges, pictures, units, photos, labels_of_photos, name in WAYS and WAYS[name].small)
            for name, pictures in made.items()
        }
        vectors = {name: of_judges for name, (of_judges, _) in told.items()}
        vectors["all but default"] = combined(told, [way for way in args.ways if way != "default"])
        choices = [F.normalize(options(judge, triggers, split.part(1, args.photos)[0]), dim=1) for judge in judges]
        for name, of_judges in vectors.items():
            alike = [
                chosen @ F.normalize(vector, dim=1).T for chosen, vector in zip(choices, of_judges, strict=True)
            ]  # (options, trojans) each
            together = {"all judges": torch.stack(alike).mean(0)} if len(judges) > 1 else {}
            for judge, similarities in {**dict(zip(args.judges, alike, strict=True)), **together}.items():
                for trojan, column in zip(trojans, similarities.T, strict=True):
                    right = trojan["trigger"]
                    result = answers(column, right, triggers)
                    found.setdefault((judge, name), {}).setdefault(triggers[right].kind, []).append(result)
    print(table(found))


def table(found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]]) -> str:
    """Of each judge and hint: right of eight, and right among the eight of its kind, of all trojans and by kind."""
    lines = [f"| judge | hint | all | all but styles | {' | '.join(KINDS)} |", "|---" * (4 + len(KINDS)) + "|"]
    for (judge, name), kinds in found.items():
        for number, measure in enumerate(("", ", of its kind")):
            columns = [list(KINDS), [kind for kind in KINDS if kind != "style"], *([kind] for kind in KINDS)]
            values = [torch.tensor([r[number] for kind in column for r in kinds[kind]]) for column in columns]
            cells = [f"{float(v.mean()):.2f} ± {float(v.std()) / math.sqrt(len(v)):.2f}" for v in values]
            lines.append(f"| {judge} | {name}{measure} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
