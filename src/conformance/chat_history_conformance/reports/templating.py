"""Render the HTML and SVG templates of this package with Jinja2."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chat_history_conformance.reports import wording

if TYPE_CHECKING:
    # Importing Jinja2 takes long, and most runs write no page.
    from jinja2 import Environment

__all__ = ["environment", "render"]


_SUITE = Path(__file__).parents[1]


@cache
def environment() -> Environment:
    """Return the environment of all templates.

    A template is named `reports/NAME`, `bench/NAME` or `campaign/NAME`, after its package. Every
    value is escaped, and a name that is not given raises an error.

    The filters `visible`, `name_parts` and `prose_lines` are the functions of `wording`. The filter
    `plain_number` writes a number without trailing zeros.
    """
    from jinja2 import Environment, FileSystemLoader, PrefixLoader, StrictUndefined

    made = Environment(
        loader=PrefixLoader(
            {
                "reports": FileSystemLoader(_SUITE / "reports" / "templates"),
                "bench": FileSystemLoader(_SUITE / "bench" / "report" / "templates"),
                "campaign": FileSystemLoader(_SUITE / "campaign" / "report" / "templates"),
            }
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "visible": wording.visible,
        "name_parts": wording.name_parts,
        "prose_lines": wording.prose_lines,
        "plain_number": "{:g}".format,
    }
    return made


def render(template: str, **values: Any) -> str:
    """Render a template.

    Args:
        template: The name of the template, such as `reports/page.html`.
        values: The values that it uses.
    """
    return environment().get_template(template).render(**values)
