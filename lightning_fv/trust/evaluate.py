"""The evidence about a batch of pictures."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lightning_fv.functional import Questions, class_probability, class_rank, path_similarity, photo_high_frequency
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
from lightning_fv.objectives import Objective
from lightning_fv.optimization.transform_pipeline import TransformPipeline
from lightning_fv.photos.activations import unit_of
from lightning_fv.photos.statistics import PhotoStatistics
from lightning_fv.runs.evidence import Evidence
from lightning_fv.targets import Target
from lightning_fv.trust.verdict import verdict
from lightning_fv.trust.witness import ROWS, Witness

DRAWS = 8
"""Random transforms that a picture is scored under."""

OWN, OTHER = 20, 100
"""Photos that excite the unit, and others, that a picture's path is compared with."""


class Evaluator:
    """Evaluates pictures of units of one network.

    Args:
        witness: the network that the pictures were made for, with the values of the targets for photos.
        judges: other networks.
        transforms: those of the recipe that made the pictures.
        seed: of random transforms and draws of photos.
    """

    def __init__(self, witness: Witness, judges: Sequence[Witness], transforms: Sequence[nn.Module], seed: int) -> None:
        self.witness, self.judges = witness, list(judges)
        self._transforms, self._seed = list(transforms), seed
        self._statistics: dict[str, PhotoStatistics] = {}

    def __call__(
        self, targets: Sequence[Target], ids: Sequence[str], pictures: Tensor, others: Sequence[Tensor] = ()
    ) -> list[Evidence]:
        """The evidence about pictures, without examples.

        Args:
            targets: of each picture.
            ids: of each picture's record.
            pictures: (B, C, H, W) in [0, 1].
            others: for each target (S, C, H, W), pictures of the same target by other seeds; S may be 0. Or none.
        """
        found = [Evidence(name, target.text) for name, target in zip(ids, targets, strict=True)]
        values = [self.witness.photos.of(target.objective) for target in targets]
        self._scores(targets, pictures, found, values)
        means = self.witness.means(pictures, self.witness.stages)
        for row, (target, evidence) in enumerate(zip(targets, found, strict=True)):
            if (on_photos := values[row]) is not None:
                stages = self.witness.before(target.objective.layers)
                self._path(target, evidence, on_photos, {s: means[s][row : row + 1] for s in stages}, stages)
                self._two_choice(evidence, on_photos, {s: means[s][row : row + 1] for s in stages}, stages)
            for name, score in self._looks(pictures[row : row + 1]).items():
                evidence.plausible[name] = score
            if len(others) and len(others[row]):
                self._agreement(evidence, torch.cat([pictures[row : row + 1], others[row]]))
        self._monosemanticity(found, values)
        agreed = self._judged(targets, pictures, found, values)
        for evidence, judged in zip(found, agreed, strict=True):
            count = len(self.witness.photos) if "photo_percentile" in evidence.faithful else 0
            evidence.verdict, evidence.reasons = verdict(evidence.faithful, evidence.path, judged, count)
        return found

    # -- what the unit does ------------------------------------------------------------------------------------------

    def _scores(
        self,
        targets: Sequence[Target],
        pictures: Tensor,
        found: Sequence[Evidence],
        values: Sequence[npt.NDArray[np.float32] | None],
    ) -> None:
        network = self.witness.network
        plain = self._values(targets, pictures)
        pipeline = TransformPipeline(
            self._transforms, self._seed, [target.key for target in targets], max(network.input_size)
        )
        device = network.device
        transformed = torch.stack(
            [self._values(targets, pipeline(pictures.to(device), 10**6 + draw).cpu()) for draw in range(DRAWS)]
        )
        logits = (
            self.witness.means(pictures, [LOGITS])[LOGITS] if any(t.class_index is not None for t in targets) else None
        )
        for row, (target, evidence) in enumerate(zip(targets, found, strict=True)):
            score = float(plain[row])
            evidence.faithful |= {"score": score, "transformed_score": float(transformed[:, row].mean())}
            if (unit := target.class_index) is not None and logits is not None:
                index = torch.tensor([unit])
                evidence.faithful["probability"] = float(class_probability(logits[row : row + 1], index))
                evidence.faithful["rank"] = float(class_rank(logits[row : row + 1], index))
            if (on_photos := values[row]) is not None:
                self._among_photos(target.objective, evidence, score, on_photos)

    def _values(self, targets: Sequence[Target], pictures: Tensor) -> Tensor:
        """Each target's objective for its picture, (B,)."""
        network = self.witness.network
        found = []
        with network.frozen(), torch.no_grad():
            images = pictures.to(network.device)
            layers = frozenset[str]().union(*(target.objective.layers for target in targets))
            activations = network.activations(images, layers) if layers else {}
            for row, target in enumerate(targets):
                own = {layer: values[row : row + 1] for layer, values in activations.items()}
                known = not target.objective.photos
                found.append(
                    target.objective(own, images[row : row + 1])[0].float().cpu() if known else torch.tensor(math.nan)
                )
        return torch.stack(found)

    def _among_photos(
        self, objective: Objective, evidence: Evidence, score: float, values: npt.NDArray[np.float32]
    ) -> None:
        bad = int((~np.isfinite(values)).sum())
        finite = values[np.isfinite(values)]
        if bad:
            evidence.faithful["photos_not_finite"] = float(bad)
        if not len(finite) or not math.isfinite(score):
            return
        evidence.faithful["photo_percentile"] = float(100 * (finite < score).mean())
        if finite.max() > 0:
            evidence.faithful["photo_multiple"] = score / float(finite.max())
        if (unit := unit_of(objective)) is not None:
            layer, index = unit
            if layer not in self._statistics:
                self._statistics[layer] = PhotoStatistics.of({layer: self.witness.photos.layers[layer]})
            comparison = self._statistics[layer].compare(layer, index, score)
            if comparison is not None and comparison.seldom:
                evidence.faithful["photos"] = "hardly ever responds"

    def _path(
        self,
        target: Target,
        evidence: Evidence,
        values: npt.NDArray[np.float32],
        means: dict[str, Tensor],
        stages: Sequence[str],
    ) -> None:
        """Path similarity of the picture to photos of its class, if the photos' folders tell it, else to those that excite the unit most."""
        order = np.argsort(np.where(np.isfinite(values), values, -np.inf), kind="stable")[::-1]
        own, rest = order[:OWN], order[len(order) // 2 :]
        categories = self.witness.network.categories
        if target.class_index is not None and target.class_index < len(categories):
            name = canonical(categories[target.class_index])
            labels = {
                entry.label for entry in self.witness.photos.entries if entry.label and canonical(entry.label) == name
            }
            if labels and len(rows := self.witness.photos.rows(labels)) >= 2:
                own = rows[np.linspace(0, len(rows) - 1, min(OWN, len(rows))).astype(np.int64)]
                rest = np.setdiff1d(np.arange(len(values)), rows)
        if len(own) < 2 or not len(rest):
            return
        chosen = rest[np.linspace(0, len(rest) - 1, min(OTHER, len(rest))).astype(np.int64)]
        of_own, of_other = self.witness.of_photos(own, stages), self.witness.of_photos(chosen, stages)
        for stage in stages:
            similarity = float(path_similarity(means[stage], of_own[stage], of_other[stage])[0])
            evidence.path[stage] = similarity if math.isfinite(similarity) else None

    def _two_choice(
        self, evidence: Evidence, values: npt.NDArray[np.float32], means: dict[str, Tensor], stages: Sequence[str]
    ) -> None:
        """Whether the network's own features, or those of the first judge, of the picture tell photos that excite the unit from others."""
        try:
            questions = Questions.of(np.ascontiguousarray(values)[:, None])
        except ValueError:  # too few photos
            return
        pairs = questions.best.shape[1]
        rows = torch.cat([questions.best[0], questions.least[0]])
        asked = Questions(
            torch.arange(pairs)[None], torch.arange(pairs, 2 * pairs)[None], questions.hints, questions.top
        )
        hint = self.witness.features(means, stages)[None]
        of_photos = self.witness.features(self.witness.of_photos(rows, stages), stages)
        evidence.faithful["two_choice"] = float(asked.right(torch.tensor([0]), hint, of_photos)[0])

    def _monosemanticity(self, found: Sequence[Evidence], values: Sequence[npt.NDArray[np.float32] | None]) -> None:
        known = [(evidence, column) for evidence, column in zip(found, values, strict=True) if column is not None]
        if not known:
            return
        witness = self.judges[0] if self.judges else self.witness
        layer = witness.stages[-2] if len(witness.stages) > 1 else witness.stages[-1]
        columns = np.stack([column for _, column in known], 1)
        metric = MonoScore(len(known), witness.photos.layers[layer].shape[1])
        for start in range(0, len(columns), ROWS):
            rows = np.arange(start, min(start + ROWS, len(columns)))
            embeddings = witness.features(witness.of_photos(rows, [layer]), [layer])
            metric.update(embeddings, torch.from_numpy(columns[rows]))
        for (evidence, _), score in zip(known, metric.compute().tolist(), strict=True):
            evidence.faithful["mono_score"] = score

    def _agreement(self, evidence: Evidence, pictures: Tensor) -> None:
        """Of pictures of one target by several seeds: how much the network sees the same in them, and how much they differ."""
        stages = self.witness.stages[-2:-1] or self.witness.stages
        agreement = SeedAgreement(*self.witness.scale[stages[0]])
        agreement.update(self.witness.means(pictures, stages)[stages[0]])
        evidence.faithful["seed_agreement"] = float(agreement.compute())
        evidence.faithful["seeds"] = float(len(pictures))
        network = self.witness.network
        with network.frozen(), torch.no_grad():
            layers = [stage for stage in self.witness.stages if stage != LOGITS]
            activations = network.activations(pictures.to(network.device), layers)
        diversity = FeatureDiversity()
        diversity.update([activations[layer].cpu() for layer in layers])
        evidence.plausible["diversity"] = float(diversity.compute())

    # -- what looks natural ------------------------------------------------------------------------------------------

    def _looks(self, picture: Tensor) -> dict[str, float]:
        photos = self.witness.network.photos
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
        categories = self.witness.network.categories
        for judge in self.judges:
            name, means = judge.network.name, judge.means(pictures, judge.stages)
            matches = self._matches(
                judge, [None if t.class_index is not None else v for t, v in zip(targets, values, strict=True)]
            )
            for row, (target, evidence) in enumerate(zip(targets, found, strict=True)):
                own = target.class_index
                unit = (
                    class_index(categories[own], judge.network.categories)
                    if own is not None and own < len(categories)
                    else None
                )
                if unit is not None:
                    index, logits = torch.tensor([unit]), means[LOGITS][row : row + 1]
                    agreed[row][name] = float(class_probability(logits, index)), float(class_rank(logits, index))
                    evidence.plausible[f"p({name})"], evidence.plausible[f"rank({name})"] = agreed[row][name]
                if (match := matches[row]) is not None:
                    stage, channel, correlation = match
                    value, on_photos = float(means[stage][row, channel]), judge.photos.layers[stage][:, channel]
                    evidence.plausible[f"match({name})"] = f"{stage}:{channel}"
                    evidence.plausible[f"correlation({name})"] = correlation
                    evidence.plausible[f"percentile({name})"] = float(100 * (on_photos < value).mean())
        return agreed

    @staticmethod
    def _matches(
        judge: Witness, values: Sequence[npt.NDArray[np.float32] | None]
    ) -> list[tuple[str, int, float] | None]:
        """For each unit the judge's stage, unit and correlation over photos of the unit that correlates most with it."""
        best: list[tuple[str, int, float] | None] = [None] * len(values)
        usable = {
            row: column
            for row, column in enumerate(values)
            if column is not None and np.isfinite(column).all() and column.std() > 0
        }
        rows = list(usable)
        if not rows:
            return best
        columns = np.stack(list(usable.values()), 1).astype(np.float64)
        columns = (columns - columns.mean(0)) / columns.std(0)
        for stage in judge.stages:
            mean, std = (part.double().numpy() for part in judge.scale[stage])
            total = np.zeros((len(rows), len(mean)))
            for start in range(0, len(columns), ROWS):
                part = (np.asarray(judge.photos.layers[stage][start : start + ROWS], np.float64) - mean) / std
                total += columns[start : start + ROWS].T @ part
            correlation = np.nan_to_num(total / len(columns), nan=-1.0)
            for place, row in enumerate(rows):
                unit = int(correlation[place].argmax())
                known = best[row]
                if known is None or correlation[place, unit] > known[2]:
                    best[row] = stage, unit, float(correlation[place, unit])
        return best
