"""A folder of photos, also inside of tar archives."""

import errno
import functools
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from lightning_fv.errors import UsageError, first_line, warn
from lightning_fv.objectives.photo import MAX_BYTES
from lightning_fv.runs.digests import digest
from lightning_fv.runs.files import open_file

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""Names of photos end in one of these, in any case."""


@dataclass(frozen=True)
class Entry:
    """Where a photo is: a file, or a member of an uncompressed tar archive.

    Attributes:
        name: its path relative to the folder, with forward slashes; a member's begins with the archive's.
        file: the file or the archive.
        offset: where the content begins in the archive; 0 of a file of its own.
        length: bytes of the content; -1: to the file's end.
    """

    name: str
    file: Path
    offset: int = 0
    length: int = -1

    @property
    def label(self) -> str:
        """The name of the folder that holds it, as in ``n02129165/photo.jpg``: its class in the usual layout. Empty at the top."""
        return self.name.rpartition("/")[0].rpartition("/")[2].removesuffix(".tar")

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            OSError: it cannot be read, is not a regular file, or is too large (`MAX_BYTES`).
        """
        with os.fdopen(open_file(self.file), "rb") as opened:
            length = os.fstat(opened.fileno()).st_size if self.length < 0 else self.length
            if length > MAX_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            opened.seek(self.offset)
            return opened.read(self.length)


class PhotoFolder:
    """All photos below a folder, in the order of their names, including those in its ``*.tar`` archives; or those of one archive.

    Links are followed, but for those inside of archives. Hidden files and folders are left out. What is called like a photo and is none
    (a pipe, a link to nothing, a sparse member of an archive) is among the entries, so that it is found out when it is read.

    Args:
        path: the folder or the tar archive.

    Raises:
        UsageError: it does not exist, cannot be read, or holds no photo.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            if self.path.is_dir():
                self._files = sorted(_files(self.path), key=lambda file: file.as_posix())
            elif self.path.suffix.lower() == ".tar" and self.path.is_file():
                self._files = [self.path]
            else:
                raise UsageError(f"photos: {self.path} is neither a folder of photos nor a tar archive of them")
            stamps = [_stamp(file) for file in self._files]
        except (OSError, ValueError) as error:
            raise UsageError(f"photos: {self.path} cannot be read: {first_line(error)}") from None
        if not self._files:
            raise UsageError(f"photos: {self.path} holds no photo ({', '.join(SUFFIXES)}) and no tar archive of photos")
        self.digest = digest(
            *(
                f"{self._name(file)}\0{stamp}\0".encode(errors="surrogateescape")
                for file, stamp in zip(self._files, stamps, strict=True)
            )
        )
        """Of the names, sizes and times of all files; a changed photo is noticed without reading it."""

    @functools.cached_property
    def entries(self) -> list[Entry]:
        """All photos; those in archives are found by reading the archives' headers.

        Raises:
            UsageError: an archive is damaged or compressed, or there is no photo.
        """
        found: list[Entry] = []
        for file in self._files:
            found += self._members(file) if file.suffix.lower() == ".tar" else [Entry(self._name(file), file)]
        if not found:
            raise UsageError(f"photos: the tar archives in {self.path} hold no photo ({', '.join(SUFFIXES)})")
        return found

    def _members(self, archive: Path) -> list[Entry]:
        found = {}  # by name: of members of one name the last is meant, as when the archive is unpacked
        try:
            with os.fdopen(open_file(archive), "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # a kilobyte each
                    path = PurePosixPath(member.name)
                    if _is_photo(path) and not any(part.startswith(".") for part in path.parts) and not member.isdir():
                        # The bytes of links and sparse files are elsewhere: read as nothing, they are no photos.
                        length = member.size if member.isreg() and not member.issparse() else 0
                        name = f"{self._name(archive)}/{path}"
                        found[name] = Entry(name, archive, member.offset_data, length)
                file.seek(tar.offset)
                if any(file.read(tarfile.BLOCKSIZE)):  # tarfile takes a damaged header for the end
                    raise tarfile.ReadError(f"damaged after {tar.offset} bytes")
        except (tarfile.TarError, OSError) as error:
            raise UsageError(
                f"photos: {archive} cannot be read as an uncompressed tar archive ({first_line(error)}); unpack it"
            ) from None
        return sorted(found.values(), key=lambda entry: entry.name)

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix() if file != self.path else file.name


def _files(folder: Path) -> Iterator[Path]:
    """Photos and tar archives below a folder; of a folder that is linked into itself, once."""
    seen = set[str]()

    def unreadable(error: OSError) -> None:
        warn(f"photos: the folder {error.filename} cannot be read and is left out: {error.strerror}")

    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(place) / name for name in files):
            if _is_photo(file) or (file.suffix.lower() == ".tar" and not file.name.startswith(".")):
                yield file


def _stamp(file: Path) -> tuple[int, ...]:
    """Size and times; a file may be replaced by one of the same size with the old time of modification, not with the old time of change."""
    try:
        found = os.stat(file)
    except OSError:  # a link to nothing
        found = os.lstat(file)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_photo(file: PurePath) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
