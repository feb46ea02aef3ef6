"""A line of results over commits: kept in a file, added to, and parted where none can compare."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from chat_history_conformance.bench.measure.results import Commit, Measured, Result
from chat_history_conformance.bench.report.places import NotSuch, Place

FORMAT = 1

_SHORTEST_ID = 7
_MOST_NAMED = 5


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
        """What results need to have in common to be compared."""
        return _traits(self.latest)


@dataclass(frozen=True)
class Track:
    """All results of one backend.

    Attributes:
        backend: Its name.
        series: Those that can be compared with each other; the one with the newest commit first.
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
    """An operation of the newest commit that is not what it was at the commit before."""

    now: Measured
    before: Measured
    at: Commit

    @property
    def is_slower(self) -> bool | None:
        """By its ratio to the floor: None where the intervals of the two meet."""
        if self.now.floor is None or self.before.floor is None:
            return None
        now, before = self.now.floor.ratio, self.before.floor.ratio
        if now.low > before.high:
            return True
        return False if now.high < before.low else None

    @property
    def more_round_trips(self) -> int:
        """How many more it takes; 0 where they were not counted at both."""
        if self.now.round_trips is None or self.before.round_trips is None:
            return 0
        return self.now.round_trips - self.before.round_trips


def parse(text: str, file: str) -> list[Result]:
    """The results of a line, in the order of the file.

    Args:
        text: A JSON object on each line.
        file: What it is called in errors.

    Raises:
        NotSuch: A line is no such object, or of another format; the text names it.
    """
    results = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = Place.parse(line, f"{file}:{number}")
        if "format" not in place:
            raise place.wrong("is not a line that `bench history` wrote")
        found = place.at("format").whole()
        if found != FORMAT:
            raise place.wrong(
                f"is of format {found}, and this version reads {FORMAT}: use a version of "
                "chat-history-conformance that is as new as the one that wrote it"
            )
        result = Result.read(place)
        if result.commit is None:
            raise place.wrong("says no commit")
        results.append(result)
    return results


def render(results: Iterable[Result]) -> str:
    """The results as the text that `parse` reads, the oldest commit first."""
    return "".join(
        json.dumps({"format": FORMAT, **one.to_json()}, ensure_ascii=False) + "\n"
        for one in sorted(results, key=_moment)
    )


def load(path: Path) -> list[Result]:
    """The results of a file; none where there is no file.

    Raises:
        NotSuch: It cannot be read, or is not such a file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise NotSuch(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise NotSuch(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse(text, str(path))


def save(path: Path, results: Iterable[Result]) -> None:
    """Write a line; whoever reads meanwhile, or after a crash, finds the old file or the new.

    Raises:
        OSError: It cannot be written.
    """
    # Where the name is a link, the file behind it is what must be replaced.
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(render(results).encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def with_commit(result: Result, name: str | None) -> Result:
    """The result with the commit that it is of.

    Args:
        result: As it was read.
        name: The commit's id; None takes what pytest-benchmark found.

    Raises:
        NotSuch: Nobody says of which commit it is.
    """
    found = result.commit
    if name is None:
        if found is None:
            raise NotSuch(
                f"{result.backend} was not measured in a repository: name the commit by --commit ID"
            )
        return result
    if found is not None and len(name) >= _SHORTEST_ID and found.id.startswith(name):
        return replace(result, commit=replace(found, dirty=False))
    return replace(result, commit=Commit(name, result.measured_at))


def added(results: Sequence[Result], new: Sequence[Result]) -> list[Result]:
    """The results with new ones, each in the place of one of the same commit and environment.

    Raises:
        NotSuch: Two of the new ones would take one place.
    """
    places = {_identity(one): one for one in results}
    given: set[object] = set()
    for one in new:
        if (identity := _identity(one)) in given:
            raise NotSuch(
                f"{one.backend} at {commit_of(one).short} is given twice, from one environment: "
                "leave one out"
            )
        given.add(identity)
        places[identity] = one
    return list(places.values())


def tracks(results: Iterable[Result]) -> list[Track]:
    """The results by backend, and within it by what can be compared."""
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
    """What is new at the newest commit against the one before, for each operation of both."""
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


def apart(track: Track) -> list[str]:
    """A sentence for each series that cannot be compared with the newest one, and why."""
    newest, *others = track.series
    told = []
    for one in others:
        why = [
            f"another {name} ({one.traits[name]}; now {newest.traits[name]})"
            for name in newest.traits
            if one.traits[name] != newest.traits[name]
        ]
        commits = list(dict.fromkeys(commit_of(result).short for result in one.results))
        if len(commits) > _MOST_NAMED:
            commits = [f"{len(commits)} commits from {commits[0]} to {commits[-1]}"]
        told.append(
            f"What was measured at {', '.join(commits)} cannot be compared with the newest "
            f"commit: {', '.join(why)}"
        )
    return told


def commit_of(result: Result) -> Commit:
    """The commit of a result in a line, which all of them have."""
    if result.commit is None:
        raise NotSuch(f"a result of {result.backend} has no commit")
    return result.commit


def _traits(result: Result) -> dict[str, str]:
    return {
        "machine": result.environment.machine,
        "server": result.server or "none",
        "Python": result.environment.python_series,
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
