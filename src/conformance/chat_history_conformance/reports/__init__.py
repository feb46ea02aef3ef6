"""Write the report of a run as JSON, Markdown, HTML or a badge, and read it from JSON.

The ending of a file chooses the format. Each format is a pure function in its own module. Only this
module reads and writes files.
"""

from __future__ import annotations

import tempfile
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
"""The endings of file names that choose a format."""


def check_path(path: Path) -> None:
    """Refuse a path that `write_report` could not write to, so that a run is not wasted.

    A missing parent directory is accepted, because `write_report` creates it.

    Args:
        path: The file of the report.

    Raises:
        ValueError: The ending does not choose a format, the path is a directory, or its parent
            cannot be a directory.
    """
    if path.suffix.lower() not in _RENDERED:
        found = (
            f"the ending {path.suffix!r} is not the format of a report"
            if path.suffix
            else "the file name has no ending that chooses the format of the report"
        )
        raise ValueError(f"{path}: {found}. Use one of {', '.join(ENDINGS)}.")
    check_place(path)


def check_place(path: Path) -> None:
    """Refuse a path that no file can be written to.

    Args:
        path: The file to write.

    Raises:
        ValueError: The path is a directory, its parent cannot be a directory, or this user cannot
            write there.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a directory. Name a file in it.")
    parent = next((parent for parent in path.absolute().parents if parent.exists()), None)
    if parent is None or not parent.is_dir():
        raise ValueError(f"{path}: {parent or path.anchor} is not a directory. Name another path.")
    try:
        if path.exists():
            path.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"{path}: cannot be written: {why}. Name another path.") from error


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, with the same line ends on every system.

    Args:
        path: The file. A missing parent directory is created.
        text: The text.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_report(report: RunReport, path: Path, rules: Rules | None = None) -> None:
    """Write `report` to `path` as UTF-8, in the format that the ending chooses.

    A missing parent directory is created. An existing file is replaced.

    Args:
        report: The run.
        path: A file whose name ends in `.json`, `.md`, `.html` or `.svg`.
        rules: The texts of the catalogue by contract id, which Markdown and HTML show next to
            findings.

    Raises:
        ValueError: `check_path` refuses the path.
        OSError: The file cannot be written.
    """
    check_path(path)
    write_text(path, _RENDERED[path.suffix.lower()](report, rules))


def load_report(path: Path) -> RunReport:
    """Read the report that `write_report` wrote as JSON to `path`.

    Args:
        path: The JSON file.

    Raises:
        ValueError: The file cannot be read, is not JSON, has another schema version or does not
            follow the schema. The message names the file and the field.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return document.parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
