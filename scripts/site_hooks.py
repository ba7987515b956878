"""Hooks of mkdocs.yml: pages that are made, and links between the repository and the site.

``docs/`` is read on plain git hosts too. So its pages link to files of the repository by relative paths, and hold neither directives nor
generated text. For the site, this adds

- ``api/``: the reference, a page for each public package, with what its ``__all__`` names (read from the source, not imported);
- ``notebooks/``: the notebooks with their outputs as pages;
- ``repository/``: each file outside of ``docs/`` that a page links to.
"""

import ast
import json
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"

API = [
    "lightning_fv",
    "objectives",
    "parameterizations",
    "transforms",
    "callbacks",
    "networks",
    "targets",
    "metrics",
    "functional",
    "errors",
]
"""Public packages and modules, in the order of the reference."""

CONSTANTS = {"LOGITS", "MAX_SIDE", "OPACITY", "REACHED"}
"""Of the public names, those that are no part of the reference."""

OPTIONAL = {"Guide": {"trust.md": "Trust", "performance.md": "Performance"}}
"""Pages in the navigation once they exist, by section."""

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$|^    [^\n]*$|`[^`\n]*`)", re.M | re.S)


def on_config(config: Any) -> Any:
    """Add the reference and the pages that exist to the navigation, and have the examples of docstrings shown as code."""
    for section in config["nav"]:
        (name, pages), *_ = section.items()
        if name == "Reference":
            section[name] = [{package: f"api/{package}.md"} for package in API]
        for file, title in OPTIONAL.get(name, {}).items():
            if (ROOT / DOCS / file).is_file():
                pages.append({title: file})
    if "markdown_extensions" in config:
        config["markdown_extensions"].append(_examples())
    return config


def _examples() -> Any:
    """A Markdown extension that fences lines from ``>>>`` to the next empty one: to Markdown they are quotations."""
    from markdown import Extension
    from markdown.preprocessors import Preprocessor

    fence = type("Fence", (Preprocessor,), {"run": lambda self, lines: fenced(lines)})

    def extend(self: Any, md: Any) -> None:
        md.preprocessors.register(fence(md), "examples", 40)  # before fences are looked for

    return type("Examples", (Extension,), {"extendMarkdown": extend})()


def fenced(lines: list[str]) -> list[str]:
    """Lines of Markdown with a fence around each example, without ``# doctest: +SKIP``."""
    found: list[str] = []
    open_ = ""
    for line in lines:
        if not open_ and line.lstrip().startswith(">>> "):
            open_ = line[: len(line) - len(line.lstrip())] + "```"
            found += ["", f"{open_}pycon"]
        elif open_ and not line.strip():
            found.append(open_)
            open_ = ""
        found.append(line.replace("  # doctest: +SKIP", "") if open_ else line)
    return [*found, open_] if open_ else found


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Mark the pages with messages, whose long lines are wrapped."""
    has_messages = page.file.src_uri == "faq.md" or page.file.src_uri.startswith("notebooks/")
    return f'<div class="messages">{html}</div>' if has_messages else html


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    made = {f"api/{package}.md": reference(package) for package in API}
    for notebook in sorted((ROOT / DOCS).rglob("*.ipynb")):
        made[site_path(notebook.relative_to(ROOT).as_posix())] = notebook_page(json.loads(notebook.read_text()))
    pages = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / DOCS).rglob("*.md"))
    for path in linked_files(pages):
        made[site_path(path)] = repository_page(path)
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point the links of a page to where things are in the site."""
    return moved_links(markdown, repository_path(page.file.src_uri), page.file.src_uri)


def site_path(path: str) -> str:
    """Where a file of the repository is in the site, both from their roots."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS).replace(".ipynb", ".md")
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def repository_path(uri: str) -> str:
    """The inverse of `site_path` for pages with links."""
    if uri.startswith("repository/"):
        return uri.removeprefix("repository/")
    return DOCS + (uri.replace(".md", ".ipynb") if uri.startswith("notebooks/") else uri)


def moved_links(markdown: str, source: str, uri: str) -> str:
    """A page with its relative links for the site.

    Args:
        markdown: the text; code is left alone.
        source: where it is in the repository.
        uri: where it is in the site.
    """

    def move(match: re.Match[str]) -> str:
        path, hash_, anchor = match[1].partition("#")
        if not path or "://" in path:
            return match[0]
        target = site_path(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
        return f"]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{hash_}{anchor})"

    parts = _CODE.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(move, part) for number, part in enumerate(parts))


def linked_files(pages: list[str]) -> list[str]:
    """The files outside of docs/ that pages link to, and those that these link to, by paths from the root."""
    found: list[str] = []
    waiting = list(pages)
    while waiting:
        source = waiting.pop()
        for match in _LINK.finditer(_CODE.sub("", (ROOT / source).read_text())):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1].partition("#")[0]))
            if "://" in match[1] or match[1].startswith("#") or path.startswith(DOCS) or path in found:
                continue
            if (ROOT / path).is_file():
                found.append(path)
                waiting += [path] if path.endswith(".md") else []
    return sorted(found)


def repository_page(path: str) -> str:
    """A page for a file of the repository: Markdown as it is, others as a listing."""
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return text
    language = {".py": "python", ".yaml": "yaml"}.get(Path(path).suffix, "")
    return f"# {path}\n\n````{language}\n{text.rstrip()}\n````\n"


def reference(package: str) -> str:
    """The page of a public package: its docstring's first line and an entry for each name of its ``__all__``."""
    name = "lightning_fv" if package == "lightning_fv" else f"lightning_fv.{package}"
    file = ROOT / name.replace(".", "/")
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    tree = ast.parse(file.read_text())
    names = public_names(tree)
    if package == "lightning_fv":  # the rest of it is on the pages of its packages
        names = [
            "render",
            "collect_evidence",
            "load_recipe",
            "Rendering",
            "RenderedPicture",
            "FeatureVisualizer",
            "VisualizeDuringTraining",
            "activation_grid",
        ]
    first = (ast.get_docstring(tree) or "").split("\n\n")[0]
    return (
        "\n\n".join([f"# {name}", first, *(f"::: {name}.{entry}" for entry in names if entry not in CONSTANTS)]) + "\n"
    )


def public_names(tree: ast.Module) -> list[str]:
    """What ``__all__`` lists, or else the classes of a module, in their order there."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def notebook_page(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: text, code, and the outputs that are text, HTML or PNG."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```")
            parts += [text for output in cell["outputs"] if (text := output_text(output))]
    return "\n\n".join(parts) + "\n"


def output_text(output: dict[str, Any]) -> str:
    """One output of a cell as Markdown or HTML."""
    data = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
    if "text/html" in data:
        return f'<div class="output">{data["text/html"]}</div>'
    if "image/png" in data:
        return f'<img alt="output" src="data:image/png;base64,{data["image/png"].strip()}">'
    text = data.get("text/plain") or "".join(output.get("text", ""))
    return f"```\n{text.rstrip()}\n```" if text.strip() else ""
