"""Write the result of a campaign as JSON, HTML, Markdown or SVG, and read it from JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from chat_history_conformance import reports
from chat_history_conformance.campaign.checking.checker import check
from chat_history_conformance.campaign.recording import Recording
from chat_history_conformance.campaign.report import page, result, summary
from chat_history_conformance.campaign.report.result import Result
from chat_history_conformance.campaign.report.summing import result_of

__all__ = ["ENDINGS", "judge", "load", "write"]

_RENDERED: Mapping[str, Callable[[Result], str]] = {
    ".json": result.render,
    ".html": page.render,
    ".md": summary.markdown,
    ".svg": page.picture,
}

ENDINGS = tuple(_RENDERED)
"""The endings of file names that choose a format."""


def judge(recording: Recording) -> Result:
    """Check a recording and return the result."""
    return result_of(recording, check(recording))


def write(found: Result, path: Path) -> None:
    """Write a result in the format that the ending of the file chooses.

    A missing parent directory is created. An existing file is replaced.

    Raises:
        ValueError: The ending chooses no format, or the path is a directory.
        OSError: The file cannot be written.
    """
    made = _RENDERED.get(path.suffix.lower())
    if made is None:
        raise ValueError(f"{path}: the ending chooses no format. Use one of {', '.join(ENDINGS)}.")
    reports.check_place(path)
    reports.write_text(path, made(found))


def load(path: Path) -> Result:
    """Read the result that `write` wrote as JSON.

    Raises:
        ValueError: The file cannot be read or does not follow the schema. The message names the
            file and the field.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return result.parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
