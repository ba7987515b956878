"""The files that say which release this is agree with each other, and the hooks with CI."""

import re

import yaml

from lightning_fv.version import __version__
from tests.processes import ROOT


def test_version_and_date_are_those_of_the_changelog() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    latest = re.search(r"^## (?!Unreleased)(\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest is not None
    assert (citation["version"], str(citation["date-released"])) == latest.groups()
    assert citation["version"] == __version__


def test_the_changelog_has_only_the_sections_of_its_form() -> None:
    sections = re.findall(r"^### (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_hooks_before_a_commit_are_what_ci_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    in_ci = {" ".join(step["run"].split()[:2]) for step in jobs["lint"]["steps"] if "run" in step}
    hooked = {hook["entry"].removesuffix(" --force-exclude") for hook in hooks}
    assert {"ruff check", "ruff format", "mypy"} == hooked == in_ci - {"pip install"}
    script = (ROOT / ".ci/run").read_text()
    assert all(f".venv/bin/{command}" in script for command in hooked)
