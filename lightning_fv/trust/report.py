"""The report on a finished run: evidence for every picture, job by job, shared by any number of workers."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_fv.errors import DISK_ERRORS, RunFolderError, first_line, warn
from lightning_fv.networks import VisionNetwork
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.report import write_report
from lightning_fv.runs.evidence import Evidence, read_evidence, write_evidence
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job_folder import JobFolder
from lightning_fv.runs.picture import read_picture_tensor
from lightning_fv.runs.record import Record, read_manifest
from lightning_fv.targets import Target
from lightning_fv.trust.evaluate import Evaluator
from lightning_fv.trust.examples import examples

VERSION = 1
"""Incremented when a release makes other evidence of the same pictures."""

POLL_SECONDS = 0.5


def report_run(
    run: RunFolder,
    targets: Mapping[str, Target],
    evaluator: Evaluator,
    photos: PhotoFolder,
    others: Sequence[RunFolder] = (),
) -> list[Evidence]:
    """Collect evidence for every picture of a run, and write it into the run folder and its gallery.

    What is already there, made from the same pictures, photos and networks, is kept; any number of processes may do this at once.

    Args:
        run: with its manifest.
        targets: by record id; a picture whose target is not known has a verdict of ``unknown``.
        evaluator: what evaluates them.
        photos: the photos.
        others: runs of the same targets by other seeds, for the agreement of seeds.

    Returns:
        Evidence in the order of the manifest, for targets with a picture.

    Raises:
        RunFolderError: the run has no manifest, or cannot be written.
    """
    records = run.records()
    key = _key(evaluator, photos, others)
    waiting = [job for job in run.job_folders() if job.done_file.exists()]
    try:
        while waiting:
            waiting = [job for job in waiting if not _job_done(run, job, targets, evaluator, key, others)]
            if waiting:
                time.sleep(POLL_SECONDS)  # another worker has them
        found = {e.id: e for job in run.job_folders() for e in (_known(job) or [])}
        listed = [found[record.id] for record in records if record.id in found]
        write_evidence(run.evidence, listed)
    except OSError as error:
        raise RunFolderError(
            f"the report cannot be written to {run}: {error.strerror or error}; free some space and repeat the command"
        ) from error
    write_report(run, run.records)  # evidence does not change the film
    return listed


def _job_done(
    run: RunFolder,
    job: JobFolder,
    targets: Mapping[str, Target],
    evaluator: Evaluator,
    key: str,
    others: Sequence[RunFolder],
) -> bool:
    """Whether a job has its evidence, after making it if no other process does."""
    records = [record for record in read_manifest(job.done_file) if record.image is not None]
    made_from = [hashlib.blake2b(f"{key}{record.to_json()}".encode(), digest_size=8).hexdigest() for record in records]
    if [evidence.made_from for evidence in _known(job) or []] == made_from:
        return True
    with run.claim_evidence(job) as attempt:
        if not attempt:
            return False
        if [evidence.made_from for evidence in _known(job) or []] == made_from:
            return True
        found = _evaluated(run, records, targets, evaluator, others)
        for evidence, digest in zip(found, made_from, strict=True):
            evidence.made_from = digest
        write_evidence(job.evidence_file, found)
    return True


def _evaluated(
    run: RunFolder,
    records: Sequence[Record],
    targets: Mapping[str, Target],
    evaluator: Evaluator,
    others: Sequence[RunFolder],
) -> list[Evidence]:
    found: dict[str, Evidence] = {}
    by_size: dict[tuple[int, ...], list[tuple[Record, Tensor]]] = {}
    for record in records:
        try:
            picture = read_picture_tensor(run.path / str(record.image))
        except RunFolderError as error:
            found[record.id] = Evidence(record.id, record.target, reasons=[str(error)])
            continue
        if record.id in targets:
            by_size.setdefault(tuple(picture.shape), []).append((record, picture))
        else:
            found[record.id] = Evidence(
                record.id, record.target, reasons=["its objective has no text, so that it cannot be evaluated again"]
            )
    for group in by_size.values():
        known = [targets[record.id] for record, _ in group]
        pictures = torch.stack([picture for _, picture in group])
        seeds = [_by_other_seeds(record, picture, others) for record, picture in group]
        try:
            evaluated = evaluator(known, [record.id for record, _ in group], pictures, seeds)
            for (record, _), target, evidence in zip(group, known, evaluated, strict=True):
                values = evaluator.witness.photos.of(target.objective)
                if values is not None:
                    evidence.examples, evidence.least = examples(
                        run, evaluator.witness.network, evaluator.witness.photos, target.objective, values
                    )
                found[record.id] = evidence
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            warn(f"{group[0][0].target} and {len(group) - 1} more cannot be evaluated: {first_line(error)}")
            for record, _ in group:
                found[record.id] = Evidence(
                    record.id, record.target, reasons=[f"cannot be evaluated: {first_line(error)}"]
                )
    return [found[record.id] for record in records]


def _by_other_seeds(record: Record, picture: Tensor, others: Sequence[RunFolder]) -> Tensor:
    """Pictures (S, C, H, W) of the same target of the same size in other runs."""
    found = []
    for run in others:
        for other in run.records():
            same = other.id == record.id and other.network == record.network and other.seed != record.seed
            if same and other.image is not None:
                shown = read_picture_tensor(run.path / other.image)
                found += [shown] if shown.shape == picture.shape else []
    return torch.stack(found) if found else picture.new_empty(0, *picture.shape)


def _known(job: JobFolder) -> list[Evidence] | None:
    try:
        return read_evidence(job.evidence_file)
    except (OSError, ValueError):
        return None


def _key(evaluator: Evaluator, photos: PhotoFolder, others: Sequence[RunFolder]) -> str:
    witnesses = [evaluator.witness, *evaluator.judges]
    networks = [[_identity(witness.network), witness.stages] for witness in witnesses]
    return json.dumps(
        [VERSION, photos.digest, networks, [[str(run), [r.digest for r in run.records()]] for run in others]]
    )


def _identity(network: VisionNetwork) -> str:
    return network.name + network.digest()
