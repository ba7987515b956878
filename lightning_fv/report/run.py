"""The report of a run: manifest, contact sheet, film and gallery."""

import hashlib
from collections.abc import Callable, Sequence

from lightning_fv.errors import RunFolderError
from lightning_fv.report.gallery import write_gallery
from lightning_fv.report.sheet import contact_sheet, film
from lightning_fv.runs.files import WriteErrors
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job_folder import JobFolder
from lightning_fv.runs.record import Record, write_manifest

FILM_JOBS = 4
"""Maximum number of jobs in the film, so that it remains watchable."""


def write_report(
    run: RunFolder, records: Sequence[Record], jobs: Sequence[JobFolder] = (), errors: WriteErrors | None = None
) -> None:
    """Write the report of a run; each of its files succeeds or fails independently.

    Several processes may do this at once: they take turns, and skip a report already made from the same records.

    Args:
        run: the run folder.
        records: of all targets, in order.
        jobs: whose frames make the film, in order.
        errors: records what cannot be written.
    """
    errors = errors if errors is not None else WriteErrors()
    digest = hashlib.blake2b("\n".join(map(Record.to_json, records)).encode(), digest_size=16).hexdigest()
    frames = [job.frame_files() for job in jobs[:FILM_JOBS]]
    parts: dict[str, Callable[[], object]] = {
        run.manifest.name: lambda: write_manifest(run.manifest, records),
        run.sheet.name: lambda: contact_sheet(run.path, records, run.sheet),
        run.film.name: lambda: film(frames, run.film),
        run.gallery.name: lambda: write_gallery([run.path]),
    }
    with run.report_lock():
        if run.reported() == digest:
            return
        run.note_report("")
        failed = []
        for name, write in parts.items():
            if name == run.gallery.name and run.manifest.name in failed:
                continue  # the page is made from the manifest
            try:
                write()
            except (OSError, RunFolderError) as error:
                errors.add(name, error)
                failed.append(name)
        if not failed:
            run.note_report(digest)
