"""The report of a run: manifest, contact sheet, film, gallery, and evidence in TensorBoard."""

import contextlib
from collections.abc import Callable, Mapping, Sequence

from lightning_fv.errors import RunFolderError
from lightning_fv.report.events import log_evidence
from lightning_fv.report.evidence import known_evidence
from lightning_fv.report.gallery import write_gallery
from lightning_fv.report.sheet import contact_sheet, film
from lightning_fv.runs.digests import digest
from lightning_fv.runs.evidence import Evidence
from lightning_fv.runs.files import WriteErrors
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job_folder import JobFolder
from lightning_fv.runs.record import Record, write_manifest

FILM_JOBS = 4
"""Maximum number of jobs in the film, so that it remains watchable."""


def write_report(
    run: RunFolder,
    collect: Callable[[], list[Record]],
    jobs: Sequence[JobFolder] = (),
    errors: WriteErrors | None = None,
) -> list[Record]:
    """Write the report of a run; each of its files succeeds or fails independently.

    Several processes may do this at once: they take turns, and skip a report already made from the same records and
    the same evidence.

    Args:
        run: the run folder.
        collect: gives the records of all targets, in order, as they are when it is this process's turn.
        jobs: whose frames make the film, in order; without any, an older film stays.
        errors: records what cannot be written.

    Returns:
        The records.
    """
    errors = errors if errors is not None else WriteErrors()
    with contextlib.ExitStack() as turn:
        try:
            turn.enter_context(run.report_lock())
        except OSError as error:
            errors.add("report", error)
        records = collect()
        evidence = known_evidence(run, records)
        lines = [record.to_json() for record in records] + [found.to_json() for found in evidence.values()]
        made_from = digest("\n".join(lines).encode())
        if run.reported() == made_from:
            return records
        run.note_report("")
        if not _write(run, records, jobs, evidence, errors):
            run.note_report(made_from)
        return records


def _write(
    run: RunFolder,
    records: Sequence[Record],
    jobs: Sequence[JobFolder],
    evidence: Mapping[str, Evidence],
    errors: WriteErrors,
) -> list[str]:
    """Write the parts of a report; returns those that cannot be written."""
    frames = [job.frame_files() for job in jobs[:FILM_JOBS]]
    parts: dict[str, Callable[[], object]] = {
        run.manifest.name: lambda: write_manifest(run.manifest, records),
        run.sheet.name: lambda: contact_sheet(run.path, records, run.sheet, evidence=evidence),
        run.film.name: lambda: film(frames, run.film),
        run.gallery.name: lambda: write_gallery([run.path], evidence={run.path: evidence}),
        "evidence in TensorBoard": lambda: log_evidence(run, records, evidence),
    }
    failed: list[str] = []
    for name, write in parts.items():
        if name == run.gallery.name and run.manifest.name in failed:
            continue  # the page is made from the manifest
        try:
            write()
        except (OSError, RunFolderError) as error:
            errors.add(name, error)
            failed.append(name)
    return failed
