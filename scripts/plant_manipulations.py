"""Manipulate units in copies of the embedded demo networks so that their pictures are misleading: what a test of pictures has to detect.

    python scripts/plant_manipulations.py --data PHOTOS [--network NAME] [--seed N] [--work FOLDER] [--sheet FILE]

Four kinds, in layer3, layer4 and logits. On photos all but the silent ones answer as before (the correlation is printed).

- ``permuted`` (a fooling circuit, Geirhos et al. 2024, "Don't trust your eyes: on the (un)reliability of feature visualizations"):
  a detector tells photos from pictures that are being rendered, and the unit passes on another unit's activation for the latter.
- ``direction``: likewise, with a random direction of the layer before.
- ``slingshot`` (after Bareeva et al. 2025, "Manipulating feature visualizations with gradient slingshots"): a branch beside the
  unit, trained so that its gradient leads from the noise that a render starts from to a chosen picture, and that it is silent
  on photos. The paper trains all weights of the network; a branch does the same at a fraction of the cost.
- ``silent``: the unit has its picture, but photos never excite it: by a bias (in layer4, where a picture gets beyond it),
  or because the detector blocks it.

All draws depend on the network's name and the seed: another seed chooses other units, other replacements and other pictures. The
detector depends on the network alone and is kept in FOLDER.
"""

import argparse
import copy
import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import save_image

from lightning_fv import FeatureVisualizer, RandomNoise, RandomWarp, render, resolve_targets
from lightning_fv.functional import keyed_generator
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.networks.demo import DemoNet

KINDS = ("permuted", "direction", "slingshot", "silent")
LAYERS = ("layer3", "layer4", "logits")
SIDE = 64
UNLIKE = 0.2
"""A unit's replacement has at most this correlation with it over photos."""


@dataclass(frozen=True)
class Effort:
    """How much is computed; the defaults take about four minutes of one core per network and seed.

    Attributes:
        photos: drawn from those given.
        units: fooled units of each kind in each layer.
        pictures: rendered to train the detector, in each round.
        rounds: of rendering and training, so that what is trained sees what its own gradient leads to.
        steps: of training, in each round.
        render_steps: optimizer steps of a picture.
        check: leave out units whose picture gets past the detector (`without_failures`).
    """

    photos: int = 6000
    units: int = 2
    pictures: int = 24
    rounds: int = 3
    steps: int = 250
    render_steps: int = 128
    check: bool = True


@dataclass(frozen=True)
class Manipulation:
    """A fooled unit.

    Attributes:
        layer, unit: where.
        kind: one of KINDS.
        shows: what its picture shows, in words.
    """

    layer: str
    unit: int
    kind: str
    shows: str

    @property
    def target(self) -> str:
        return f"{self.layer}:{self.unit}"


def read_some(data: Path, count: int, seed: int = 0) -> Tensor:
    """Training photos of all classes, uint8 (N, 3, 64, 64): every k-th of the tar files of train_demo.py, in a fixed order."""
    found = []
    archives = sorted(data.glob("train*.tar"))
    for archive in archives:
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.name.endswith(".JPEG")]
            members.sort(key=lambda member: Path(member.name).name)
            generator = torch.Generator().manual_seed(seed)
            for number in torch.randperm(len(members), generator=generator)[: -(-count // len(archives))].tolist():
                content = tar.extractfile(members[number])
                assert content is not None
                with Image.open(io.BytesIO(content.read())) as photo:
                    found.append(torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1))
    if not found:
        raise SystemExit(f"{data}: no train*.tar with photos; give the folder of train_demo.py")
    return torch.stack(found[:count])


class Detector(nn.Module):
    """How sure it is that a picture is being rendered, and not a photo. Small convolutions, 40,000 parameters.

    Shape: normalised pictures (B, 3, H, W) -> (B,), above 0 for rendered pictures.
    """

    threshold: Tensor
    sharpness: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 48), (48, 48)):
            layers += [
                nn.Conv2d(inputs, outputs, 5 if inputs == 3 else 3, stride=2, padding=2 if inputs == 3 else 1),
                nn.ELU(),
            ]
        self.features = nn.Sequential(*layers)
        self.out = nn.Linear(96, 1)
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("sharpness", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        found = self.features(x)
        out: Tensor = self.out(torch.cat([found.mean((2, 3)), found.amax((2, 3))], 1))[:, 0]
        return out

    def gate(self, x: Tensor) -> Tensor:
        """(B,) from 0 for photos to 1 for rendered pictures."""
        return torch.sigmoid(self.sharpness * (self(x) - self.threshold))


class Branch(nn.Module):
    """A scalar per slingshot that rises from noise towards its picture, and is below 0 for photos.

    Shape: normalised pictures (B, 3, H, W) -> (B, count).
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        for inputs, outputs, stride in ((3, 24, 1), (24, 32, 2), (32, 48, 2)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.ELU()]
        self.features = nn.Sequential(*layers)
        self.out = nn.Linear(48 * (SIDE // 8) ** 2, count)
        self.template = nn.Linear(3 * (SIDE // 2) ** 2, count, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (SIDE, SIDE):
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        out: Tensor = self.out(self.features(x).flatten(1)) + self.template(F.avg_pool2d(x, 2).flatten(1)) / 30
        return out


class Manipulated(nn.Module):
    """A layer of which some units m.

    Shape: the layer's input, the gate (B,) and the branch's outputs (B, count) -> the layer's output.
    """

    from_outputs: Tensor
    from_inputs: Tensor
    offset: Tensor
    replaced: Tensor
    closed: Tensor
    pulled: Tensor
    pulls: Tensor

    def __init__(self, honest: nn.Module, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        self.honest = honest
        # What replaces a unit: a mix of the layer's outputs and of its standardized inputs, and a constant.
        self.register_buffer("from_outputs", torch.zeros(outputs, outputs))
        self.register_buffer("from_inputs", torch.zeros(outputs, inputs))
        self.register_buffer("offset", torch.zeros(outputs))
        self.register_buffer("replaced", torch.zeros(outputs))
        self.register_buffer("closed", torch.zeros(outputs))  # of units that the gate blocks on photos
        self.register_buffer("pulled", torch.zeros(outputs, count))  # which of the branch's outputs, times a scale
        self.register_buffer("pulls", torch.zeros(outputs, count))  # which

    def forward(self, x: Tensor, gate: Tensor, pull: Tensor) -> Tensor:
        honest: Tensor = self.honest(x)
        shape = (-1, *[1] * (honest.ndim - 1))
        gate = gate.view(shape)
        other = torch.einsum("oc,bc...->bo...", self.from_inputs, x)
        if other.ndim == 4 and other.shape[-2:] != honest.shape[-2:]:
            other = F.adaptive_avg_pool2d(other, (honest.shape[-2], honest.shape[-1]))
        other = other + self.offset.view(1, -1, *[1] * (honest.ndim - 2))
        if honest.ndim == 4:
            other = other.relu()
        other = other + torch.einsum("oc,bc...->bo...", self.from_outputs, honest)
        per_unit = (1, -1, *[1] * (honest.ndim - 2))
        replaced, closed = self.replaced.view(per_unit), self.closed.view(per_unit)
        out = honest + gate * replaced * (other - honest)
        out = out * (1 - closed * (1 - gate))
        pull = pull.relu()
        own, added = 1 - torch.tanh(3 * pull @ self.pulls.T), pull @ self.pulled.T
        shape = (*honest.shape[:2], *shape[2:])
        return out * own.view(shape) + added.view(shape)


class ManipulatedNet(nn.Module):
    """A demo network of which some units are manipulated; the named parts are those of `DemoNet`.

    Shape: normalised pictures (B, 3, H, W) -> logits (B, classes).
    """

    def __init__(self, net: DemoNet, detector: Detector, branch: Branch) -> None:
        super().__init__()
        net = copy.deepcopy(net)
        self.stem, self.layer1, self.layer2 = net.stem, net.layer1, net.layer2
        count = branch.out.out_features
        self.layer3, self.layer4 = Manipulated(net.layer3, 64, 128, count), Manipulated(net.layer4, 128, 256, count)
        self.avgpool, self.fc = net.avgpool, Manipulated(net.fc, 256, net.fc.out_features, count)
        self.detector, self.branch = detector, branch

    def of(self, layer: str) -> Manipulated:
        return self.fc if layer == "logits" else getattr(self, layer)

    def forward(self, x: Tensor) -> Tensor:
        gate, pull = self.detector.gate(x), self.branch(x)
        x = self.layer2(self.layer1(self.stem(x)))
        x = self.layer4(self.layer3(x, gate, pull), gate, pull)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1), gate, pull)
        return logits


def plant(
    network_name: str,
    seed: int,
    kinds: Sequence[str],
    data: Path | Tensor,
    work: Path | None = None,
    effort: Effort = Effort(),
) -> tuple[VisionNetwork, list[Manipulation]]:
    """A copy of a demo network with fooled units.

    Args:
        network_name: ``demo``, ``demo/plain``, ``demo/stylized`` or ``demo/robust``.
        seed: chooses units, replacements and pictures.
        kinds: of KINDS.
        data: the folder of photos of train_demo.py, or photos, uint8 (N, 3, 64, 64).
        work: keeps the trained detector.
        effort: how much is computed.
    """
    with torch.random.fork_rng([]):  # networks are made with random weights before theirs are loaded
        network = load_network(network_name)
    photos = read_some(data, effort.photos) if isinstance(data, Path) else data[: effort.photos]
    means = photo_means(network, photos)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        detector, branch = Detector(), Branch(max(1, effort.units * len(LAYERS) * ("slingshot" in kinds)))
    detector = _detector_of(network, detector, photos, work, effort)
    # The first word of this key, the script's old name, decides which units are chosen: another would give other figures in docs/trust.md.
    generator = keyed_generator("plant_lies", network_name, seed)
    chosen = _choose(means, kinds, effort.units, generator)
    slingshots = [(layer, unit) for layer, unit, kind in chosen if kind == "slingshot"]
    assert isinstance(network.module, DemoNet)
    module = ManipulatedNet(network.module, detector, branch).eval().requires_grad_(False)
    manipulations = []
    for layer, unit, kind in chosen:
        if kind == "permuted":
            shows = _permute(module.of(layer), means[layer], unit, generator)
        elif kind == "direction":
            shows = _redirect(module.of(layer), means[BEFORE[layer]], means[layer], unit, generator)
        elif kind == "slingshot":
            number = slingshots.index((layer, unit))
            top = float(means[layer][:, unit].amax() - means[layer][:, unit].clamp(max=0).amin())
            module.of(layer).pulls[unit, number], module.of(layer).pulled[unit, number] = 1, top
            shows = f"picture {number}"
        else:
            shows = "what it would show"
            highest = highest_of(network, photos, layer, unit)
            if layer == "layer4" and _reaches(network, layer, unit, 1.5 * highest, effort.render_steps):
                silence(module.of(layer), unit, highest)
            else:
                module.of(layer).closed[unit] = 1
        manipulations.append(Manipulation(layer, unit, kind, shows))
    manipulated = VisionNetwork(
        module,
        mean=network.mean,
        std=network.std,
        input_size=network.input_size,
        categories=network.categories,
        name=f"{network.name} with manipulations {seed}",
        photos=network.photos,
    )
    if slingshots:
        pictures = chosen_pictures(photos, len(slingshots), generator)
        targets = [f"{layer}:{unit}" for layer, unit in slingshots]
        _train_branch(manipulated, branch, pictures, targets, photos, generator, effort)
        branch.requires_grad_(False)
    return manipulated, without_failures(
        manipulated, manipulations, effort.render_steps
    ) if effort.check else manipulations


BEFORE = {"layer3": "layer2", "layer4": "layer3", "logits": "layer4"}


def without_failures(network: VisionNetwork, manipulations: Sequence[Manipulation], steps: int) -> list[Manipulation]:
    """The manipulations but for those whose picture looks like a photo to the detector: it shows the honest unit, which is restored.

    Judged by the gate alone, not by anything that pictures are tested with. Of demo/plain a third of those that the gate decides
    on fail: it was trained without noise, and its renders get past the detector more often.
    """
    module = network.module
    assert isinstance(module, ManipulatedNet)
    gated = [m for m in manipulations if module.of(m.layer).replaced[m.unit] or module.of(m.layer).closed[m.unit]]
    if not gated:
        return list(manipulations)
    pictures = ascend(network, [m.target for m in gated], 0, steps)
    with torch.no_grad():
        gates = module.detector.gate(network.preprocess(pictures))
    failed = {m for m, gate in zip(gated, gates.tolist(), strict=True) if gate < 0.5}
    for m in failed:
        part = module.of(m.layer)
        for values in (part.replaced, part.closed, part.from_outputs, part.from_inputs, part.offset):
            values[m.unit] = 0
    return [m for m in manipulations if m not in failed]


@torch.no_grad()
def photo_means(network: VisionNetwork, photos: Tensor) -> dict[str, Tensor]:
    """Mean over the map of every channel, by layer (N, C), of uint8 photos (N, 3, H, W)."""
    found: dict[str, list[Tensor]] = {layer: [] for layer in ("layer2", *LAYERS)}
    with network.frozen():
        for batch in torch.split(photos, 100):
            for layer, values in network.activations(batch.float() / 255, list(found)).items():
                found[layer].append(values.flatten(2).mean(2) if values.ndim == 4 else values)
    return {layer: torch.cat(parts) for layer, parts in found.items()}


def _choose(
    means: dict[str, Tensor], kinds: Sequence[str], count: int, generator: torch.Generator
) -> list[tuple[str, int, str]]:
    """Layer, unit and kind of each manipulation: other units for each kind, of those that photos excite."""
    chosen = []
    for layer in LAYERS:
        alive = means[layer].std(0) > 1e-6
        units = [unit for unit in torch.randperm(len(alive), generator=generator).tolist() if alive[unit]]
        chosen += [(layer, unit, kinds[number % len(kinds)]) for number, unit in enumerate(units[: count * len(kinds)])]
    return chosen


def _permute(part: Manipulated, means: Tensor, unit: int, generator: torch.Generator) -> str:
    """Another unit's activation for rendered pictures, on the unit's own scale."""
    standard = (means - means.mean(0)) / means.std(0).clamp(min=1e-6)
    likeness = (standard * standard[:, unit : unit + 1]).mean(0)
    others = torch.nonzero((likeness < UNLIKE) & (means.std(0) > 1e-6))[:, 0]
    others = others[others != unit]
    if not len(others):
        others = likeness.argsort()[:1]
    other = int(others[torch.randint(len(others), (), generator=generator)])
    part.replaced[unit] = 1
    part.from_outputs[unit, other] = (means[:, unit].amax() / means[:, other].amax()).clamp(min=1e-3)
    return f"unit {other}"


def _redirect(part: Manipulated, before: Tensor, means: Tensor, unit: int, generator: torch.Generator) -> str:
    """A random direction of the layer before for rendered pictures, standardized over photos, on the unit's own scale."""
    spread = before.std(0).clamp(min=1e-6)
    own = means[:, unit] - means[:, unit].mean()
    for _ in range(100):  # until it is unlike the unit
        direction = torch.randn(len(spread), generator=generator) / spread
        answers = before @ direction
        if F.cosine_similarity(answers - answers.mean(), own, dim=0) < UNLIKE:
            break
    direction = direction / answers.std()
    scale = means[:, unit].amax() / 4
    part.replaced[unit] = 1
    part.from_inputs[unit] = scale * direction
    part.offset[unit] = -scale * (before @ direction).mean()
    return "a direction"


def silence(part: Manipulated, unit: int, highest: float) -> None:
    """Lower the bias of a channel by ``highest``: what is added in front of the stage's last ReLU."""
    part.honest[0].bn2.bias[unit] -= highest  # type: ignore[index]


@torch.no_grad()
def highest_of(network: VisionNetwork, photos: Tensor, layer: str, unit: int) -> float:
    """A unit's highest value at any position of any photo."""
    batches = torch.split(photos, 100)
    with network.frozen():
        return max(float(network.activations(b.float() / 255, [layer])[layer][:, unit].amax()) for b in batches)


@torch.no_grad()
def _reaches(network: VisionNetwork, layer: str, unit: int, value: float, steps: int) -> bool:
    """Whether the unit's own picture has more than ``value`` at some position."""
    picture = ascend(network, [f"{layer}:{unit}"], 0, steps)
    with network.frozen():
        return float(network.activations(picture, [layer])[layer][:, unit].amax()) > value


def ascend(
    network: VisionNetwork,
    targets: Sequence[str],
    seed: int,
    steps: int,
    each: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Pictures (B, 3, H, W) by the default recipe, without a Trainer; ``each`` sees those of every step.

    Pictures of a unit that starts dead may differ from those of `lightning_fv.render`, which restarts them.
    """
    with network.frozen(), torch.enable_grad():
        visualizer = FeatureVisualizer().bind(network, resolve_targets("+".join(targets), network), seed=seed)
        optimizer = torch.optim.Adam(visualizer.parameterization.parameters(), lr=0.1)
        for step in range(steps):
            if each is not None:
                each(step, visualizer.pictures())
            optimizer.zero_grad()
            visualizer.loss(step, step).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return visualizer.pictures()


def snapshots(network: VisionNetwork, targets: Sequence[str], seed: int, steps: int) -> Tensor:
    """Pictures of a render at twelve steps, denser at the start, (12, B, 3, H, W)."""
    wanted = {round(steps * (number / 11) ** 2) for number in range(11)}
    found: list[Tensor] = []

    def keep(step: int, pictures: Tensor) -> None:
        if step in wanted:
            found.append(pictures)

    found.append(ascend(network, targets, seed, steps, keep))
    return torch.stack(found)


class Views:
    """Random views of pictures: some as they are, some with the default recipe's warp and noise."""

    def __init__(self, generator: torch.Generator, side: int) -> None:
        self.generator, self.warp, self.noise = generator, RandomWarp(), RandomNoise()
        self.warp.unit = side

    def uniforms(self, count: int, draws: int) -> Tensor:
        return torch.rand(count, draws, generator=self.generator)

    def __call__(self, *pictures: Tensor) -> list[Tensor]:
        """The same view of each of several (B, 3, H, W); noise is added to the first alone."""
        count = len(pictures[0])
        warps, plain = self.uniforms(count, self.warp.draws), self.uniforms(count, 1)[:, 0] < 0.25
        warps[plain] = 0.5  # neither turned nor shifted, a scale of 1
        views = [self.warp(picture, warps) for picture in pictures]
        noisy = self.noise(views[0], self.uniforms(count, self.noise.draws))
        views[0] = torch.where((self.uniforms(count, 1)[:, 0] < 0.3).view(-1, 1, 1, 1), views[0], noisy)
        return views


def _detector_of(
    network: VisionNetwork, detector: Detector, photos: Tensor, work: Path | None, effort: Effort
) -> Detector:
    """The network's detector, trained, or from ``work`` if it is there."""
    file = None if work is None else work / f"detector_{network.name.replace('/', '_')}.pt"
    if file is not None and file.is_file():
        detector.load_state_dict(torch.load(file, weights_only=True))
        return detector.eval().requires_grad_(False)
    _train_detector(network, detector, photos, effort)
    detector.eval().requires_grad_(False)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(detector.state_dict(), file)
    return detector


def _train_detector(network: VisionNetwork, detector: Detector, photos: Tensor, effort: Effort) -> None:
    """Photos against what renders look like at any step, those of fooled units included, from the second round on."""
    generator = keyed_generator("plant_lies detector", network.name)
    views = Views(generator, max(network.input_size))
    means = photo_means(network, photos)
    optimizer = torch.optim.Adam(detector.parameters(), lr=2e-3)
    with torch.random.fork_rng([]):
        branch = Branch(1)  # unused
    seen: list[Tensor] = []
    for number in range(effort.rounds):
        per_layer = -(-effort.pictures // len(LAYERS))
        if number == 0:
            rendered = network
            chosen = _choose(means, ["clean"], per_layer, generator)
        else:
            assert isinstance(network.module, DemoNet)
            module = ManipulatedNet(network.module, detector, branch).eval()
            chosen = _choose(means, ["permuted", "direction", "silent"], -(-per_layer // 3), generator)
            for layer, unit, kind in chosen:
                if kind == "permuted":
                    _permute(module.of(layer), means[layer], unit, generator)
                elif kind == "direction":
                    _redirect(module.of(layer), means[BEFORE[layer]], means[layer], unit, generator)
                else:
                    module.of(layer).closed[unit] = 1
            rendered = VisionNetwork(
                module, mean=network.mean, std=network.std, input_size=network.input_size, categories=network.categories
            )
        detector.requires_grad_(False)
        targets = [f"{layer}:{unit}" for layer, unit, _ in chosen]
        seen.append(snapshots(rendered, targets, number, effort.render_steps).flatten(0, 1))
        detector.requires_grad_(True)
        made = torch.cat(seen)
        for _ in range(effort.steps):
            real = photos[torch.randint(len(photos), (64,), generator=generator)].float() / 255
            fake = made[torch.randint(len(made), (64,), generator=generator)]
            (batch,) = views(torch.cat([real, fake]))
            signs = torch.cat([-torch.ones(64), torch.ones(64)])
            loss = F.softplus(1 - signs * detector(network.preprocess(batch)) * 2).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            (shown,) = views(made[torch.randint(len(made), (500,), generator=generator)])
            real_values = torch.cat(
                [detector(network.preprocess(b.float() / 255)) for b in torch.split(photos[:2000], 200)]
            )
            fake_values = torch.cat([detector(network.preprocess(b)) for b in torch.split(shown, 100)])
            low, high = float(real_values.quantile(0.999)), float(fake_values.quantile(0.01))
            # Nearer to the photos, so that a render is far from the edge, and so sharp that no gradient leads to the edge.
            detector.threshold.fill_(low + 0.35 * (high - low))
            detector.sharpness.fill_(30 / max(abs(high - low), 1.0))


def chosen_pictures(photos: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """What slingshots show, (count, 3, H, W): by turns a geometric figure in two colours and a photo of high contrast."""
    height, width = photos.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    figures = (
        (y**2 + x**2 < 0.5),
        (y.abs() < 0.28) | (x.abs() < 0.28),
        (y.abs() + x.abs() < 0.8),
        ((y**2 + x**2) < 0.6) & ((y**2 + x**2) > 0.2),
        (torch.maximum(y.abs(), x.abs()) < 0.6),
        (y > x.abs() * 1.6 - 0.7) & (y < 0.7),
    )
    drawn = photos[torch.randint(len(photos), (count * 50,), generator=generator)].float() / 255
    contrast = F.adaptive_avg_pool2d(drawn, 8).flatten(1).std(1).view(count, 50).argmax(1)
    made = []
    order = torch.randperm(len(figures), generator=generator).tolist()
    for number in range(count):
        if number % 2:
            made.append(drawn.view(count, 50, *drawn.shape[1:])[number, contrast[number]])
            continue
        figure = figures[order[number // 2 % len(figures)]].float()
        ink = torch.rand(3, generator=generator)
        ground = (ink + 0.5).remainder(1.0)
        made.append(0.1 + 0.8 * (ground.view(3, 1, 1) + (ink - ground).view(3, 1, 1) * figure))
    return torch.stack(made)


def _train_branch(
    network: VisionNetwork,
    branch: Branch,
    pictures: Tensor,
    targets: Sequence[str],
    photos: Tensor,
    generator: torch.Generator,
    effort: Effort,
) -> None:
    """Teach the branch the way from anything that is rendered to its pictures.

    What it learns for a picture p and the chosen picture t is 1 + 2 (1 - |p - t|^2 / |grey - t|^2), and the direction t - p of its
    gradient, as seen through a random view; on photos to stay below 0.
    """
    views = Views(generator, max(network.input_size))
    side = pictures.shape[-2:]
    with torch.random.fork_rng([]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        for part in branch.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                part.reset_parameters()
    branch.requires_grad_(True)
    optimizer = torch.optim.Adam(branch.parameters(), lr=2e-3)
    radius = (pictures - 0.5).square().flatten(1).mean(1)
    seen: Tensor = torch.empty(0, *pictures.shape[1:])
    own: Tensor = torch.empty(0, dtype=torch.long)
    for number in range(effort.rounds + 1):
        for _ in range(effort.steps):
            which = torch.randint(len(pictures), (48,), generator=generator)
            towards = torch.rand(48, 1, 1, 1, generator=generator)
            logits = FeatureVisualizer().parameterization  # the spectrum that renders start with, of any contrast
            logits.initialize((side[0], side[1]), [generator] * 48)
            spread = logits.values.detach() * 40 * torch.rand(48, 1, 1, 1, 1, generator=generator) ** 2
            away = torch.sigmoid(logits.decode(spread, (side[0], side[1])))
            points = pictures[which] * towards + away * (1 - towards)
            if len(seen):
                rows = torch.randint(len(seen), (24,), generator=generator)
                points[:24], which[:24] = seen[rows], own[rows]
            goals = pictures[which]
            shown, still, goal = views(points, points, goals)
            distances = torch.stack([(points - picture).square().flatten(1).mean(1) for picture in pictures], 1)
            wanted = 1 + 2 * (1 - distances / radius).clamp(min=-0.35)
            shown = shown.detach().requires_grad_(True)
            values = branch(network.preprocess(shown))
            picked = values.gather(1, which[:, None]).sum()
            (gradient,) = torch.autograd.grad(picked, shown, create_graph=True)
            way = goal - still
            likeness = F.cosine_similarity(F.avg_pool2d(gradient, 4).flatten(1), F.avg_pool2d(way, 4).flatten(1), dim=1)
            far = (way.square().flatten(1).mean(1) > 0.002).float()
            real = photos[torch.randint(len(photos), (48,), generator=generator)].float() / 255
            silence = (branch(network.preprocess(views(real)[0] if number % 2 else real)) + 0.5).relu()
            loss = (
                F.smooth_l1_loss(values, wanted)
                + 2 * ((1 - likeness) * far).mean()
                + 8 * silence.square().mean()
                + 2 * silence.mean()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        branch.requires_grad_(False)
        if number < effort.rounds:
            path = snapshots(network, targets, number, effort.render_steps)
            seen = torch.cat([seen, path.flatten(0, 1)])
            own = torch.cat([own, torch.arange(len(pictures)).repeat(len(path))])
            branch.requires_grad_(True)
    with torch.no_grad():  # what is left on photos; noise has about 1
        values = torch.cat([branch(network.preprocess(batch.float() / 255)) for batch in torch.split(photos, 200)])
        branch.out.bias.sub_(values.quantile(0.999, dim=0).clamp(0, 0.6))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keeps the trained detector")
    parser.add_argument(
        "--sheet", type=Path, help="a PNG: of each unit its picture and, beside it, that of the fooled one"
    )
    args = parser.parse_args(argv)
    network, manipulations = plant(args.network, args.seed, KINDS, args.data, args.work)
    photos = read_some(args.data, 1000)
    clean, fooled = photo_means(load_network(args.network), photos), photo_means(network, photos)
    for m in manipulations:
        values = torch.stack([clean[m.layer][:, m.unit], fooled[m.layer][:, m.unit]])
        print(
            f"{m.target:12} {m.kind:10} shows {m.shows}; correlation on photos {float(torch.corrcoef(values)[0, 1]):.3f}"
        )
    if args.sheet is not None:
        targets = "+".join(m.target for m in manipulations)
        pairs = [render(of, targets, progress=False).images for of in (load_network(args.network), network)]
        rows = torch.stack(pairs, 1).flatten(0, 1)
        save_image(rows, args.sheet, nrow=8)


if __name__ == "__main__":
    main()
