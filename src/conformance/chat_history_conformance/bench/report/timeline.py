"""Results over commits: read and written as JSON lines, and grouped by what can be compared."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from chat_history_conformance.bench.measure import json_files
from chat_history_conformance.bench.measure.json_files import FormatError
from chat_history_conformance.bench.measure.results import Commit, Measured, Result

__all__ = [
    "FORMAT",
    "Change",
    "Series",
    "Track",
    "add",
    "changes",
    "commit_of",
    "load",
    "parse",
    "render",
    "save",
    "separate",
    "tracks",
    "with_commit",
]

FORMAT = 1
"""The number of the format of a line."""

_SHORTEST_ID = 7
_MOST_NAMED = 5
_HOW_TO = "Fix this line, or delete it and add its result again"


@dataclass(frozen=True)
class Series:
    """Results of one backend that can be compared, the oldest commit first."""

    results: tuple[Result, ...]

    @property
    def latest(self) -> Result:
        """The result of the newest commit."""
        return self.results[-1]

    @property
    def traits(self) -> dict[str, str]:
        """The properties that results must share to be compared."""
        return _traits(self.latest)


@dataclass(frozen=True)
class Track:
    """All results of one backend.

    Attributes:
        backend: Its name.
        series: The results that can be compared with each other; the series with the newest
            commit first.
    """

    backend: str
    series: tuple[Series, ...]

    @property
    def commits(self) -> list[Commit]:
        """Every commit that was measured, the oldest first."""
        results = sorted((one for run in self.series for one in run.results), key=_moment)
        return list({_same(commit_of(one)): commit_of(one) for one in results}.values())


@dataclass(frozen=True)
class Change:
    """An operation of the newest commit that differs from the commit before.

    Attributes:
        now: The operation at the newest commit.
        before: The operation at the commit before.
        at: The commit before.
    """

    now: Measured
    before: Measured
    at: Commit

    @property
    def is_slower(self) -> bool | None:
        """True if its ratio to the floor grew, None if the two intervals overlap."""
        if self.now.floor is None or self.before.floor is None:
            return None
        now, before = self.now.floor.estimate, self.before.floor.estimate
        if now.low > before.high:
            return True
        return False if now.high < before.low else None

    @property
    def more_round_trips(self) -> int:
        """The number of additional round trips; 0 if one of the two was not counted."""
        if self.now.round_trips is None or self.before.round_trips is None:
            return 0
        return self.now.round_trips - self.before.round_trips

    @property
    def is_worse(self) -> bool:
        """True if it got slower or takes more round trips."""
        return bool(self.is_slower) or self.more_round_trips > 0


def parse(text: str, file: str) -> list[Result]:
    """Return the results of a timeline, in the order of the file.

    Args:
        text: The text, a JSON object on each line.
        file: The name of the file in errors.

    Raises:
        FormatError: A line is not such an object, or has another format. The text names the line.
    """
    results = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{file}:{number}"
        value = json_files.loads(line, place, _HOW_TO)
        if not isinstance(value, dict) or "format" not in value:
            raise FormatError(f"{place}: not a line that `bench history` wrote. {_HOW_TO}")
        if value["format"] != FORMAT:
            raise FormatError(
                f"{place}: has format {json.dumps(value['format'])}, and this version reads "
                f"{FORMAT}. Use the version of chat-history-conformance that wrote it, or a newer "
                "one"
            )
        result = json_files.convert(Result, value, place, _HOW_TO)
        if result.commit is None:
            raise FormatError(f"{place}: names no commit. {_HOW_TO}")
        results.append(result)
    return results


def render(results: Iterable[Result]) -> str:
    """Return the results as the text that `parse` reads, the oldest commit first."""
    return "".join(
        json.dumps({"format": FORMAT, **asdict(one)}, ensure_ascii=False) + "\n"
        for one in sorted(results, key=_moment)
    )


def load(path: Path) -> list[Result]:
    """Return the results of a file, or an empty list if the file does not exist.

    Raises:
        FormatError: The file cannot be read, or is not a timeline.
    """
    return parse(json_files.read_text(path) or "", str(path))


def save(path: Path, results: Iterable[Result]) -> None:
    """Write a timeline at once: a reader, or a crash, finds either the old file or the new one.

    Raises:
        OSError: The file cannot be written.
    """
    # If the name is a link, the file behind it is replaced.
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(render(results).encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def with_commit(result: Result, name: str | None) -> Result:
    """Return the result with its commit.

    Args:
        result: The result as it was read.
        name: The commit's id; None takes the commit that pytest-benchmark found.

    Raises:
        FormatError: Neither names a commit.
    """
    found = result.commit
    if name is None:
        if found is None:
            raise FormatError(
                f"{result.backend} was not measured in a repository: name the commit with "
                "--commit ID"
            )
        return result
    if found is not None and len(name) >= _SHORTEST_ID and found.id.startswith(name):
        return replace(result, commit=replace(found, dirty=False))
    return replace(result, commit=Commit(name, result.measured_at))


def add(results: Sequence[Result], new: Sequence[Result]) -> list[Result]:
    """Return the results with new ones.

    A new result replaces the old one of the same commit, backend and environment.

    Raises:
        FormatError: Two of the new ones have the same commit, backend and environment.
    """
    kept = {_identity(one): one for one in results}
    given: set[object] = set()
    for one in new:
        if (identity := _identity(one)) in given:
            raise FormatError(
                f"{one.backend} at {commit_of(one).short} is given twice, from one environment: "
                "leave one out"
            )
        given.add(identity)
        kept[identity] = one
    return list(kept.values())


def tracks(results: Iterable[Result]) -> list[Track]:
    """Group the results by backend, and within a backend by what can be compared."""
    found: dict[str, dict[tuple[str, ...], list[Result]]] = {}
    for one in sorted(results, key=_moment):
        by_traits = found.setdefault(one.backend, {})
        by_traits.setdefault(tuple(_traits(one).values()), []).append(one)
    return [
        Track(
            backend,
            tuple(
                sorted(
                    (Series(tuple(run)) for run in by_traits.values()),
                    key=lambda run: _moment(run.latest),
                    reverse=True,
                )
            ),
        )
        for backend, by_traits in sorted(found.items())
    ]


def changes(series: Series) -> list[Change]:
    """Return the operations of the newest commit that differ from the commit before."""
    if len(series.results) < 2:
        return []
    before = series.results[-2]
    known = {one.label: one for one in before.operations}
    found = (
        Change(now, known[now.label], commit_of(before))
        for now in series.latest.operations
        if now.label in known
    )
    return [one for one in found if one.is_slower is not None or one.more_round_trips]


def separate(track: Track) -> list[str]:
    """Return a sentence for each series that cannot be compared with the newest one, and why."""
    newest, *others = track.series
    sentences = []
    for one in others:
        why = [
            f"another {name} ({one.traits[name]}; now {newest.traits[name]})"
            for name in newest.traits
            if one.traits[name] != newest.traits[name]
        ]
        commits = list(dict.fromkeys(commit_of(result).short for result in one.results))
        if len(commits) > _MOST_NAMED:
            commits = [f"{len(commits)} commits from {commits[0]} to {commits[-1]}"]
        sentences.append(
            f"The results at {', '.join(commits)} cannot be compared with the newest commit: "
            f"{', '.join(why)}"
        )
    return sentences


def commit_of(result: Result) -> Commit:
    """Return the commit of a result; every result in a timeline has one.

    Raises:
        FormatError: The result has no commit.
    """
    if result.commit is None:
        raise FormatError(f"a result of {result.backend} has no commit")
    return result.commit


def _traits(result: Result) -> dict[str, str]:
    return {
        "machine": result.environment.machine,
        "server": result.server or "none",
        "Python": result.environment.python_series,
        "payload": result.payload,
    }


def _same(commit: Commit) -> tuple[str, bool]:
    return commit.id, commit.dirty


def _identity(result: Result) -> object:
    return _same(commit_of(result)), result.backend, tuple(_traits(result).values())


def _moment(result: Result) -> tuple[datetime, datetime]:
    made = commit_of(result).time or result.measured_at
    return _utc(made), _utc(result.measured_at)


def _utc(moment: str) -> datetime:
    found = datetime.fromisoformat(moment)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
