"""What may and may not come of a command."""

import hashlib
import re
from pathlib import Path

import yaml
from PIL import Image

from lightning_fv.runs.record import Record, read_manifest
from tests.faults.fuzzing.server import RESIDENT, Result


class FaultError(Exception):
    """A fault: its type, and what shows it."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


_LINE = re.compile(
    r"lightning-fv: |  \S+: .* in the run, .* now$|  and \d+ more$|column \d+ of \d+: |stopped; continue with |.* has targets that are not done; "
)
_BAR = re.compile(r"\r? *\d+%\|[^\r\n]*\r?")  # the line of progress, where an option asks for it
_TABLE = re.compile(r"  \S+: .* in the run, .* now$|  and \d+ more$")


def check_ending(result: Result, codes: tuple[int, ...], inherited: int) -> None:
    """No hang, no traceback, no wild memory, one of the exit codes, and nothing but single lines on standard error.

    Raises:
        FaultError: something of that.
    """
    text = result.out + result.err
    if result.hung:
        raise FaultError("hang", f"{result.hung}; last words: {text[-200:]!r}")
    if "Traceback (most recent call last)" in text:
        last = [line for line in text.splitlines() if line and not line.startswith(" ")]
        raise FaultError("traceback", _place(text) + " " + (last[-1][:300] if last else text[-300:]))
    if result.memory > inherited + RESIDENT:
        raise FaultError("memory", f"{(result.memory - inherited) >> 20} MB; {text[-300:]!r}")
    if result.code not in codes:
        raise FaultError("exit code", f"{result.code}: {text[-300:]!r}")
    told = _BAR.sub("", result.err)
    odd = [line for line in told.splitlines() if line.strip() and not _LINE.match(line)]
    if odd and result.code >= 0:
        raise FaultError("not one line", f"exit {result.code}: {' | '.join(odd)[:300]}")
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told):
        raise FaultError("control characters", repr(result.err[-300:]))


def check_refusal(result: Result) -> None:
    """One line of error, but for a table of differences."""
    lines = [line for line in result.err.splitlines() if not _TABLE.match(line)]
    errors = [line for line in lines if line.startswith("lightning-fv: error: ")]
    warned = [line for line in lines if line.startswith("lightning-fv: warning: ")]
    if len(errors) != 1 or len(errors) + len(warned) != len(lines):
        raise FaultError("not one line", f"exit 2: {result.err[:300]!r}")
    if len(errors[0]) < 30 or len(errors[0]) > 6000:
        raise FaultError("not one line", f"exit 2, {len(errors[0])} characters: {errors[0][:300]!r}")
    if result.cpu > 30:
        raise FaultError("slow refusal", f"{result.cpu:.1f} s: {errors[0][:200]}")


def _place(text: str) -> str:
    """Where the package was last in a traceback."""
    found = re.findall(r'File "[^"]*/(lightning_fv/[^"]+)", line (\d+)', text)
    return ":".join(found[-1]) if found else "outside of the package"


def pixels(file: Path) -> bytes | None:
    """Size and pixels of a whole picture; None if it is missing or damaged."""
    if not file.is_file():
        return None
    try:
        with Image.open(file) as picture:
            picture.load()
            return repr(picture.size).encode() + picture.convert("RGB").tobytes()
    except Exception:
        return None


def pictures(run: Path) -> dict[str, bytes]:
    """The whole pictures of a run, by name."""
    files = sorted((run / "images").glob("*.png")) if (run / "images").is_dir() else []
    return {file.name: content for file in files if not file.is_symlink() and (content := pixels(file)) is not None}


def records(file: Path) -> list[Record]:
    """Records that can be read; else none."""
    try:
        return read_manifest(file) if file.is_file() else []
    except Exception:
        return []


def check_report(run: Path, count: int, config: bool = True) -> None:
    """After exit 0: the files that a run shows to a user are whole."""
    for name in ("sheet.png", "progress.webp"):
        if pixels(run / name) is None:
            raise FaultError("damaged file after exit 0", name)
    told = [record.status if isinstance(record.status, str) else "?" for record in records(run / "manifest.jsonl")]
    if told != ["done"] * count:
        raise FaultError("damaged file after exit 0", f"manifest.jsonl: {told}")
    page = run / "gallery.html"
    if not page.is_file() or not page.read_text(encoding="utf-8", errors="replace").rstrip().endswith("</html>"):
        raise FaultError("damaged file after exit 0", page.name)
    try:
        whole = not config or isinstance(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")), dict)
    except Exception:
        whole = False
    if not whole:
        raise FaultError("damaged file after exit 0", "config.yaml")


def snapshot(folder: Path) -> dict[str, str]:
    """What lies in a folder: digests of files, and what else there is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = "link"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "special"
    return found
