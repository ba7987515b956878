"""Static HTML pages; names, targets and paths are escaped."""

from typing import Any


def page(template: str, **values: Any) -> str:
    """Render a template of ``report/templates`` to text.

    Args:
        template: the file's name.
        values: plain values; text in them is escaped.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here: only the end of a run needs it

    environment = Environment(loader=PackageLoader("lightning_fv.report"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(**values)
