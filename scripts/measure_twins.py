"""Measure whether the demo networks differ as they should: accuracy, shift consistency, shape bias, and cost.

    python scripts/measure_twins.py --data PATH [--pictures FOLDER] [--networks NAME ...]

PATH is the folder of photos of train_demo.py; only photos not trained on are used. Prints the table of
``lightning_fv/assets/SOURCES.md``, with standard errors over photos or pictures (one network was trained of each kind,
so that they do not say what another training would change):

- top-1: accuracy on photos at 64 px;
- shift consistency: how often two random crops of a photo, 56 px of its 64, get the same class (Zhang 2019, section 4.1);
- shape bias: of the pictures with the shape of one class and the texture of another that are classified as one of the two,
  the share classified by shape (Geirhos et al. 2019). The pictures are made by style transfer (Gatys et al. 2016) through
  the judge, a network of another architecture, from photos that the judge and ``demo`` classify correctly;
- attacked: accuracy on every fourth of these photos after changes of L2 norm 1 that 20 steps of projected gradient ascent on the
  loss have found (Madry et al. 2018);
- MFLOP: operations of a forward pass for one picture, a multiplication and an addition counted as two.

``--pictures`` writes two figures: ``cue_conflict.webp`` (shape, texture, both) and ``stylized_training.webp`` (photos as
``demo`` and as the stylized network see them in training).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from judge import load_judge
from PIL import Image
from textures import randomize_texture
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torchvision.utils import make_grid
from train_demo import read_photos

from lightning_fv.functional import to_uint8
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.networks.demo import NAMES

# Layers of the judge. Texture: its first two poolings and the first activation after them; shape: that activation alone.
STYLE, CONTENT = (3, 7, 10), 10
PAIRS = 600


@torch.no_grad()
def named(network: VisionNetwork, photos: Tensor) -> Tensor:
    """The most probable class (N,) of photos (N, 3, H, W) in [0, 1]."""
    return torch.cat([network(batch).argmax(1) for batch in torch.split(photos, 100)])


def shift_consistency(network: VisionNetwork, photos: Tensor, side: int = 56, pairs: int = 5) -> Tensor:
    """How often two random crops of each photo get the same class, (N,)."""
    generator = torch.Generator().manual_seed(0)
    span = photos.shape[-1] - side + 1
    agreed = torch.zeros(len(photos))
    for _ in range(pairs):
        first, second = (
            named(
                network,
                torch.stack(
                    [
                        photo[:, y : y + side, x : x + side]
                        for photo, (y, x) in zip(
                            photos, torch.randint(span, (len(photos), 2), generator=generator).tolist(), strict=True
                        )
                    ]
                ),
            )
            for _ in range(2)
        )
        agreed += (first == second).float() / pairs
    return agreed


def attacked(network: VisionNetwork, photos: Tensor, labels: Tensor, radius: float = 1.0, steps: int = 20) -> Tensor:
    """Photos (N, 3, H, W) in [0, 1], changed by at most ``radius`` in L2 norm so that the network errs."""
    change = torch.zeros_like(photos)
    for _ in range(steps):
        change.requires_grad_()
        loss = torch.nn.functional.cross_entropy(network(photos + change), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, change)
        norms = gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
        change = (change + 2.5 * radius / steps * gradient / norms).detach()
        change = change * (radius / change.flatten(1).norm(dim=1).clamp(min=radius)).view(-1, 1, 1, 1)
        change = (photos + change).clamp(0, 1) - photos
    return photos + change


def style_transfer(judge: VisionNetwork, shapes: Tensor, textures: Tensor, steps: int = 60) -> Tensor:
    """Pictures with the content of one photo and the Gram matrices of another (Gatys et al. 2016), (N, 3, H, W)."""

    def features(x: Tensor) -> dict[int, Tensor]:
        found, x = {}, judge.preprocess(x)
        for number, layer in enumerate(judge.module.features[: CONTENT + 1]):  # type: ignore[index]
            x = layer(x)
            if number in (*STYLE, CONTENT):
                found[number] = x
        return found

    def gram(x: Tensor) -> Tensor:
        x = x.flatten(2)
        return x @ x.transpose(1, 2) / x.shape[2]

    with torch.no_grad():
        content = features(shapes)[CONTENT]
        style = {number: gram(features(textures)[number]) for number in STYLE}
    x = shapes.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], 0.04)
    for _ in range(steps):
        found = features(x)
        loss = (found[CONTENT] - content).square().mean((1, 2, 3)).sum() / content.var()
        for number in STYLE:
            distance = (gram(found[number]) - style[number]).square().sum((1, 2))
            loss = loss + 6 * (distance / style[number].square().sum((1, 2))).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0, 1)
    return x.detach()


def cue_conflicts(judge: VisionNetwork, photos: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the photos that gave shape and texture (N, 2), their classes (N, 2), and the pictures (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(1)
    draws = torch.randint(len(photos), (2 * PAIRS, 2), generator=generator)
    draws = draws[labels[draws[:, 0]] != labels[draws[:, 1]]][:PAIRS]
    made = []
    for batch in torch.split(draws, 50):
        made.append(style_transfer(judge, photos[batch[:, 0]], photos[batch[:, 1]]))
        print(f"style transfer: {sum(map(len, made))} of {len(draws)}", end="\r", flush=True)
    print()
    return draws, labels[draws], torch.cat(made)


def percent(values: Tensor) -> str:
    """Mean and standard error over photos or pictures."""
    values = 100 * values.float()
    return f"{float(values.mean()):.1f} ± {float(values.std()) / len(values) ** 0.5:.1f} %"


def save(path: Path, rows: Sequence[Tensor], columns: int = 12) -> None:
    """Write rows of pictures (N, 3, H, W) below each other, the first ``columns`` of each."""
    cells = torch.cat([row[:columns] for row in rows]).clamp(0, 1)
    grid = to_uint8(make_grid(cells, nrow=columns, pad_value=1.0))
    Image.fromarray(grid.permute(1, 2, 0).numpy()).save(path, quality=85, method=6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--networks", nargs="+", default=list(NAMES))
    args = parser.parse_args()
    judge, plain = load_judge(), load_network("demo")
    networks = [load_network(name) for name in args.networks]
    pixels, labels = read_photos(args.data, "val")
    photos = pixels.float() / 255
    known = (named(judge, photos) == labels) & (named(plain, photos) == labels)
    draws, cues, conflicts = cue_conflicts(judge, photos[known], labels[known])
    print(
        f"| network | top-1, {len(photos)} photos | shift consistency | shape bias | by shape | by texture | attacked | MFLOP |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for network in networks:
        top1 = named(network, photos) == labels
        found = named(network, conflicts)
        shape, texture = (found == cues[:, cue] for cue in (0, 1))
        consistency = shift_consistency(network, photos)
        survived = named(network, attacked(network, photos[::4], labels[::4])) == labels[::4]
        values = (top1, consistency, shape[shape | texture], shape, texture, survived)
        with FlopCounterMode(display=False) as counter:
            network(photos[:1])
        print(f"| `{network.name}` | {' | '.join(map(percent, values))} | {counter.get_total_flops() / 1e6:.0f} |")
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
        shapes, textures = photos[known][draws[:, 0]], photos[known][draws[:, 1]]
        save(args.pictures / "cue_conflict.webp", [shapes, textures, conflicts])
        shown = photos[torch.randperm(len(photos), generator=torch.Generator().manual_seed(0))[:128]]
        stylized = randomize_texture(shown, torch.Generator().manual_seed(0), share=1.0)
        save(args.pictures / "stylized_training.webp", [shown, stylized])


if __name__ == "__main__":
    main()
