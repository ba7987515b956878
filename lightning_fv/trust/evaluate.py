"""The evidence about a batch of pictures."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_fv.functional import (
    class_probability,
    class_rank,
    path_similarity,
    photo_high_frequency,
    rank_correlation,
    share_above,
)
from lightning_fv.metrics import (
    FeatureDiversity,
    HighFrequencyEnergy,
    MonoScore,
    SaturatedPixels,
    SeedAgreement,
    TotalVariationDensity,
    log_spectral_distance,
    radial_spectrum,
)
from lightning_fv.networks.capture import LOGITS
from lightning_fv.networks.classes import canonical, class_index
from lightning_fv.objectives import Neuron, Objective, Token
from lightning_fv.optimization.transform_pipeline import TransformPipeline
from lightning_fv.runs.evidence import Evidence
from lightning_fv.targets import Target
from lightning_fv.transforms import RandomNoise, RandomWarp
from lightning_fv.trust.matches import Match, best_matches
from lightning_fv.trust.responses import ROWS, NetworkResponses
from lightning_fv.trust.verdict import verdict

DRAWS = 8
"""Random transforms that a picture is scored under: those of a plain `FeatureVisualizer`, whatever recipe made the picture, so that the
scores of all recipes can be compared, also of those that had no transforms."""

OWN, OTHER = 20, 100
"""Photos that excite the unit, and others, that a picture's path is compared with."""

TOLD_APART = 0.1
"""A layer that tells a unit's photos from others by a rank correlation of less is left out of the path: early layers do not capture what these photos
have in common, and the similarity would be a ratio of two small numbers."""

BEST, FEW_BEST, MANY, LEAST, FEWEST = 20, 5, 2500, 500, 80
"""For the two-choice test, the photos that excite a unit most: 20 of `MANY` or more, else 5; at most 500 of the half that excites it least. No test
with fewer than `FEWEST` photos."""

FIRING = 0.01
"""A photo excites a unit if its value is above this share of the picture's."""


class Evaluator:
    """Evaluates pictures of units of one network.

    Args:
        responses: the network that the pictures were made for, with the values of the targets for photos.
        judges: other networks.
        missing: by an objective's key, why it has no values for photos.
    """

    def __init__(
        self,
        responses: NetworkResponses,
        judges: Sequence[NetworkResponses] = (),
        missing: Mapping[str, str] | None = None,
    ) -> None:
        self.responses, self.judges = responses, list(judges)
        self._missing = dict(missing or {})
        self._labels: dict[str, set[str]] = {}
        for label in {entry.label for entry in responses.photos.entries} - {""}:
            self._labels.setdefault(canonical(label), set()).add(label)

    def __call__(
        self,
        targets: Sequence[Target],
        ids: Sequence[str],
        pictures: Tensor,
        seeds: Sequence[Tensor] = (),
        facets: Sequence[Tensor] = (),
    ) -> list[Evidence]:
        """The evidence about pictures, without examples.

        Args:
            targets: of each picture.
            ids: of each picture's record.
            pictures: (B, C, H, W) in [0, 1], of the network's channels.
            seeds: for each target (S, C, H, W), pictures of the same target by other seeds; S may be 0. Or none.
            facets: for each target (F, C, H, W), the other pictures of its unit in the same run; F may be 0. Or none.
        """
        photos = self.responses.photos
        found = [Evidence(name, target.text) for name, target in zip(ids, targets, strict=True)]
        values = [photos.of(target.objective) for target in targets]
        self._scores(targets, pictures, found, values)
        compared = [self.responses.compared(target.objective.layers) for target in targets]
        means = self.responses.means(pictures, {*self.responses.stages, *compared})
        for row, (target, evidence) in enumerate(zip(targets, found, strict=True)):
            if (on_photos := values[row]) is not None and not _is_of_one_place(target.objective):
                stages = self.responses.before(target.objective.layers)
                own = {stage: means[stage][row : row + 1] for stage in stages}
                self._path(target, evidence, on_photos, own, stages)
                self._two_choice(evidence, on_photos, means[compared[row]][row : row + 1], compared[row])
            picture = pictures[row : row + 1]
            evidence.plausible |= self._looks(picture)
            if len(seeds) and len(seeds[row]):
                several = torch.cat([picture, seeds[row]])
                evidence.faithful |= {"seed_agreement": self._agreement(several), "seeds": float(len(several))}
            if len(facets) and len(facets[row]):
                several = torch.cat([picture, facets[row]])
                evidence.faithful |= {"facet_agreement": self._agreement(several), "facets": float(len(several))}
                evidence.plausible["diversity"] = self._diversity(several)
        self._monosemanticity(found, values)
        agreed = self._judged(targets, pictures, found, values)
        for target, evidence, judged, on_photos in zip(targets, found, agreed, values, strict=True):
            count = 0 if on_photos is None else int(np.isfinite(on_photos).sum())
            missing = self._missing.get(target.objective.key, "")
            local = _is_of_one_place(target.objective)
            evidence.verdict, reasons = verdict(evidence.faithful, evidence.path, judged, count, missing, local)
            evidence.reasons, evidence.brief = [reason.text for reason in reasons], reasons[0].brief
        return found

    # -- what the unit does ------------------------------------------------------------------------------------------

    def _scores(
        self,
        targets: Sequence[Target],
        pictures: Tensor,
        found: Sequence[Evidence],
        values: Sequence[npt.NDArray[np.float32] | None],
    ) -> None:
        network = self.responses.network
        plain = self._values(targets, pictures)
        keys = [target.key for target in targets]
        pipeline = TransformPipeline([RandomWarp(), RandomNoise()], 0, keys, max(network.input_size))
        images = pictures.to(network.device)
        transformed = torch.stack([self._values(targets, pipeline(images, draw)) for draw in range(DRAWS)])
        logits = (
            self.responses.means(pictures, [LOGITS])[LOGITS]
            if any(t.class_index is not None for t in targets)
            else None
        )
        for row, (target, evidence) in enumerate(zip(targets, found, strict=True)):
            score = float(plain[row])
            evidence.faithful |= {"score": score, "transformed_score": float(transformed[:, row].mean())}
            if (unit := target.class_index) is not None and logits is not None:
                index = torch.tensor([unit])
                evidence.faithful["probability"] = float(class_probability(logits[row : row + 1], index))
                evidence.faithful["rank"] = float(class_rank(logits[row : row + 1], index))
            if (on_photos := values[row]) is not None:
                self._among_photos(evidence, score, on_photos)

    def _values(self, targets: Sequence[Target], pictures: Tensor) -> Tensor:
        """Each target's objective for its picture, (B,); NaN of those that compare with photos of their own."""
        network = self.responses.network
        found = []
        with network.frozen(), torch.no_grad():
            images = pictures.to(network.device)
            layers = frozenset[str]().union(*(target.objective.layers for target in targets))
            activations = network.activations(images, layers) if layers else {}
            for row, target in enumerate(targets):
                if target.objective.photos:
                    found.append(torch.tensor(math.nan))
                    continue
                own = {layer: activations[layer][row : row + 1] for layer in target.objective.layers}
                found.append(target.objective(own, images[row : row + 1])[0].float().cpu())
        return torch.stack(found)

    @staticmethod
    def _among_photos(evidence: Evidence, score: float, values: npt.NDArray[np.float32]) -> None:
        bad = int((~np.isfinite(values)).sum())
        finite = values[np.isfinite(values)]
        if bad:
            evidence.faithful["photos_not_finite"] = float(bad)
        if not len(finite) or not math.isfinite(score):
            return
        evidence.faithful["photo_percentile"] = float(100 * (finite < score).mean())
        if finite.max() > 0:
            evidence.faithful["photo_multiple"] = score / float(finite.max())
        evidence.faithful["activation_frequency"] = float((finite > FIRING * max(score, 0.0)).mean())

    def _path(
        self,
        target: Target,
        evidence: Evidence,
        values: npt.NDArray[np.float32],
        means: dict[str, Tensor],
        stages: Sequence[str],
    ) -> None:
        """Path similarity of the picture to photos of its class, if the photos' folders tell it, else to those that excite the unit most."""
        finite = np.flatnonzero(np.isfinite(values))
        order = finite[np.argsort(values[finite], kind="stable")[::-1]]
        half = len(order) // 2
        own, rest = order[: min(OWN, half)], order[half:]
        categories, index = self.responses.network.categories, target.class_index
        if index is not None and index < len(categories):
            labels = self._labels.get(canonical(categories[index]), set())
            if labels and len(rows := self.responses.photos.rows(labels)) >= 2:
                own, rest = _spread(rows, OWN), np.setdiff1d(np.arange(len(values)), rows)
        if len(own) < 2 or not len(rest):
            return
        of_own, of_other = self.responses.of_photos(own, stages), self.responses.of_photos(_spread(rest, OTHER), stages)
        for stage in stages:
            similarity = float(path_similarity(means[stage], of_own[stage], of_other[stage], TOLD_APART)[0])
            evidence.path[stage] = similarity if math.isfinite(similarity) else None

    def _two_choice(self, evidence: Evidence, values: npt.NDArray[np.float32], means: Tensor, layer: str) -> None:
        """Whether the picture is more similar to photos that excite the unit than to others, measured in the unit's own layer.

        After Borowski et al. 2021, with the network in the place of people: share of all pairs of a photo that excites the unit most and one of the half
        that excites it least in which the channels of the former, averaged over positions, have the higher rank correlation with the picture's.
        """
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite) < FEWEST:
            return
        order = finite[np.argsort(values[finite], kind="stable")[::-1]]
        best = order[: BEST if len(order) >= MANY else FEW_BEST]
        rows = np.concatenate([best, _spread(order[len(order) // 2 :], LEAST)])
        alike = rank_correlation(means, self.responses.of_photos(rows, [layer])[layer])[0]
        evidence.faithful["two_choice"] = float(share_above(alike[: len(best)], alike[len(best) :]))

    def _monosemanticity(self, found: Sequence[Evidence], values: Sequence[npt.NDArray[np.float32] | None]) -> None:
        known = [(evidence, column) for evidence, column in zip(found, values, strict=True) if column is not None]
        if not known:
            return
        responses = self.judges[0] if self.judges else self.responses
        layer = responses.stages[-2] if len(responses.stages) > 1 else responses.stages[-1]
        columns = np.stack([column for _, column in known], 1)
        metric = MonoScore(len(known), responses.photos.layers[layer].shape[1])
        for start in range(0, len(columns), ROWS):
            rows = np.arange(start, min(start + ROWS, len(columns)))
            embeddings = responses.features(responses.of_photos(rows, [layer]), [layer])
            metric.update(embeddings, torch.from_numpy(columns[rows]))
        for (evidence, _), score in zip(known, metric.compute().reshape(-1).tolist(), strict=True):
            evidence.faithful["mono_score"] = score

    def _agreement(self, pictures: Tensor) -> float:
        """How much the network sees the same in several pictures, in its last stage before the logits."""
        stage = self.responses.stages[-2:][0]
        agreement = SeedAgreement(*self.responses.scale[stage])
        agreement.update(self.responses.means(pictures, [stage])[stage])
        return float(agreement.compute())

    def _diversity(self, pictures: Tensor) -> float:
        """How much several pictures differ, in all stages with positions."""
        network, diversity = self.responses.network, FeatureDiversity()
        layers = [stage for stage in self.responses.stages if stage != LOGITS] or self.responses.stages
        with network.frozen(), torch.no_grad():
            activations = network.activations(pictures.to(network.device), layers)
        diversity.update([activations[layer].cpu() for layer in layers])
        return float(diversity.compute())

    # -- what looks natural ------------------------------------------------------------------------------------------

    def _looks(self, picture: Tensor) -> dict[str, float]:
        photos = self.responses.network.photos
        metrics = {
            "saturated": SaturatedPixels(),
            "high_frequency": HighFrequencyEnergy(),
            "total_variation": TotalVariationDensity(),
        }
        scores = {name: float(metric(picture)) for name, metric in metrics.items()}
        scores["high_frequency_ratio"] = scores["high_frequency"] / photo_high_frequency(photos)
        side = 64 if photos == "tiny_imagenet" else 224
        if picture.shape[-2:] == (side, side):
            scores["spectrum_distance"] = float(log_spectral_distance(radial_spectrum(picture), photos)[0])
        return scores

    def _judged(
        self,
        targets: Sequence[Target],
        pictures: Tensor,
        found: Sequence[Evidence],
        values: Sequence[npt.NDArray[np.float32] | None],
    ) -> list[dict[str, tuple[float, float]]]:
        """Rank and probability of each class under the judges that know it; for other units the unit of the judge that responds most alike."""
        agreed: list[dict[str, tuple[float, float]]] = [{} for _ in targets]
        categories = self.responses.network.categories
        classes = [
            t.class_index if t.class_index is not None and t.class_index < len(categories) else None for t in targets
        ]
        for judge in self.judges:
            name, means = judge.network.name, judge.means(pictures, judge.stages)
            known = [None if c is None else class_index(categories[c], judge.network.categories) for c in classes]
            matches = best_matches(
                judge, [column if unit is None else None for unit, column in zip(known, values, strict=True)]
            )
            for row, (unit, match) in enumerate(zip(known, matches, strict=True)):
                evidence = found[row]
                if unit is not None:
                    index, logits = torch.tensor([unit]), means[LOGITS][row : row + 1]
                    agreed[row][name] = float(class_probability(logits, index)), float(class_rank(logits, index))
                    evidence.plausible[f"p({name})"], evidence.plausible[f"rank({name})"] = agreed[row][name]
                elif match is not None:
                    evidence.plausible |= _matched(judge, match, float(means[match.stage][row, match.unit]))
                if judge.not_finite:
                    evidence.plausible[f"photos_not_finite({name})"] = float(judge.not_finite)
        return agreed


def _is_of_one_place(objective: Objective) -> bool:
    """Whether a unit is that of one position: its picture is empty elsewhere, so that means over positions tell nothing of it."""
    return isinstance(objective, Neuron | Token)


def _matched(judge: NetworkResponses, match: Match, value: float) -> dict[str, float | str]:
    """What the unit that responds most alike does for a picture, among photos."""
    name, on_photos = judge.network.name, judge.photos.layers[match.stage][:, match.unit]
    percentile = float(100 * (on_photos < value).mean()) if math.isfinite(value) else math.nan
    return {
        f"match({name})": f"{match.stage}:{match.unit}",
        f"correlation({name})": match.correlation,
        f"percentile({name})": percentile,
    }


def _spread(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """At most ``count`` of some rows, at equal distances."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]
