"""A run's report in every format: JSON, Markdown, HTML and a badge, chosen by a file's ending.

The formats are pure functions of a result, one module each; files are read and written here only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from chat_history_conformance.reports import badge, document, html, markdown
from chat_history_conformance.reports.document import schema
from chat_history_conformance.results.model import Rules, RuleText, RunReport

__all__ = [
    "ENDINGS",
    "RuleText",
    "Rules",
    "check_path",
    "check_place",
    "load_report",
    "rules",
    "schema",
    "write_report",
    "write_text",
]

_RENDERED: Mapping[str, Callable[[RunReport, Rules | None], str]] = {
    ".json": lambda report, rules: document.render(report),
    ".md": markdown.render,
    ".html": html.render,
    ".svg": lambda report, rules: badge.render(report),
}

ENDINGS = tuple(_RENDERED)
"""The endings of a file's name that stand for a format."""


def check_path(path: Path) -> None:
    """Refuse a path that `write_report` could not write, before a run is spent on it.

    A parent directory that is missing is fine: it is made when the report is written.

    Args:
        path: Where the report is to go.

    Raises:
        ValueError: The ending stands for no format, the path is a directory, or something that is
            no directory stands where its parent must be.
    """
    if path.suffix.lower() not in _RENDERED:
        raise ValueError(
            f"{path}: a report's format is its file's ending, one of {', '.join(ENDINGS)}; "
            f"{repr(path.suffix) if path.suffix else 'no ending'} is none of them"
        )
    check_place(path)


def check_place(path: Path) -> None:
    """Refuse a path where no file can be written, whatever its format.

    Raises:
        ValueError: The path is a directory, or something that is no directory stands where its
            parent must be.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a directory; name a file in it")
    parent = next((parent for parent in path.absolute().parents if parent.exists()), None)
    if parent is None or not parent.is_dir():
        raise ValueError(f"{path}: {parent or path.anchor} is not a directory")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, with the same line ends everywhere; make a missing parent.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_report(report: RunReport, path: Path, rules: Rules | None = None) -> None:
    """Write `report` to `path` in the format that its ending stands for, as UTF-8.

    A missing parent directory is made; a file that is there is replaced.

    Args:
        report: The run.
        path: A file's name that ends in `.json`, `.md`, `.html` or `.svg`.
        rules: The catalogue's texts by contract id, shown beside findings in Markdown and HTML.

    Raises:
        ValueError: `check_path` refuses the path.
        OSError: The file cannot be written.
    """
    check_path(path)
    write_text(path, _RENDERED[path.suffix.lower()](report, rules))


def load_report(path: Path) -> RunReport:
    """The report that `write_report` wrote as JSON to `path`.

    Raises:
        ValueError: The file cannot be read, is not JSON, is of another schema version or does not
            follow the schema; the message names the file and the place.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return document.parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
