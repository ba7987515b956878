"""A second opinion on a run's pictures: another architecture, trained separately on the same photos.

    python scripts/judge.py RUN

prints, for each picture of a class in the run folder RUN, the probability that the visualized network gives it and the
class that the judge sees. The judge is kept with the tests (tests/assets), outside of the package.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightning_fv.functional import resize_images
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.weights import read_metadata, read_weights
from lightning_fv.report import read_picture
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import read_manifest

WEIGHTS = Path(__file__).parents[1] / "tests" / "assets" / "judge.safetensors"


class JudgeNet(nn.Module):
    """Plain convolutions with max pooling and GELU (VGG's layout, Simonyan & Zisserman 2015), 1.4 M parameters.

    No shortcut, no strided convolution, no ReLU: what fools the demo network's ResNet need not fool this one.

    Shape: normalised photos (B, 3, H, W) -> logits (B, num_classes).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        plan = ((3, 32), (32, 48), None, (48, 80), (80, 96), None, (96, 160), (160, 160), None, (160, 256), (256, 256))
        layers: list[nn.Module] = []
        for step in plan:
            if step is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(*step, 3, padding=1, bias=False), nn.BatchNorm2d(step[1]), nn.GELU()]
            if step == (3, 32):
                layers.append(nn.MaxPool2d(2))  # full resolution costs most and helps least
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x).amax((2, 3)))
        return logits


def load_judge(weights: Path = WEIGHTS) -> VisionNetwork:
    """The judge with its preprocessing and class names."""
    state, metadata = read_weights(weights), read_metadata(weights)
    categories = json.loads(metadata["categories"])
    module = JudgeNet(len(categories))
    module.load_state_dict(state)
    return VisionNetwork(
        module.eval().requires_grad_(False),
        mean=json.loads(metadata["mean"]),
        std=json.loads(metadata["std"]),
        input_size=tuple(json.loads(metadata["input_size"])),
        categories=categories,
        name="judge",
    )


@torch.no_grad()
def judge(network: VisionNetwork, pictures: Tensor) -> Tensor:
    """Probabilities (B, classes) that the judge gives to pictures (B, 3, H, W) in [0, 1], shown at its own size."""
    probabilities: Tensor = network(resize_images(pictures, network.input_size)).softmax(1)
    return probabilities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder of scripts/fit.py")
    run = parser.parse_args().run
    manifest = RunFolder(run).manifest
    if not manifest.is_file():
        parser.error(f"{run} holds no {manifest.name}; give the folder of a run, such as lightning_logs/version_0")
    network = load_judge()
    hits = sure = total = 0
    print(f"{'target':28} {'p(network)':>10}   {'judge sees':20} {'p(judge)':>8}  rank of target")
    for record in read_manifest(manifest):
        kind, _, category = record.target.partition(":")
        if kind not in ("logits", "probability") or record.image is None or category not in network.categories:
            continue
        pixels = torch.from_numpy(np.array(read_picture(run / record.image)))
        picture = pixels.permute(2, 0, 1)[None].float() / 255
        (probabilities,) = judge(network, picture)
        unit, seen = network.categories.index(category), int(probabilities.argmax())
        rank = 1 + int((probabilities > probabilities[unit]).sum())
        own = float(record.scores.get("probability", float("nan")))
        mark = "" if seen == unit else "  <- another class"
        print(
            f"{record.target:28} {own:10.3f}   {network.categories[seen]:20} {probabilities[seen]:8.3f}  {rank}{mark}"
        )
        hits, sure, total = hits + (seen == unit), sure + (own >= 0.9), total + 1
    if not total:
        parser.error(f"{run} holds no picture of a class that the judge knows")
    print(
        f"probability of at least 0.9 under the network: {sure} of {total}; top-1 under the judge: {hits} of {total} ({hits / total:.0%})"
    )


if __name__ == "__main__":
    main()
