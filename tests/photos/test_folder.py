"""Folders of photos and archives of them: what is found, under which names, and when a change is noticed."""

import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lightning_fv.errors import UsageError
from lightning_fv.objectives.photo import MAX_BYTES
from lightning_fv.photos.folder import PhotoFolder


def save_archive(path: Path, members: Mapping[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read() for entry in PhotoFolder(folder).entries}


def test_photos_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in (
        "b/2.JPG",
        "a/x.png",
        "b/1.jpeg",
        "a/c/deep.webp",
        "top.gif",
        "notes.txt",
        ".hidden.png",
        ".git/y.png",
    ):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    names = ["a/c/deep.webp", "a/x.png", "b/1.jpeg", "b/2.JPG", "top.gif"]
    assert contents(tmp_path / "photos") == {name: name.encode() for name in names}
    assert list(contents(tmp_path / "photos")) == names
    labels = [entry.label for entry in PhotoFolder(tmp_path / "photos").entries]
    assert labels == ["c", "a", "b", "b", ""]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_archives_are_read_in_place(tmp_path: Path, format: int) -> None:
    members = {
        "./n02/b.jpg": b"second",
        "./n02/a.jpg": b"first" * 200,
        "./.hidden/c.jpg": b"hidden",
        "n01/._a.jpg": b"what macOS writes beside a photo",
        "n01/readme.txt": b"no photo",
        f"n01/{'long' * 20}.png": b"a name of more than 80 characters",
        "empty.png": b"",
    }
    (tmp_path / "photos").mkdir()
    with tarfile.open(tmp_path / "photos" / "val.tar", "w", format=format) as tar:
        tar.addfile(tarfile.TarInfo("./"))
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    expected = {
        "val.tar/empty.png": b"",
        f"val.tar/n01/{'long' * 20}.png": members[f"n01/{'long' * 20}.png"],
        "val.tar/n02/a.jpg": b"first" * 200,
        "val.tar/n02/b.jpg": b"second",
    }
    assert contents(tmp_path / "photos") == expected
    assert list(contents(tmp_path / "photos")) == list(expected)
    assert contents(tmp_path / "photos" / "val.tar") == expected
    assert [entry.label for entry in PhotoFolder(tmp_path / "photos").entries] == ["val", "n01", "n02", "n02"]


def test_of_members_of_one_name_the_last_is_read(tmp_path: Path) -> None:
    save_archive(tmp_path / "a.tar", {"x.jpg": b"old", "y.jpg": b"y"})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        member = tarfile.TarInfo("./x.jpg")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"new"))
    assert contents(tmp_path / "a.tar") == {"a.tar/x.jpg": b"new", "a.tar/y.jpg": b"y"}


def test_links_and_sparse_members_of_archives_hold_nothing(tmp_path: Path) -> None:
    """They stay among the entries, so that a warning names them when they are read."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (
            ("hard.jpg", tarfile.LNKTYPE),
            ("soft.jpg", tarfile.SYMTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "x.jpg"
            tar.addfile(member)
        whole = tarfile.TarInfo("x.jpg")
        whole.size = 5
        tar.addfile(whole, io.BytesIO(b"photo"))
        # As GNU tar writes one of 1000 bytes, 512 of them stored: (offset, length) in octal, then the true size.
        sparse = tarfile.TarInfo("sparse.jpg")
        sparse.size, sparse.type = 512, tarfile.GNUTYPE_SPARSE
        header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
        header[386:398], header[398:410], header[483:495] = b"00000000000\0", b"00000001000\0", b"00000001750\0"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        assert tar.fileobj is not None
        tar.fileobj.write(bytes(header) + b"s" * 512)
        tar.offset += 1024
    found = contents(tmp_path / "a.tar")
    assert found == {f"a.tar/{name}.jpg": b"" for name in ("hard", "pipe", "soft", "sparse")} | {
        "a.tar/x.jpg": b"photo"
    }


@pytest.mark.parametrize("kind", ["w:gz", "w:xz", "cut", "header", "text", "empty", "pipe", "lost"])
def test_archives_that_cannot_be_read_are_named_in_one_line(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "photos" / "val.tar"
    archive.parent.mkdir()
    members = {f"{number}.jpg": bytes([number]) * 3000 for number in range(5)}
    if kind.startswith("w:"):
        save_archive(archive, members, kind)
    elif kind == "pipe":
        os.mkfifo(archive)
    elif kind == "lost":
        archive.symlink_to("nowhere")
    else:
        save_archive(archive, members)
        whole = archive.read_bytes()
        damaged = bytearray(whole)
        damaged[2 * 3584 + 50] ^= 1  # in the header of the third member
        archive.write_bytes(
            {"cut": whole[:9000], "header": bytes(damaged), "text": b"hello " * 300, "empty": b""}[kind]
        )
    with pytest.raises(UsageError, match=r"val.tar cannot be read as an uncompressed tar archive \(.+\); unpack it"):
        _ = PhotoFolder(archive.parent).entries


def test_an_archive_without_its_end_is_whole(tmp_path: Path) -> None:
    """As `tar` itself has it, with a warning: a member is complete, the blocks of zeros after the last are missing."""
    save_archive(tmp_path / "a.tar", {"1.jpg": b"1" * 512, "2.jpg": b"2" * 512})
    os.truncate(tmp_path / "a.tar", 2048)
    assert contents(tmp_path / "a.tar") == {"a.tar/1.jpg": b"1" * 512, "a.tar/2.jpg": b"2" * 512}


def test_links_are_followed_and_a_folder_linked_into_itself_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.png").write_bytes(b"far")
    inner = tmp_path / "photos" / "inner"
    inner.mkdir(parents=True)
    (inner / "near.png").write_bytes(b"near")
    (inner / "again").symlink_to(tmp_path / "photos")
    (inner / "self").symlink_to(inner)
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "linked.png").symlink_to(tmp_path / "elsewhere" / "far.png")
    expected = {"inner/near.png": b"near", "linked.png": b"far", "linked/far.png": b"far"}
    assert contents(tmp_path / "photos") == expected


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (tmp_path / name).write_bytes(b"latin-1")
    except OSError:
        pytest.skip("this file system has no such names")
    assert contents(tmp_path) == {name: b"latin-1"}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(tmp_path / name, name)
    assert contents(tmp_path / "a.tar") == {f"a.tar/{name}": b"latin-1"}
    assert len(PhotoFolder(tmp_path).digest) == 32


def test_what_is_no_file_is_an_entry_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "lost.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "huge.jpg").touch()
    os.truncate(tmp_path / "huge.jpg", MAX_BYTES + 1)  # without a byte on disk
    entries = PhotoFolder(tmp_path).entries
    assert [entry.name for entry in entries] == ["device.jpg", "huge.jpg", "loop.jpg", "lost.jpg", "pipe.jpg"]
    for entry in entries:
        with pytest.raises(OSError, match=r"not a file|too large|symbolic links|No such file"):
            entry.read()


def test_folders_without_photos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "folder.jpg").mkdir()
    for path, message in (
        (tmp_path, "holds no photo"),
        (tmp_path / "nowhere", "is neither a folder of photos nor a tar archive"),
        (tmp_path / "notes.txt", "is neither a folder of photos nor a tar archive"),
        (tmp_path / "a\0b", "neither a folder of photos|cannot be read"),
    ):
        with pytest.raises(UsageError, match=message):
            PhotoFolder(path)
    save_archive(tmp_path / "a.tar", {"notes.txt": b"none"})
    with pytest.raises(UsageError, match="hold no photo"):
        _ = PhotoFolder(tmp_path).entries


def test_a_folder_inside_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").touch()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "closed":  # rights do not stop root, who may run the tests
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match="closed cannot be read and is left out: Permission denied"):
        folder = PhotoFolder(tmp_path)
    assert [entry.name for entry in folder.entries] == ["open/x.png"]


def _replaced(folder: Path) -> None:
    """By another of the same size, with the time of the old one, as `cp -p` and `rsync -t` leave it."""
    old = os.stat(folder / "a.png")
    (folder / "new").write_bytes(b"A")
    os.utime(folder / "new", ns=(old.st_atime_ns, old.st_mtime_ns))
    os.replace(folder / "new", folder / "a.png")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "c.png").touch(),
        lambda folder: (folder / "b.png").unlink(),
        lambda folder: (folder / "b.png").rename(folder / "c.png"),
        lambda folder: (folder / "a.png").write_bytes(b"more"),
        lambda folder: os.utime(folder / "a.png"),
        _replaced,
    ],
    ids=["added", "removed", "renamed", "rewritten", "touched", "replaced"],
)
def test_changes_are_noticed_without_reading(tmp_path: Path, change: Callable[[Path], object]) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"a")
    before = PhotoFolder(tmp_path).digest
    (tmp_path / "notes.txt").touch()
    assert PhotoFolder(tmp_path).digest == before
    change(tmp_path)
    assert PhotoFolder(tmp_path).digest != before


def test_a_link_to_nothing_that_is_mended_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").symlink_to(tmp_path / "target")
    before = PhotoFolder(tmp_path).digest
    (tmp_path / "target").touch()
    assert PhotoFolder(tmp_path).digest != before
