"""The gallery: one static page of the pictures of one or more runs, which opens from disk."""

import contextlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from PIL import Image

from lightning_fv.errors import RunFolderError, UsageError, warn
from lightning_fv.report.evidence import evidence_data, known_evidence
from lightning_fv.report.page import page as fill
from lightning_fv.runs.captions import caption
from lightning_fv.runs.evidence import Evidence
from lightning_fv.runs.files import read_file, write_text_atomic
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import Record, read_manifest

CHUNK = "lightning_fv"
"""Keyword of the PNG text chunk that `lightning_fv.runs.picture` writes; not imported from there, which needs torch."""

FRAME_PICTURES = 24
"""Maximum number of pictures in a frame of the film, as `ArtifactWriter` writes them."""


def write_gallery(
    folders: Sequence[Path], page: Path | None = None, evidence: Mapping[Path, Mapping[str, Evidence]] | None = None
) -> Path:
    """Write one HTML page of the pictures of runs; it links to them, relative to itself.

    Args:
        folders: run folders, each with its manifest.
        page: the file to write; by default ``gallery.html`` in the run folder, or in the common parent folder of
            several.
        evidence: of each folder by record id; by default what is in the folders.

    Returns:
        The page.

    Raises:
        RunFolderError: a folder does not exist or holds no readable manifest, or the page cannot be written.
    """
    if not folders:
        raise UsageError("a gallery needs the folder of at least one run")
    text = gallery_text(folders, None if page is None else page.parent, evidence)
    page = page or RunFolder(folders[0] if len({*map(Path.resolve, folders)}) == 1 else common_folder(folders)).gallery
    try:
        write_text_atomic(page, text)
    except OSError as error:
        raise RunFolderError(f"cannot write {page}: {error.strerror}; choose another file") from error
    return page


def common_folder(folders: Sequence[Path]) -> Path:
    """The folder of a run, or the common parent of several, without links."""
    return Path(os.path.commonpath([folder.resolve() for folder in folders]))


def gallery_title(folders: Sequence[Path]) -> str:
    """What the page of runs is called."""
    count = len({*map(Path.resolve, folders)})
    return _text(common_folder(folders).name) + (f": {count} runs" if count > 1 else "")


def gallery_text(
    folders: Sequence[Path],
    root: Path | None = None,
    evidence: Mapping[Path, Mapping[str, Evidence]] | None = None,
) -> str:
    """The page of the pictures of runs, as HTML.

    Args:
        folders: run folders, each with its manifest.
        root: the folder of the page, to which its links are relative; by default the `common_folder`.
        evidence: of each folder by record id; by default what is in the folders.

    Raises:
        RunFolderError: a folder does not exist or holds no readable manifest.
    """
    found = {folder: _manifest(folder) for folder in folders}
    runs = {folder.resolve(): folder for folder in folders}
    manifests = {run: found[folder] for run, folder in runs.items()}
    known = {
        run: known_evidence(RunFolder(folder), found[folder]) if evidence is None else evidence[folder]
        for run, folder in runs.items()
    }
    common = common_folder(folders)
    names = {run: _text(run.name if len(runs) == 1 else run.relative_to(common)) for run in runs}
    # For links in a loop, Path.resolve raises a RuntimeError.
    data = _data(manifests, names, common if root is None else Path(os.path.realpath(root)))
    if told := evidence_data([known[run].get(record.id) for run, records in manifests.items() for record in records]):
        data["evidence"] = told
    return fill("gallery.html", title=gallery_title(folders), data=data)


def _manifest(folder: Path) -> list[Record]:
    run = RunFolder(folder)  # which refuses impossible names
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such folder; give the folder of a run")
    records = run.records()
    changed = [r.image for r in records if r.image is not None and r.digest is not None and not r.is_intact(folder)]
    if changed:
        warn(
            f"{folder}: {len(changed)} of {len(records)} pictures are missing or were changed, such as {changed[0]}; "
            f"render them again with lightning-fv --resume --out {folder}",
        )
    return records


def _data(manifests: Mapping[Path, list[Record]], names: Mapping[Path, str], root: Path) -> dict[str, Any]:
    """The page's data, kept small: a short array per picture, and only once what pictures share.

    Returns:
        runs: name, URL from the page's folder, recipe.
        scores: names of the further scores.
        kinds: network, status, height, width, steps, seed.
        jobs: run, URL from the run's folder, number of pictures in a frame, steps of the frames.
        rows: run, kind, job (-1 without frames), position in the job's frames, id, target without the number of the picture,
            this number (0 of the only picture), seconds, picture (its URL from the run's folder, 1 for the usual one, None),
            score, further scores.
    """
    scores = list(dict.fromkeys(name for records in manifests.values() for r in records for name in _scores(r)))
    runs: list[dict[str, str | None]] = []
    jobs: list[list[Any]] = []
    rows: list[list[Any]] = []
    kinds: dict[tuple[Any, ...], int] = {}
    for number, (run, records) in enumerate(manifests.items()):
        runs.append(
            {"name": names[run], "url": _url(os.path.relpath(run, root)) + "/", "recipe": _recipe(run, records)}
        )
        places: dict[str, tuple[int, int]] = {}
        for url, ids, steps in _films(run):
            places |= {id_: (len(jobs), place) for place, id_ in enumerate(ids)}
            jobs.append([number, url, len(ids), steps])
        for record in records:
            # The seed is text: JavaScript would round it beyond 2**53.
            kind = (record.network, record.status, *record.size, record.steps, str(record.seed))
            image = _url(record.image) if record.image is not None else None
            values = [_scores(record).get(name) for name in scores]
            rows.append(
                [
                    number,
                    kinds.setdefault(kind, len(kinds)),
                    *places.get(record.id, (-1, 0)),
                    record.id,
                    caption(record.unit or record.target),
                    record.facet or 0,
                    _short(record.seconds),
                    1 if image == _url(RunFolder(run).picture(record.id).relative_to(run)) else image,
                    _short(record.score),
                    *(value if isinstance(value, str) else _short(value) for value in values),
                ]
            )
    return {"runs": runs, "scores": scores, "kinds": list(kinds), "jobs": jobs, "rows": rows}


def _scores(record: Record) -> dict[str, float | str]:
    """What the page shows besides the score."""
    return {**record.scores, "error": record.error} if record.error is not None else record.scores


def _short(value: float | None) -> float | None:
    """A number short enough for thousands of them."""
    return float(f"{value:.6g}") if value is not None else None


def _films(run: Path) -> list[tuple[str, list[str], list[int]]]:
    """For each job with frames: its URL below the run's, ids of the pictures in its frames, and the frames' steps."""
    films = []
    for job in RunFolder(run).job_folders():
        try:
            ids = [record.id for record in read_manifest(job.done_file)[:FRAME_PICTURES]]
        except (OSError, ValueError):
            continue  # its pictures are shown without a strip
        if steps := job.frame_steps():
            films.append((_url(job.path.relative_to(run)), ids, steps))
    return films


def recipe_of(content: bytes) -> dict[str, Any] | None:
    """How a picture was made, from the text chunk of its PNG; None if it does not say so."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            chunk = json.loads(picture.info[CHUNK])
        own = {"start": "photos; each PNG names its own"} if isinstance(chunk["recipe"].get("start"), dict) else {}
        return {"recipe": chunk["recipe"] | own, "versions": chunk["versions"]}
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
        Image.DecompressionBombError,
    ):  # Pillow's SyntaxError is a broken PNG
        return None


def _recipe(run: Path, records: Sequence[Record]) -> str | None:
    """How a run's pictures were made, as YAML, from the text chunk of the first that exists."""
    files = (run / record.image for record in records if record.image is not None)
    for file in files:
        try:
            content = read_file(file)
            break
        except OSError:
            continue
    else:
        return None
    with contextlib.suppress(yaml.YAMLError, ValueError, TypeError, RecursionError):
        if (provenance := recipe_of(content)) is not None:
            return yaml.dump(provenance, Dumper=_Readable, sort_keys=False, allow_unicode=True)
    return None


class _Readable(yaml.SafeDumper):
    """One line per setting; lists of numbers on one line."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        flat = all(isinstance(value, int | float) for value in sequence)
        return super().represent_sequence(tag, sequence, flow_style=flat)


def _url(path: str | Path) -> str:
    return quote(Path(path).as_posix().encode("utf-8", "surrogateescape"))


def _text(path: str | Path) -> str:
    """A path for display: bytes that are not UTF-8 become question marks."""
    return str(path).encode("utf-8", "replace").decode()
