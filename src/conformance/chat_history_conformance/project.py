"""The addresses of this project, which the metadata of its distribution names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata

__all__ = ["page_of", "url"]

_DISTRIBUTION = "chat-history-conformance"


def url(label: str) -> str:
    """Return an address of `[project.urls]` without a slash at its end.

    Args:
        label: The name of the address, such as `Documentation` or `Source`.

    Returns:
        The address, or an empty text if the metadata does not name it, as that of a source tree
        that is not installed.
    """
    return _urls().get(label, "").rstrip("/")


def page_of(contract: str) -> str:
    """Return the address of the page about a contract, or an empty text without documentation.

    Args:
        contract: The id of the contract.
    """
    site = url("Documentation")
    return f"{site}/contracts/{contract}/" if site else ""


@cache
def _urls() -> Mapping[str, str]:
    try:
        lines = metadata(_DISTRIBUTION).get_all("Project-URL") or []
    except PackageNotFoundError:
        return {}
    pairs = (line.partition(",") for line in lines)
    return {label.strip(): address.strip() for label, _, address in pairs}
