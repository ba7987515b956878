"""A gallery on the Hugging Face hub (extra ``hub``): a static Space, a page that a browser shows without a server of one's own."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_fv.errors import HubError, RunFolderError, first_line, say
from lightning_fv.report.evidence import known_evidence
from lightning_fv.report.gallery import common_folder, gallery_text, gallery_title, recipe_of
from lightning_fv.runs.evidence import Evidence
from lightning_fv.runs.files import read_file
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import Record
from lightning_fv.version import __version__

TAG = "lightning-fv"
"""Of Spaces that this made, which alone it writes to: another's files would be deleted."""

_FROM_PHOTO = re.compile(r"\b(inversion|caricature|style)\s*[:(]", re.IGNORECASE)
"""Targets whose pictures are like the photo that they name."""

_KEPT = {".gitattributes"}
"""Files of a Space that are the hub's own."""


class Space:
    """A Space of the hub that a gallery is to be uploaded to; what can be known without the hub is checked when it is made.

    Args:
        name: ``NAME``, of the user whose token it is, or ``OWNER/NAME``.
        private: create it so that only its owner sees it. One that exists must be private already.

    Raises:
        HubError: it is no name, ``huggingface_hub`` is missing, nothing may be sent, or there is no token.
    """

    def __init__(self, name: str, private: bool = False) -> None:
        try:
            import huggingface_hub.constants
            import huggingface_hub.errors
            import huggingface_hub.utils
        except ImportError as error:
            raise HubError(f"--push needs huggingface_hub ({error}): pip install 'lightning_fv[hub]'") from None
        hub: Any = huggingface_hub
        try:
            hub.utils.validate_repo_id(name)
        except ValueError as error:
            raise HubError(f"--push {name}: {first_line(error).rstrip('.')}; write NAME or OWNER/NAME") from None
        if hub.constants.HF_HUB_OFFLINE:
            raise HubError("--push sends files to the hub, and HF_HUB_OFFLINE forbids it; unset it")
        if hub.get_token() is None:
            raise HubError(
                "--push needs a token of the Hugging Face hub that may write; log in with `hf auth login`, or set HF_TOKEN"
            )
        self.name, self.private = name, private
        self._hub, self._api = hub, hub.HfApi()

    def push(self, folders: Sequence[Path], with_photos: bool = False) -> str:
        """Upload the page of runs with all that it shows, in one commit, in the place of what was there; returns the Space's address.

        Args:
            folders: run folders, each with its manifest.
            with_photos: also photos: those beside pictures, and pictures that were made from photos.

        Raises:
            RunFolderError: a run cannot be read.
            HubError: pictures were made from photos, without ``with_photos``; or the hub cannot be reached, or refuses.
        """
        files = gallery_files(folders, with_photos)
        try:
            return self._commit(files, gallery_title(folders))
        except HubError:
            raise
        except Exception as error:  # of the hub's client, its HTTP library, or the disk
            raise HubError(f"cannot push to {self.name}: {_reason(error)}; the page on this disk is whole") from None

    def _commit(self, files: Mapping[str, bytes | Path], title: str) -> str:
        hub, api = self._hub, self._api
        name = self.name if "/" in self.name else f"{api.whoami()['name']}/{self.name}"
        try:
            found = api.space_info(name)
        except hub.errors.RepositoryNotFoundError:
            api.create_repo(name, repo_type="space", space_sdk="static", private=self.private or None)
            old = set()
        else:
            if TAG not in [*(found.tags or []), *((found.card_data and found.card_data.get("tags")) or [])]:
                raise HubError(f"the Space {name} exists and is no gallery of {TAG}; choose another name")
            if self.private and not found.private:
                raise HubError(f"the Space {name} is public; make it private in its settings, or leave out --private")
            old = {sibling.rfilename for sibling in found.siblings or []}
        operations: list[Any] = [
            hub.CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in files.items()
        ]
        operations += [hub.CommitOperationDelete(path) for path in sorted(old - files.keys() - _KEPT)]
        api.create_commit(name, operations, commit_message=f"Gallery of {title}", repo_type="space")
        return f"{api.endpoint}/spaces/{name}"


def gallery_files(folders: Sequence[Path], with_photos: bool = False) -> dict[str, bytes | Path]:
    """What a Space of runs consists of: by its path there, the content or a file. Nothing but what the page shows.

    Raises:
        RunFolderError: a run cannot be read, or holds a link.
        HubError: pictures were made from photos, without ``with_photos``.
    """
    common = common_folder(folders)
    files: dict[str, bytes | Path] = {}
    evidence: dict[Path, Mapping[str, Evidence]] = {}
    left_out: set[str] = set()
    for folder in folders:
        run = RunFolder(folder)
        if not folder.is_dir():
            raise RunFolderError(f"{folder}: no such folder; give the folder of a run")
        run.check_entries()  # a link would publish what it points to
        records = run.records()
        pictures = {
            record.id: folder / record.image for record in records if record.image and (folder / record.image).is_file()
        }
        if not with_photos:
            _check_pictures(folder, records, pictures)
        known = known_evidence(run, records)
        thumbnails = {example.file for found in known.values() for example in (*found.examples, *found.least)}
        if with_photos:
            shown = [folder / file for file in sorted(thumbnails) if (folder / file).is_file()]
        else:
            shown, left_out = [], left_out | {f"{folder}/{file}" for file in thumbnails}
            known = {id_: dataclasses.replace(found, examples=[], least=[]) for id_, found in known.items()}
        evidence[folder] = known
        shown += [
            *pictures.values(),
            *(frame for job in run.job_folders() if job.done_file.exists() for frame in job.frame_files()),
        ]
        files |= {_path(file, folder, common): file for file in shown}
    if left_out:
        count = len(left_out)
        say(
            f"{count} photo{'s' * (count != 1)} left out, since publishing them may not be allowed; --with-photos uploads them too"
        )
    files["index.html"] = gallery_text(folders, common, evidence).encode()
    files["README.md"] = _card(gallery_title(folders)).encode()
    return files


def _check_pictures(folder: Path, records: Sequence[Record], pictures: Mapping[str, Path]) -> None:
    """Refuse pictures that show photos, since they were made from them."""
    made = [
        record
        for record in records
        if record.id in pictures
        and (
            _FROM_PHOTO.search(record.target)
            or ((recipe_of(_read(pictures[record.id])) or {}).get("recipe") or {}).get("start")
        )
    ]
    if made:
        raise HubError(
            f"{folder} holds {len(made)} pictures made from photos, such as {made[0].target}, and publishing photos may not be "
            "allowed; if it is, add --with-photos"
        )


def _read(file: Path) -> bytes:
    try:
        return read_file(file)
    except OSError as error:
        raise RunFolderError(f"{file} cannot be read: {error.strerror}") from None


def _path(file: Path, folder: Path, common: Path) -> str:
    """A file's path in the Space: relative to the page, as its links are.

    Raises:
        HubError: it is not text.
    """
    path = (folder.resolve() / file.relative_to(folder)).relative_to(common).as_posix()
    try:
        path.encode()
    except UnicodeEncodeError:
        raise HubError(f"{os.fsencode(path)!r} is no name in UTF-8, which the hub needs; rename it") from None
    return path


def _card(title: str) -> str:
    """The README of a Space, whose head says what it is."""
    head = {"title": title, "sdk": "static", "pinned": False, "tags": [TAG, "feature-visualization"]}
    text = f"Pictures of what units of a network respond to, by lightning_fv {__version__}: feature visualization."
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{text}\n"


def _reason(error: Exception) -> str:
    """Why the hub did not do it, in one line with a remedy if there is one."""
    response = getattr(error, "response", None)
    code = getattr(response, "status_code", None)
    said = getattr(error, "server_message", None) or first_line(error)
    if code == 401:
        return f"the hub does not accept the token ({first_line(error)}); log in with `hf auth login`, or set another HF_TOKEN"
    if code == 403:
        return f"the token may not write there ({' '.join(str(said).split())}); choose a token that may, or a name of your own"
    cause = error.__cause__ if isinstance(error, RuntimeError) else None  # of one file, from a thread
    return f"{' '.join(str(said).split())}" + (f" ({first_line(cause)})" if cause else "")
