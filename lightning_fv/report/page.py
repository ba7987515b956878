"""Static pages: what comes from names, targets and paths is escaped."""

from typing import Any


def page(template: str, **values: Any) -> str:
    """A page of ``report/templates`` with its values filled in, as text.

    Args:
        template: the file's name.
        values: plain values; text in them is shown as text, whatever it holds.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here: only the end of a run needs it

    rooms = Environment(loader=PackageLoader("lightning_fv.report"), autoescape=True, undefined=StrictUndefined)
    return rooms.get_template(template).render(**values)
