"""The folder of a comparison: a run per column, and the files that show them side by side."""

import hashlib
import re
from pathlib import Path

from lightning_fv.runs.folder import RunFolder


class ComparisonFolder:
    """Paths and file names of a comparison.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def sheet(self) -> Path:
        """All columns side by side."""
        return self.path / "comparison.png"

    @property
    def page(self) -> Path:
        """The same as an HTML page."""
        return self.path / "index.html"

    @property
    def records(self) -> Path:
        """One line of JSON per picture."""
        return self.path / "comparison.jsonl"

    @property
    def event_suffix(self) -> str:
        """Suffix of the name of the comparison's TensorBoard event file."""
        return ".comparison"

    def column(self, name: str) -> RunFolder:
        """The run of a column, by the column's name."""
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
        return RunFolder(self.path / (safe or f"column-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"))
