"""Links that the site needs and a code host does not, or the other way round."""

from __future__ import annotations

import re

from chat_history_conformance.project import url

__all__ = ["linked", "outside", "repository"]

_URL = re.compile(r"(?<![<(\w])https?://[^\s<>]+?(?=[.,;:)]*(?:\s|$))")
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)")


def linked(text: str) -> str:
    """Return a text whose addresses are links in Markdown."""
    return _URL.sub(lambda found: f"<{found.group()}>", text)


def outside(text: str, repository: str | None) -> str:
    """Replace links to files outside `docs/`, which the site does not contain.

    Args:
        text: A page.
        repository: The address of the files of the repository, if there is one. Without it, the
            path itself is shown.
    """

    def replaced(found: re.Match[str]) -> str:
        label, path, anchor = found.group(1), found.group(2), found.group(3) or ""
        if repository:
            return f"[{label}]({repository}/{path}{anchor})"
        return f"`{path}`" if label in path else f"{label} (`{path}`)"

    return _OUTSIDE.sub(replaced, text)


def repository() -> str | None:
    """Return the address of the files on the main branch, if the distribution names its source."""
    source = url("Source")
    return f"{source}/blob/main" if source else None
