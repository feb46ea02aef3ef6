"""Render the HTML and SVG templates of this package with Jinja2."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined

__all__ = ["environment", "render"]


@cache
def environment() -> Environment:
    """Return the environment of all templates.

    A template is named `reports/NAME` or `bench/NAME`, after the package that holds it. Every value
    is escaped, and a name that is not given raises an error.
    """
    return Environment(
        loader=PrefixLoader(
            {
                "reports": PackageLoader("chat_history_conformance.reports"),
                "bench": PackageLoader("chat_history_conformance.bench.report"),
            }
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> str:
    """Render a template.

    Args:
        template: The name of the template, such as `reports/page.html`.
        values: The values that it uses.
    """
    return environment().get_template(template).render(**values)
