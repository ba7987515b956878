"""Measure what pictures of hidden channels tell a network that never saw the channel: the two-choice test.

    python scripts/benchmark_quality.py --data PHOTOS [--network NAME] [--layers LAYER ...] [--recipes RECIPE ...] [--channels N]

After Borowski et al. 2021 ("Exemplary Natural Images Explain CNN Activations Better than State-of-the-Art Feature Visualization")
and Zimmermann et al. 2021, with a network in place of people. Given a hint of what a channel looks for, its picture or the photos
that excite it most, which of two photos does it respond to? One of them is among the twenty that excite it most, the other among
the half that excite it least; hints are never taken from the photos that are asked about. The judge (scripts/judge.py), another
network trained on the same photos, chooses the photo whose features are more alike to those of the hint: s = the mean, over
the hint's pictures, of the cosine similarity of features, each standardized over the photos. Of every channel 20 pairs are asked
about; the share of right answers is .5 by chance. ``score`` is the channel's activation of the picture over that of the photo that
excites it most. Units that fewer than twenty of the photos excite more than half of them do, such as a latent that is active on five, are not
asked about: some of the twenty would excite it no more than the others, and no answer would be right.

A layer may be ``sae:FILE``, the latents of a sparse autoencoder; a recipe may end in `` x4``: four pictures of each unit with a diversity
of 1. With --channels N, every k-th unit is asked about, so that there are N. Pictures of another size are scaled to that of the network.

PHOTOS are those of train_demo.py; of the validation photos of all classes, every other one gives hints. Each number is a mean over channels and
seeds, with the standard error over channels. Renders go to --runs and are not repeated; stop and continue at any time.
"""

import argparse
import io
import math
import re
import statistics
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from judge import load_judge, read_image
from PIL import Image
from series import Row
from torch import Tensor

from lightning_fv.functional import TwoChoiceTrials, resize_images
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.networks.sparse_autoencoder import read_sparse_autoencoder
from lightning_fv.runs.folder import RunFolder

# The judge's features: means over the map of its activations after three of its poolings, of small, middle and large receptive fields.
FEATURES = ("features.10", "features.17", "features.24")


def read_all(data: Path) -> Tensor:
    """The validation photos of all classes, uint8 (N, 3, 64, 64), in a fixed order."""
    photos: dict[str, Tensor] = {}
    for archive in sorted(data.glob("val*.tar")):
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name.endswith(".JPEG") and (content := tar.extractfile(member)):
                    with Image.open(io.BytesIO(content.read())) as photo:
                        photos[member.name] = torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)
    if not photos:
        raise SystemExit(f"{data}: no val*.tar with photos; give the folder of train_demo.py")
    # By the file's name, which is unrelated to its class, so that every other photo is of any class.
    return torch.stack([photos[name] for name in sorted(photos, key=lambda name: Path(name).name)])


@torch.no_grad()
def responses(network: VisionNetwork, pictures: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Mean over the map of every channel, by layer (N, C), of uint8 or float pictures (N, 3, H, W)."""
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    with network.frozen():
        for batch in torch.split(pictures, 100):
            batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch
            for layer, activation in network.activations(batch, layers).items():
                found[layer].append(activation.reshape(*activation.shape[:2], -1).mean(2))
    return {layer: torch.cat(parts) for layer, parts in found.items()}


class Features:
    """The judge's features, standardized over photos: each layer has the same weight, and each picture the norm 1."""

    def __init__(self, photos: Tensor) -> None:
        self.judge = load_judge()
        found = responses(self.judge, photos, FEATURES)
        self.mean = {layer: values.mean(0) for layer, values in found.items()}
        self.std = {layer: values.std(0).clamp(min=1e-6) for layer, values in found.items()}
        self.photos = self._standardized(found)

    def __call__(self, pictures: Tensor) -> Tensor:
        return self._standardized(responses(self.judge, pictures, FEATURES))

    def _standardized(self, found: dict[str, Tensor]) -> Tensor:
        parts = [(found[layer] - self.mean[layer]) / self.std[layer] for layer in FEATURES]
        unit = torch.cat([torch.nn.functional.normalize(part, dim=1) for part in parts], 1)
        return unit / math.sqrt(len(FEATURES))


def unit_responses(network: VisionNetwork, pictures: Tensor, layer: str) -> Tensor:
    """Mean over positions of every unit of a layer (N, C), or of every latent of ``sae:FILE`` after its nonlinearity."""
    if not layer.startswith("sae:"):
        return responses(network, pictures, [layer])[layer]
    autoencoder = read_sparse_autoencoder(layer.removeprefix("sae:"))
    if autoencoder.layer is None:
        raise SystemExit(f"{layer} does not name its layer")
    found = []
    with network.frozen(), torch.no_grad():
        for batch in torch.split(pictures, 50):
            batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch
            activation = network.activations(batch, [autoencoder.layer])[autoencoder.layer].flatten(2).transpose(1, 2)
            before = autoencoder.pre_activations(activation)
            found.append((before * autoencoder.active(before)).mean(1))
    return torch.cat(found)


def can_be_asked(activations: Tensor, trials: TwoChoiceTrials) -> Tensor:
    """Which units have only right answers: whether each of the best photos excites it more than the median, bool (U,), of activations (N, U)."""
    least_of_best = activations.gather(0, trials.best.T).amin(0)
    return least_of_best > activations[1::2].median(0).values


def text(values: Tensor) -> str:
    """Mean and standard error over channels."""
    return f"{float(values.mean()):.3f} ± {float(values.std()) / math.sqrt(len(values)):.3f}"


def shown_at(network: VisionNetwork, picture: Tensor) -> Tensor:
    """A picture (1, 3, H, W) at the size that the network and the judge were trained at."""
    return (
        picture if picture.shape[-2:] == network.input_size else resize_images(picture, network.input_size).clamp(0, 1)
    )


def pictures_of(folder: Path, layer: str) -> dict[int, list[Path]]:
    """The pictures of a run by channel, also of several pictures of a channel."""
    found: dict[int, list[Path]] = {}
    for record in RunFolder(folder).records():
        match = re.fullmatch(re.escape(layer) + r":([0-9]+)\b.*", record.target)
        if match and record.image is not None:
            found.setdefault(int(match[1]), []).append(folder / record.image)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="demo")
    parser.add_argument("--layers", nargs="+", default=["layer3", "layer4"])
    parser.add_argument("--recipes", nargs="*", default=["default"], help="of each a run of each seed")
    parser.add_argument("--channels", type=int, help="units of each layer; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("lightning_logs/quality"))
    args = parser.parse_args()
    network, photos = load_network(args.network), read_all(args.data)
    features = Features(photos)
    print(f"| {args.network}, {len(photos)} photos | right | score / best photo |")
    print("|---|---|---|")
    for layer in args.layers:
        activations = unit_responses(network, photos, layer)
        trials, units = TwoChoiceTrials.of(activations), activations.shape[1]
        asked = range(0, units, max(1, units // (args.channels or units)))[: args.channels]
        possible = can_be_asked(activations, trials)
        chosen = [unit for unit in asked if possible[unit]]
        if len(chosen) < len(asked):
            print(
                f"| {layer}, not asked about: too few photos excite them | {len(asked) - len(chosen)} of {len(asked)} | |"
            )
        channels = torch.tensor(chosen)
        for count in (1, 9):
            hints = features.photos[trials.hints[channels][:, :count]]
            right = trials.right(channels, hints, features.photos)
            print(f"| {layer}, {count} best photo{'s' if count > 1 else ''} | {text(right)} | |")
        for recipe in args.recipes:
            shares, others, scores = [], [], []
            for seed in range(args.seeds):
                name, times, facets = recipe.partition(" x")
                wanted = "all" if len(chosen) == units else ",".join(map(str, chosen))
                words = f"--config {name} --targets '{layer}:{wanted}{times}{facets}' --batch-size 32"
                words += " --model.diversity 1" if facets else ""
                made = pictures_of(Row(recipe, words, args.network).render(args.runs, seed), layer)
                if missing := len(set(chosen) - set(made)):
                    raise SystemExit(f"{missing} units of {layer} have no picture by {recipe}, seed {seed}")
                shown = [torch.cat([shown_at(network, read_image(path)) for path in made[int(c)]]) for c in channels]
                hints = torch.stack([features(pictures) for pictures in shown])
                shares.append(trials.right(channels, hints, features.photos))
                others.append(trials.right(channels, hints.roll(1, 0), features.photos))
                best = torch.stack(
                    [unit_responses(network, p, layer)[:, c].max() for p, c in zip(shown, channels, strict=True)]
                )
                scores.append(best / trials.top[channels].clamp(min=1e-6))
            means = [torch.stack(values).mean(0) for values in (shares, others, scores)]
            print(
                f"| {layer}, picture by `{recipe}` | {text(means[0])} | {statistics.median(means[2].tolist()):.2f} (median) |"
            )
            print(f"| {layer}, picture of another channel | {text(means[1])} | |", flush=True)


if __name__ == "__main__":
    main()
