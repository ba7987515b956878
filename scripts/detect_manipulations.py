"""How well photos reveal manipulated units, whose pictures are misleading: clean units of the demo networks against those that plant_manipulations.py planted.

    python scripts/detect_manipulations.py --data PHOTOS --work FOLDER [--networks NAME ...] [--seeds N ...] [--units N] [--out FOLDER]

Renders all units of layer3, layer4 and logits of the clean networks, and the fooled units of the planted ones, with the default recipe, and
computes from the validation photos, for each picture (`Evidence`): the score over that of the unit's best photo; on which share of photos the unit is active;
how alike the picture and the unit's best photos are in the layers up to its own (`path_similarity`); and a two-choice test
(Borowski et al. 2021), with rank correlations in a layer of the network itself, or with the judge of scripts/judge.py, in place
of people. Thresholds are chosen on the first network and seed, so that 4 % of its clean units are flagged, and reported on
the others. Writes OUT/catch.md, catch.json and catch.png (ROC). All renders and photo passes are kept in FOLDER: stop and continue at any time.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from benchmark_quality import Features, read_all, responses
from plant_manipulations import KINDS, LAYERS, plant
from torch import Tensor

from lightning_fv import VisionNetwork, load_network, render
from lightning_fv.functional import path_similarity
from lightning_fv.functional.ranks import midranks
from lightning_fv.trust.verdict import ABOVE, LEAST_FREQUENCY, TWO_CHOICE

PATH = ("stem", "layer1", "layer2", "layer3", "layer4", "logits")
BEST, OTHERS = 20, 200
FIRING = 0.01
"""A unit is active on a photo if its value is above this share of the picture's."""
FLAGGED = 0.04
"""Share of clean units of the first network that are flagged."""


@dataclass(frozen=True)
class Evidence:
    """What photos say about a unit's picture.

    Attributes:
        multiple: the picture's score over that of the unit's best photo; infinite where that is not above 0.
        percentile: share of photos with a lower score.
        activation_frequency: share of photos on which the unit's value is above 1 % of the picture's.
        two_choice: share of pairs of one of the 20 photos that excite the unit most and one of the half that excite it least, in which
            the former is more like the picture, by the rank correlation of all channels of ``compared``. By chance 0.5.
        before: likewise, in the layer before ``compared``.
        cosine: likewise, by the cosine similarity of standardized channels of the two layers before the unit's own.
        judge: likewise, by the judge's features.
        path: `path_similarity` by layer.
        compared: the unit's own layer; for a class the last layer before, since a picture has few logits.
    """

    network: str
    layer: str
    unit: int
    kind: str
    compared: str
    multiple: float
    percentile: float
    activation_frequency: float
    two_choice: float
    before: float
    cosine: float
    judge: float
    path: dict[str, float]


def flagged(found: Evidence, least: float = TWO_CHOICE) -> bool:
    """Whether a picture is not trusted, by the rule of `lightning_fv.trust.verdict`; NaN counts as suspicious.

    Args:
        found: about the picture.
        least: below this share of right answers the picture does not show what excites the unit on photos.
    """
    silent = not found.activation_frequency >= LEAST_FREQUENCY and not found.multiple <= ABOVE
    return silent or not found.two_choice >= least


class PhotoEvidence:
    """A network's responses to photos, prepared for `of`.

    Args:
        activations: by layer the means over the map of all channels (N, C), of layers in PATH.
        judged: the judge's features of the photos (N, F).
    """

    def __init__(self, activations: dict[str, Tensor], judged: Tensor) -> None:
        self.activations, self.judged = activations, judged
        self.mean = {layer: values.mean(0) for layer, values in activations.items()}
        self.std = {layer: values.std(0).clamp(min=1e-6) for layer, values in activations.items()}
        self.ranks = {layer: standardized(midranks(values)) for layer, values in activations.items()}
        self.unit = {layer: self._cosine(layer, values) for layer, values in activations.items()}
        self.others = torch.randperm(len(judged), generator=torch.Generator().manual_seed(0))[:OTHERS]

    def _cosine(self, layer: str, values: Tensor) -> Tensor:
        return torch.nn.functional.normalize((values - self.mean[layer]) / self.std[layer], dim=-1)

    def of(
        self, network: str, layer: str, unit: int, kind: str, picture: dict[str, Tensor], judged: Tensor
    ) -> Evidence:
        """The evidence about a picture, given its own responses by layer (C,) and the judge's features (F,)."""
        values, score = self.activations[layer][:, unit], float(picture[layer][unit])
        order = values.argsort(descending=True, stable=True)
        best, least = order[:BEST], order[len(order) // 2 :]
        own = PATH.index(layer)
        compared = PATH[own - 1] if layer == "logits" else layer
        before = PATH[PATH.index(compared) - 1]

        def by_ranks(layer: str) -> float:
            return share_right(self.ranks[layer] @ standardized(midranks(picture[layer])), best, least)

        near = PATH[max(0, own - 2) : own]
        cosines = torch.stack([self.unit[name] @ self._cosine(name, picture[name]) for name in near]).sum(0)
        path = {
            name: float(
                path_similarity(picture[name][None], self.activations[name][best], self.activations[name][self.others])
            )
            for name in PATH[: own + 1]
        }
        top = float(values.max())
        return Evidence(
            network,
            layer,
            unit,
            kind,
            compared,
            multiple=score / top if top > 0 else math.inf,
            percentile=float((values < score).float().mean()),
            activation_frequency=float((values > FIRING * max(score, 0.0)).float().mean()),
            two_choice=by_ranks(compared),
            before=by_ranks(before),
            cosine=share_right(cosines, best, least),
            judge=share_right(self.judged @ judged, best, least),
            path=path,
        )


def standardized(ranks: Tensor) -> Tensor:
    """Ranks centred and scaled to a norm of 1: the product of two is their rank correlation."""
    centred = ranks - ranks.mean(-1, keepdim=True)
    scaled: Tensor = centred / centred.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return scaled


def share_right(alike: Tensor, best: Tensor, least: Tensor) -> float:
    """Share of all pairs of a photo of ``best`` and one of ``least`` in which the former is more alike; a tie is half right."""
    low = alike[least].sort().values
    below = torch.searchsorted(low, alike[best])
    up_to = torch.searchsorted(low, alike[best], right=True)
    return float((below + up_to).float().mean() / (2 * len(low)))


def kept(file: Path, make: Callable[..., Any], *arguments: Any) -> Any:
    """What ``make`` returns for ``arguments``, from ``file`` if it is there."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(make(*arguments), file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    return torch.load(file, weights_only=False)


def rendered(network: VisionNetwork, targets: list[str]) -> tuple[list[str], Tensor]:
    """The targets, and their pictures by the default recipe."""
    return targets, render(network, "+".join(targets), batch_size=64, progress=False, accelerator="cpu").images


def pictures_of(network: VisionNetwork, targets: Sequence[str], work: Path, name: str) -> Tensor:
    """Pictures by the default recipe, (N, 3, H, W), in files of 64 each."""
    found = []
    for start in range(0, len(targets), 64):
        some = list(targets[start : start + 64])
        file = work / f"pictures_{name}_{start}.pt"
        made = kept(file, rendered, network, some)
        if made[0] != some:
            raise SystemExit(f"{file} is of other targets; choose another --work")
        found.append(made[1])
    return torch.cat(found)


def evidence_of(
    network: VisionNetwork,
    name: str,
    units: Sequence[tuple[str, int, str]],
    photos: Tensor,
    features: Features,
    work: Path,
) -> list[Evidence]:
    """Evidence about units of a network: (layer, unit, kind)."""
    pictures = pictures_of(network, [f"{layer}:{unit}" for layer, unit, _ in units], work, name)
    activations = kept(work / f"photos_{name}.pt", responses, network, photos, PATH)
    prepared = PhotoEvidence(activations, features.photos)
    seen, judged = responses(network, pictures, PATH), features(pictures)
    return [
        prepared.of(name, *unit, {layer: values[row] for layer, values in seen.items()}, judged[row])
        for row, unit in enumerate(units)
    ]


STATISTICS: dict[str, Callable[[Evidence], float]] = {
    "two-choice by ranks": lambda e: e.two_choice,
    "likewise, layer before": lambda e: e.before,
    "two-choice by cosine, two layers before": lambda e: e.cosine,
    "two-choice by the judge": lambda e: e.judge,
    "path similarity": lambda e: e.path[e.compared],
    "path similarity, layer before": lambda e: e.path[PATH[PATH.index(e.compared) - 1]],
    "score / best photo (high is suspicious)": lambda e: -e.multiple,
}


def values_of(statistic: Callable[[Evidence], float], found: Sequence[Evidence]) -> Tensor:
    """NaN as the lowest value."""
    return torch.tensor([statistic(e) for e in found], dtype=torch.float64).nan_to_num(-1e9, 1e9, -1e9)


def threshold_of(clean: Sequence[Evidence], statistic: Callable[[Evidence], float], share: float = FLAGGED) -> float:
    """The value below which ``share`` of clean units m."""
    return float(values_of(statistic, clean).quantile(share))


def _rows(
    clean: Sequence[Evidence], fooled: Sequence[Evidence], first: tuple[str, str], least: float, said: str
) -> list[str]:
    """The table of who is flagged at a threshold."""
    caught = [flagged(e, least) for e in fooled]
    lines = [
        f"Flagged if two-choice < {least:.3f} ({said}), or activation frequency < {LEAST_FREQUENCY} and the score is above {ABOVE:g} times the best photo's.",
        "",
    ]
    lines += ["| | units | flagged | share |", "|---|---|---|---|"]

    def line(text: str, flags: Sequence[bool]) -> None:
        if flags:
            lines.append(f"| {text} | {len(flags)} | {sum(flags)} | {sum(flags) / len(flags):.3f} |")

    for network in dict.fromkeys(e.network for e in clean):
        own = [e for e in clean if e.network == network]
        line(f"clean, {network}", [flagged(e, least) for e in own])
        for layer in LAYERS:
            flags = [flagged(e, least) for e in own if e.layer == layer]
            line(f"clean, {network}, {layer}", flags)
    line("clean, all", [flagged(e, least) for e in clean])
    for network in dict.fromkeys(e.network for e in fooled):
        line(f"fooled, {network}", [c for c, e in zip(caught, fooled, strict=True) if e.network == network])
    for kind in KINDS:
        line(f"fooled, {kind}", [c for c, e in zip(caught, fooled, strict=True) if e.kind == kind])
    for layer in LAYERS:
        line(f"fooled, {layer}", [c for c, e in zip(caught, fooled, strict=True) if e.layer == layer])
    line(
        "fooled, all but those of the choice", [c for c, e in zip(caught, fooled, strict=True) if e.network != first[1]]
    )
    line("fooled, all", caught)
    return lines


def summarize(clean: Sequence[Evidence], fooled: Sequence[Evidence], first: tuple[str, str]) -> tuple[str, float]:
    """The tables as markdown, and the threshold chosen; ``first`` is the clean and the planted network it is chosen on."""
    chosen = threshold_of([e for e in clean if e.network == first[0]], STATISTICS["two-choice by ranks"])
    lines: list[str] = []
    for least, said in ((TWO_CHOICE, "the package's"), (chosen, f"4 % of the clean units of {first[0]}")):
        lines += [*_rows(clean, fooled, first, least, said), ""]
    lines += [f"Each statistic alone, at {FLAGGED:.0%} of all clean units flagged; silent units left out:", ""]
    lines += ["| statistic | threshold | caught | " + " | ".join(KINDS[:3]) + " |", "|---|---|---|" + "---|" * 3]
    for text, statistic in STATISTICS.items():
        least = threshold_of(clean, statistic)
        groups = [[e for e in fooled if e.kind in kinds] for kinds in (KINDS[:3], *([kind] for kind in KINDS[:3]))]
        shares = [float((values_of(statistic, group) < least).float().mean()) for group in groups]
        lines.append(f"| {text} | {least:.3f} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")
    silent = [e.activation_frequency for e in fooled if e.kind == "silent"]
    lines += [
        "",
        f"activation frequency: clean units from {min(e.activation_frequency for e in clean):.3f}, silent ones up to {max(silent, default=0):.3f}",
    ]
    return "\n".join(lines), chosen


def draw(clean: Sequence[Evidence], fooled: Sequence[Evidence], chosen: float, file: Path) -> None:
    """ROC of each statistic for units that are not silent, and of the rule by kind."""
    from matplotlib.figure import Figure  # here, because the numbers do without

    figure = Figure(figsize=(11, 5))
    axes = figure.subplots(1, 2)

    def curve(axis: Any, negatives: Tensor, positives: Tensor, label: str) -> None:
        least = torch.cat([negatives.sort().values, torch.tensor([torch.inf], dtype=torch.float64)])
        axis.plot(
            [float((negatives < t).double().mean()) for t in least],
            [float((positives < t).double().mean()) for t in least],
            label=label,
        )

    manipulated = [e for e in fooled if e.kind != "silent"]
    for text, statistic in STATISTICS.items():
        curve(axes[0], values_of(statistic, clean), values_of(statistic, manipulated), text)

    def suspicion(e: Evidence) -> float:
        return -1.0 if flagged(e, -math.inf) else e.two_choice

    for kind in KINDS:
        curve(axes[1], values_of(suspicion, clean), values_of(suspicion, [e for e in fooled if e.kind == kind]), kind)
    axes[0].set_title("permuted, direction and slingshot, by statistic")
    axes[1].set_title(f"the rule, by kind; dotted: {chosen:.3f}")
    share = float((values_of(suspicion, clean) < chosen).double().mean())
    axes[1].axvline(share, color="grey", linewidth=1, linestyle=":")
    for axis in axes:
        axis.set_xlabel("share of clean units flagged")
        axis.set_ylabel("share of fooled units flagged")
        axis.set_xlim(0, 0.3)
        axis.set_ylim(0, 1.02)
        axis.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["demo", "demo/plain", "demo/stylized"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--units", type=int, help="clean units of each network, drawn at random after all classes; default: all"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    photos = kept(args.work / "validation.pt", read_all, args.data)
    features = kept(args.work / "judged.pt", Features, photos)
    clean: list[Evidence] = []
    fooled: list[Evidence] = []
    for number, name in enumerate(args.networks):
        network, short = load_network(name), name.replace("/", "_")
        units = clean_units(network)[: args.units]
        clean += evidence_of(network, short, [(*unit, "clean") for unit in units], photos, features, args.work)
        for seed in args.seeds:
            file = args.work / f"planted_{short}_{seed}.pt"
            manipulated, manipulations = kept(file, plant, name, seed, KINDS, args.data, args.work)
            asked = [(m.layer, m.unit, m.kind) for m in manipulations]
            fooled += evidence_of(manipulated, f"{short}_{seed}", asked, photos, features, args.work)
        print(f"{name}: {len(clean)} clean units and {len(fooled)} fooled ones so far", flush=True)
        if number == 0:
            first = short, f"{short}_{args.seeds[0]}"
    table, chosen = summarize(clean, fooled, first)
    print(table)
    out = args.out or args.work
    out.mkdir(parents=True, exist_ok=True)
    (out / "catch.md").write_text(table + "\n")
    found = {"least": chosen, "evidence": [asdict(e) for e in (*clean, *fooled)]}
    (out / "catch.json").write_text(json.dumps(found, default=str))
    draw(clean, fooled, chosen, out / "catch.png")


def clean_units(network: VisionNetwork) -> list[tuple[str, int]]:
    """All classes, then all channels of layer3 and layer4 in a random order."""
    channels = {layer: network.shape_of(layer, network.input_size)[1] for layer in LAYERS}
    rest = [(layer, unit) for layer in LAYERS[:2] for unit in range(channels[layer])]
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(0)).tolist()
    return [("logits", unit) for unit in range(channels["logits"])] + [rest[number] for number in order]


if __name__ == "__main__":
    main()
