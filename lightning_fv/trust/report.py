"""The report on a finished run: evidence for every picture, job by job, shared by any number of workers."""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_fv.engines.isolation import ignored_warnings
from lightning_fv.errors import DISK_ERRORS, FeatureVisualizationError, RunFolderError, UsageError, first_line, warn
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import Objective
from lightning_fv.photos.activations import unit_of
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.report import write_report
from lightning_fv.runs.digests import digest, file_digest
from lightning_fv.runs.evidence import Evidence, read_evidence, write_evidence
from lightning_fv.runs.files import read_file
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job_folder import JobFolder
from lightning_fv.runs.picture import read_picture_tensor
from lightning_fv.runs.record import Record, read_manifest
from lightning_fv.targets import Target
from lightning_fv.trust.evaluate import Evaluator
from lightning_fv.trust.examples import examples
from lightning_fv.trust.responses import NetworkResponses

VERSION = 1
"""Incremented when a release makes other evidence of the same pictures."""

POLL_SECONDS = 0.5


@dataclass
class ReportInputs:
    """What a report is made from, besides the run.

    Attributes:
        network: that the pictures were made for.
        targets: by record id; a picture whose target is not known has a verdict of ``unknown``.
        photos: what the units are compared on.
        judges: other networks.
        others: runs of the same targets by other seeds, for the agreement of seeds.
        reasons: by record id, why its target is not known.
    """

    network: VisionNetwork
    targets: Mapping[str, Target]
    photos: PhotoFolder
    judges: Sequence[VisionNetwork] = ()
    others: Sequence[RunFolder] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)


def report_run(run: RunFolder, inputs: ReportInputs) -> list[Evidence]:
    """Collect evidence for every finished picture of a run, and write it into the run folder and its gallery.

    What is already there, made from the same pictures, photos and networks, is kept; any number of processes may do this at once.

    Args:
        run: with its manifest.
        inputs: what to compare with.

    Returns:
        Evidence in the order of the manifest, for targets with a picture.

    Raises:
        RunFolderError: the run has no manifest, or cannot be written.
        UsageError: no photo can be read, or another run holds no picture to compare with.
        OSError: a disk is full or broken.
    """
    records = run.records()
    jobs = [job for job in run.job_folders() if job.done_file.exists()]
    run.locks_work()
    try:
        with ignored_warnings(".*could be decompression bomb.*"):  # Pillow's, below its limit; ours is lower
            work = _Work.of(run, records, inputs)
            waiting = list(jobs)
            while waiting:
                waiting = [job for job in waiting if not work.done(job)]
                if waiting:
                    time.sleep(POLL_SECONDS)  # another worker has them
        found = {(evidence.id, evidence.digest): evidence for job in jobs for evidence in _known(job)}
        listed = [found[key] for record in records if (key := (record.id, record.digest)) in found]
        _write(run, listed)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        raise RunFolderError(
            f"the report cannot be written to {run}: {error.strerror or error}; repair that and repeat the command"
        ) from error
    write_report(run, run.records)  # evidence does not change the film
    return listed


def _write(run: RunFolder, evidence: Sequence[Evidence]) -> None:
    """Write the run's evidence, unless it is there: the gallery is made again when it changes."""
    text = "".join(found.to_json() + "\n" for found in evidence)
    with contextlib.suppress(OSError):
        if read_file(run.evidence) == text.encode():
            return
    write_evidence(run.evidence, evidence)


@dataclass
class _Work:
    """What the evidence of all jobs of a run is made with.

    Attributes:
        run: the run.
        inputs: what to compare with.
        key: of everything that any evidence depends on, besides the picture.
        seeds: by record id, the pictures of the same target by other seeds, (S, C, H, W) each, in files.
        evaluator: makes it; loaded when the first job needs it.
    """

    run: RunFolder
    inputs: ReportInputs
    key: str
    seeds: dict[str, list[Path]]
    evaluator: Evaluator | None = None

    @classmethod
    def of(cls, run: RunFolder, records: Sequence[Record], inputs: ReportInputs) -> "_Work":
        networks = [inputs.network, *inputs.judges]
        identities = [[n.name, n.digest(), n.settings(), list(n.categories)] for n in networks]
        key = json.dumps([VERSION, inputs.photos.digest, identities], sort_keys=True)
        return cls(run, inputs, key, _by_other_seeds(records, inputs.others))

    def done(self, job: JobFolder) -> bool:
        """Whether a job has its evidence, after making it if no other process does."""
        try:
            records = [record for record in read_manifest(job.done_file) if record.image is not None]
        except (OSError, ValueError) as error:
            warn(f"{job.done_file}: {first_line(error)}; its pictures have no evidence: repair it with --resume")
            return True
        made_from = [self._made_from(record) for record in records]
        if [evidence.made_from for evidence in _known(job)] == made_from:
            return True
        with self.run.claim_evidence(job) as attempt:
            if not attempt:
                return False
            if [evidence.made_from for evidence in _known(job)] != made_from:
                found = self._evidence(records)
                for record, evidence, origin in zip(records, found, made_from, strict=True):
                    evidence.made_from, evidence.digest = origin, record.digest
                write_evidence(job.evidence_file, found)
        return True

    def _made_from(self, record: Record) -> str:
        reason = self.inputs.reasons.get(record.id, "")
        files = [self.run.path / str(record.image), *self.seeds.get(record.id, [])]
        parts = [self.key, str(record.digest), reason, *map(_digest, files)]
        return digest("\0".join(parts).encode(errors="surrogatepass"))[:16]

    def _evidence(self, records: Sequence[Record]) -> list[Evidence]:
        inputs, channels = self.inputs, self.inputs.network.channels
        found: dict[str, Evidence] = {}
        pictures: dict[str, Tensor] = {}
        for record in records:
            try:
                picture = _read(self.run.path / str(record.image), channels)
            except RunFolderError as error:
                found[record.id] = Evidence(record.id, record.target, reasons=[str(error)])
                continue
            if record.id in inputs.targets:
                pictures[record.id] = picture
            else:
                reason = inputs.reasons.get(record.id, "its objective cannot be evaluated again")
                found[record.id] = Evidence(record.id, record.target, reasons=[reason])
        evaluator = self._evaluator() if pictures else None
        for size in dict.fromkeys(picture.shape for picture in pictures.values()):
            group = [record for record in records if record.id in pictures and pictures[record.id].shape == size]
            assert evaluator is not None
            for evidence in self._evaluated(evaluator, group, {r.id: pictures[r.id] for r in group}):
                found[evidence.id] = evidence
        name = inputs.photos.path.resolve().name.encode(errors="replace").decode()
        for evidence in found.values():
            evidence.photos, evidence.judges = name, [judge.name for judge in inputs.judges]
            evidence.photo_count = 0 if evaluator is None else len(evaluator.responses.photos)
        return [found[record.id] for record in records]

    def _evaluated(
        self, evaluator: Evaluator, records: Sequence[Record], pictures: Mapping[str, Tensor]
    ) -> list[Evidence]:
        """The evidence about pictures of one size; if one of them cannot be evaluated, the others still are."""
        targets = [self.inputs.targets[record.id] for record in records]
        same = [
            [
                pictures[other.id]
                for other in records
                if record.unit and other.unit == record.unit and other is not record
            ]
            for record in records
        ]
        try:
            found = evaluator(
                targets,
                [record.id for record in records],
                torch.stack([pictures[record.id] for record in records]),
                [
                    _stacked(self._of_other_seeds(record, pictures[record.id]), pictures[record.id])
                    for record in records
                ],
                [_stacked(others, pictures[record.id]) for record, others in zip(records, same, strict=True)],
            )
            for target, evidence in zip(targets, found, strict=True):
                self._add_examples(evaluator, target, evidence)
            return found
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever an objective raises
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            if len(records) > 1:
                return [self._evaluated(evaluator, [record], pictures)[0] for record in records]
            reason = f"cannot be evaluated: {first_line(error)}"
            return [Evidence(records[0].id, records[0].target, reasons=[reason])]

    def _add_examples(self, evaluator: Evaluator, target: Target, evidence: Evidence) -> None:
        responses = evaluator.responses
        values = responses.photos.of(target.objective)
        if values is None or not np.isfinite(values).any():
            return
        try:
            evidence.examples, evidence.least = examples(
                self.run, responses.network, responses.photos, target.objective, values
            )
        except UsageError as error:
            warn(f"{target.text} is shown without photos: {first_line(error)}")

    def _of_other_seeds(self, record: Record, picture: Tensor) -> list[Tensor]:
        """Pictures of the same target of the same size in other runs."""
        found = []
        for file in self.seeds.get(record.id, []):
            try:
                shown = _read(file, len(picture))
            except RunFolderError as error:
                warn(str(error))
                continue
            found += [shown] if shown.shape == picture.shape else []
        return found

    def _evaluator(self) -> Evaluator:
        if self.evaluator is None:
            inputs = self.inputs
            objectives = {target.objective.key: target.objective for target in inputs.targets.values()}
            missing = _without_photos(inputs.network, list(objectives.values()))
            known = [objective for key, objective in objectives.items() if key not in missing]
            responses = _responses(inputs.network, inputs.photos, known, missing)
            self.evaluator = Evaluator(
                responses, [NetworkResponses.of(j, inputs.photos) for j in inputs.judges], missing
            )
        return self.evaluator


def _responses(
    network: VisionNetwork, photos: PhotoFolder, objectives: Sequence[Objective], missing: dict[str, str]
) -> NetworkResponses:
    """The network's responses to photos; an objective that fails for some photo is left out, and added to ``missing``."""
    try:
        return NetworkResponses.of(network, photos, objectives)
    except (FeatureVisualizationError, OSError, torch.OutOfMemoryError):
        raise
    except Exception:  # any, of a user's objective: which one?
        usable = []
        for objective in objectives:
            try:
                NetworkResponses.of(network, photos, [objective])
                usable.append(objective)
            except Exception as error:
                missing[objective.key] = f"its objective cannot be evaluated for photos: {first_line(error)}"
        return NetworkResponses.of(network, photos, usable)


def _without_photos(network: VisionNetwork, objectives: Sequence[Objective]) -> dict[str, str]:
    """By its key, why an objective has no values for photos: found out before a pass that may take an hour."""
    images = network.grey(network.input_size).expand(2, -1, -1, -1)
    missing: dict[str, str] = {}
    for objective in objectives:
        if objective.photos:
            missing[objective.key] = "it compares with a photo of its own, and has no value for others"
        if objective.photos or unit_of(objective) is not None:
            continue
        try:
            with network.frozen(), torch.no_grad():
                layers = objective.layers
                value = objective(network.activations(images, layers) if layers else {}, images)
            if value.shape != (2,):
                raise UsageError(f"it gives {tuple(value.shape)} for two pictures")
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # any, of a user's objective
            missing[objective.key] = f"its objective cannot be evaluated for photos: {first_line(error)}"
    return missing


def _by_other_seeds(records: Sequence[Record], others: Sequence[RunFolder]) -> dict[str, list[Path]]:
    own = {record.id: record for record in records}
    found: dict[str, list[Path]] = {}
    for run in others:
        known = 0
        for other in run.records():
            record = own.get(other.id)
            if record and other.image and other.network == record.network and other.seed != record.seed:
                found.setdefault(other.id, []).append(run.path / other.image)
                known += 1
        if not known:
            raise UsageError(f"others: {run} holds no picture of these targets by another seed; leave it out")
    return found


def _stacked(pictures: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(pictures)) if pictures else like.new_empty(0, *like.shape)


def _read(path: Path, channels: int) -> Tensor:
    """A picture (C, H, W) as its network sees it.

    Raises:
        RunFolderError: it is missing or damaged, or its network sees more than a file shows.
    """
    if channels not in (1, 3):
        raise RunFolderError(f"{path} does not show all {channels} channels that the network sees")
    return read_picture_tensor(path)[:channels]


def _digest(file: Path) -> str:
    try:
        return file_digest(file)
    except OSError:
        return "missing"


def _known(job: JobFolder) -> list[Evidence]:
    try:
        return read_evidence(job.evidence_file)
    except (OSError, ValueError, FeatureVisualizationError):
        return []
